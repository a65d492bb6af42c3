// A WebSocket asked for as a request (RFC 6455 in absolute form, RFC 8441 on HTTP/2): opened towards the site by
// HTTP/1.1, then bytes.
import { createHash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { answerFields, type Fields, requestHead, tokensOf, valuesOf } from './headers.ts';
import { AnswerParser, type MessageHead } from './llhttp.ts';

/** Bytes of the site's answer, at most. */
const headLimit = 32_768;

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

/** @returns what the client is told with the yes. @throws Fault `unreachable` with the site's `status` when it says no */
export async function openWebSocket(far: Conn, { path, fields, key }: Opening, signal: AbortSignal): Promise<Fields> {
  const ours = key ?? randomBytes(16).toString('base64');
  const head = requestHead('GET', path, [
    ...fields,
    ...['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', ours],
  ]);
  far.stream.write(head, 'latin1');
  const answer = await readHead(far.stream, signal);
  if (answer.status !== 101) {
    throw new Fault('unreachable', `the site answered ${answer.status} where a WebSocket was asked for`, {
      facts: { status: answer.status },
    });
  }
  // A site that did not understand may still say 101: then what follows are not frames (RFC 6455 §4.1).
  const [accept] = valuesOf(answer.fields, 'sec-websocket-accept');
  if (accept !== acceptOf(ours) || !tokensOf(valuesOf(answer.fields, 'upgrade')).includes('websocket')) {
    throw new Fault('unreachable', 'the site changed to something that is no WebSocket');
  }
  return answerFields(answer.fields, answer.version, false);
}

/** RFC 6455 §4.2.2. */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

/** Reads one head; what came after it stays in the stream. */
function readHead(stream: Duplex, signal: AbortSignal): Promise<MessageHead> {
  return new Promise((resolve, reject) => {
    let found: MessageHead | undefined;
    const parser = new AnswerParser(headLimit, {
      head(head) {
        if (head.status < 200 && head.status !== 101) return 'no-body';
        found = head;
        return 'stop';
      },
      body() {},
      end() {},
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
      if (!found) return;
      settle();
      if (read < chunk.length) stream.unshift(chunk.subarray(read));
      resolve(found);
    };
    const ended = (): void => fail(new Fault('unreachable', 'the site broke the connection off before it answered'));
    const aborted = (): void =>
      fail(
        signal.reason instanceof DOMException ? new Fault('timeout', 'the site did not answer in time') : signal.reason,
      );
    signal.addEventListener('abort', aborted, { once: true });
    stream.on('data', data).on('end', ended).on('close', ended);
  });
}
