// A WebSocket asked for as a request (RFC 6455 in absolute form, RFC 8441 on HTTP/2): opened towards the site by
// HTTP/1.1, then bytes.
import { createHash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { answerFields, type Fields, requestHead, tokensOf, valuesOf, without } from './headers.ts';
import { AnswerParser, type MessageHead } from './llhttp.ts';
import { mostInterim } from './upstream.ts';

/** Bytes of the site's answer, at most. */
const headLimit = 32_768;
/** Bytes of what it says with a no that are passed on. */
const mostText = 65_536;

/** Whether a request asks for a WebSocket, and nothing beside it. */
export function asksWebSocket(method: string, fields: Fields): boolean {
  if (method !== 'GET') return false;
  const protocols = tokensOf(valuesOf(fields, 'upgrade'));
  return (
    protocols.length === 1 &&
    protocols[0] === 'websocket' &&
    tokensOf(valuesOf(fields, 'connection')).includes('upgrade')
  );
}

export interface Opening {
  /** `/ws?x=1` */
  readonly path: string;
  /** Of the request as it goes to the site, without those of the handshake itself. */
  readonly fields: Fields;
  /** What the client's own handshake brought; without one (HTTP/2) the gate makes its own. */
  readonly key?: string;
}

export interface Opened {
  readonly status: number;
  /** For the client, with the yes or the no. */
  readonly fields: string[];
  /** Of a no: what the site said with it, as far as it is passed on. */
  readonly no?: Buffer;
}

/** @throws Fault `unreachable` when the site's yes is none; what the signal says */
export async function openWebSocket(far: Conn, { path, fields, key }: Opening, signal: AbortSignal): Promise<Opened> {
  const ours = key ?? randomBytes(16).toString('base64');
  const head = requestHead('GET', path, [
    ...fields,
    ...['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', ours],
  ]);
  far.stream.write(head, 'latin1');
  const { head: answer, body } = await readAnswer(far.stream, signal);
  const { status } = answer;
  const passed = answerFields(answer.fields, answer.version, false);
  if (status !== 101) return { status, fields: without(passed, 'content-length'), no: body };
  // A site that did not understand may still say 101: then what follows are not frames (RFC 6455 §4.1).
  const [accept] = valuesOf(answer.fields, 'sec-websocket-accept');
  if (accept !== acceptOf(ours) || !tokensOf(valuesOf(answer.fields, 'upgrade')).includes('websocket')) {
    throw new Fault('unreachable', 'the site changed to something that is no WebSocket');
  }
  return { status, fields: passed };
}

/** @returns what the client is told with the yes. @throws Fault `unreachable` with the site's `status` when it says no */
export async function agree(far: Conn, opening: Opening, signal: AbortSignal): Promise<Fields> {
  const { status, fields, no } = await openWebSocket(far, opening, signal);
  if (!no) return fields;
  throw new Fault('unreachable', `the site answered ${status} where a WebSocket was asked for`, { facts: { status } });
}

/** RFC 6455 §4.2.2. */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

/** Reads one answer; what comes after a yes stays in the stream. */
function readAnswer(stream: Duplex, signal: AbortSignal): Promise<{ head: MessageHead; body: Buffer }> {
  return new Promise((resolve, reject) => {
    let found: MessageHead | undefined;
    let isWhole = false;
    let interim = 0;
    let size = 0;
    const chunks: Buffer[] = [];
    const parser = new AnswerParser(headLimit, {
      head(head) {
        if (head.status < 200 && head.status !== 101) {
          if (++interim === mostInterim)
            queueMicrotask(() => fail(new Fault('unreachable', 'the site’s interim answers have no end')));
          return 'no-body';
        }
        found = head;
        isWhole = head.status === 101;
        return isWhole ? 'stop' : head.status === 204 || head.status === 304 ? 'no-body' : 'body';
      },
      body(chunk) {
        size += chunk.length;
        if (size <= mostText) chunks.push(chunk);
        else isWhole = true;
      },
      end() {
        isWhole = found !== undefined;
      },
    });
    const settle = (): void => {
      stream.off('data', data).off('end', ended).off('close', ended);
      signal.removeEventListener('abort', aborted);
      stream.pause();
      parser.close();
    };
    const fail = (error: unknown): void => {
      settle();
      reject(error);
    };
    const data = (chunk: Buffer): void => {
      const read = parser.read(chunk);
      if (typeof read !== 'number') {
        fail(new Fault('unreachable', 'the site sent an answer that is not HTTP as it should be', { cause: read }));
        return;
      }
      if (!found || !isWhole) return;
      settle();
      if (read < chunk.length) stream.unshift(chunk.subarray(read));
      resolve({ head: found, body: Buffer.concat(chunks) });
    };
    const ended = (): void => {
      if (!found) {
        fail(new Fault('unreachable', 'the site broke the connection off before it answered'));
        return;
      }
      settle();
      resolve({ head: found, body: Buffer.concat(chunks) });
    };
    const aborted = (): void =>
      fail(
        signal.reason instanceof DOMException ? new Fault('timeout', 'the site did not answer in time') : signal.reason,
      );
    signal.addEventListener('abort', aborted, { once: true });
    stream.on('data', data).on('end', ended).on('close', ended);
  });
}
