// A WebSocket to a site: the handshake goes to the service as HTTP/1.1 has it, then bytes move both ways unread.
import { createHash, randomBytes } from 'node:crypto';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { splice } from '../../../net/splice.ts';
import type { Exchange } from '../exchange.ts';
import { answerFields, type Fields, tokensOf, valuesOf } from '../headers.ts';
import type { ServiceAnswer } from './answer-parser.ts';
import { answerOut } from './fields.ts';
import { type Asked, aim, beginLog, fieldsFor, noteUnreached, pageFor, report, statusOf } from './front.ts';
import type { Guest } from './guest.ts';
import type { SitesDeps } from './service.ts';
import type { SiteStay } from './stay.ts';
import type { Asker, Upstream } from './upstream.ts';
import { innerPath } from './urls.ts';

/** A handshake, by either HTTP. */
export interface WebSocketAsk extends Pick<Exchange, 'id' | 'method' | 'version' | 'fields' | 'body'> {
  readonly target: { readonly authority: string; readonly path: string };
  /** What was wrong with it before it came here. */
  readonly fault?: Fault;
  /** Says yes; from then on the conn is the WebSocket. */
  accept(fields: Fields): Conn;
  answer(status: number, fields: Fields, text: Buffer): void;
  onClose(call: () => void): void;
}

/** Bytes of a refusal's body that are passed on. */
const mostText = 65_536;
const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** From asking to its end. Never throws. */
export async function joinWebSocket(ask: WebSocketAsk, guest: Guest, deps: SitesDeps): Promise<void> {
  const log = beginLog(ask, guest, ask.target.path, deps);
  const bytes = { up: 0, down: 0 };
  const gone = new AbortController();
  ask.onClose(() => gone.abort());
  let session: string | undefined;
  let status = 0;
  let cause: string | undefined;
  try {
    if (ask.fault) throw ask.fault;
    const { plan } = guest.site;
    const naming = aim(ask.target, guest, deps);
    if (!plan.websocket || plan.protocol === 'h2') {
      throw new Fault('invalid', 'this site has no WebSockets', { facts: { status: 501 } });
    }
    const stay = await guest.stay();
    session = stay.session.id;
    const page = deps.before?.(ask, guest, ask.target.path);
    if (page instanceof Date) stay.endAt(page, deps.clock);
    else if (page) throw new Fault('denied', 'sign in first', { facts: { status: page.status } });
    const leave = stay.enter(() => gone.abort());
    try {
      const key = ask.version === '2.0' ? randomBytes(16).toString('base64') : undefined;
      const met = await shake({ exchange: ask, guest, naming, path: ask.target.path }, stay, key, gone.signal);
      status = met.answer.status;
      const passed = answerOut(
        answerFields(met.answer.fields, met.answer.version, false),
        naming,
        deps.hsts(naming.site),
      );
      if (met.far === undefined) {
        ask.answer(status, withoutLength(passed), met.text);
        return;
      }
      const near = ask.accept(key === undefined ? passed : without(passed, 'sec-websocket-accept'));
      if (ask.version === '2.0') status = 200;
      cause = await splice(near, met.far, {
        signal: stay.signal,
        idle: plan.timeouts.websocket,
        halfClose: true,
        count: (direction, more) => {
          bytes[direction] += more; // the session counts by the socket
        },
      });
      const farewell = AbortSignal.timeout(5000);
      await Promise.all([near.close(farewell), met.far.close(farewell)]);
    } finally {
      leave();
    }
  } catch (error) {
    const fault = gone.signal.aborted ? undefined : toFault(error);
    cause = fault?.code ?? 'near-reset';
    if (fault) {
      noteUnreached(fault, guest, deps);
      status = statusOf(fault);
      report(fault, guest, deps);
      const page = pageFor(fault, status, ask, guest, deps);
      ask.answer(status, ['content-type', page.type, ...Object.entries(page.headers).flat()], Buffer.from(page.text));
    }
  } finally {
    log({ status, ...bytes, ...(cause === undefined ? {} : { cause }) }, session);
  }
}

type Met =
  | { readonly answer: ServiceAnswer; readonly far: Conn }
  | { readonly answer: ServiceAnswer; readonly far?: undefined; readonly text: Buffer };

/** Asks the service. @throws Fault `unreachable`, `timeout` */
async function shake(asked: Asked, stay: SiteStay, key: string | undefined, gone: AbortSignal): Promise<Met> {
  const more = [
    ...['Connection', 'Upgrade', 'Upgrade', 'websocket'],
    ...(key === undefined ? [] : ['Sec-WebSocket-Key', key]),
  ];
  const fields = fieldsFor(asked, 'any', more);
  let head = `GET ${innerPath(asked.path, asked.naming.site)} HTTP/1.1\r\n`;
  for (let at = 0; at < fields.length; at += 2) head += `${fields[at]}: ${fields[at + 1]}\r\n`;
  // A connection of its own: one that was kept may be about to end, and this one will not come back.
  const upstream = await stay.pool.take(true);
  return await new Promise<Met>((resolve, reject) => {
    const asker = new Handshake(upstream, key, resolve, reject);
    gone.addEventListener('abort', () => asker.onFail(new Fault('unreachable', 'the client left')), { once: true });
    upstream.ask('GET', `${head}\r\n`, false, asker);
  });
}

class Handshake implements Asker {
  readonly #upstream: Upstream;
  readonly #key: string | undefined;
  readonly #resolve: (met: Met) => void;
  readonly #reject: (error: Error) => void;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  #answer: ServiceAnswer | undefined;
  #settled = false;

  constructor(
    upstream: Upstream,
    key: string | undefined,
    resolve: (met: Met) => void,
    reject: (error: Error) => void,
  ) {
    this.#upstream = upstream;
    this.#key = key;
    this.#resolve = resolve;
    this.#reject = reject;
  }
  onInterim(): void {}
  onDrain(): void {}
  onHead(answer: ServiceAnswer): void {
    this.#answer = answer;
  }
  onData(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#size <= mostText) this.#chunks.push(chunk);
    else {
      this.#upstream.leave();
      this.onEnd();
    }
  }
  onEnd(): void {
    if (this.#settled || !this.#answer) return;
    this.#settled = true;
    this.#resolve({ answer: this.#answer, text: Buffer.concat(this.#chunks) });
  }
  onFail(error: Error): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#upstream.leave();
    this.#reject(
      error instanceof Fault ? error : new Fault('unreachable', 'the site broke the connection off', { cause: error }),
    );
  }
  onSwitch(answer: ServiceAnswer, far: Conn, rest: Buffer | undefined): void {
    const isIt = tokensOf(valuesOf(answer.fields, 'upgrade')).includes('websocket');
    const [proof] = valuesOf(answer.fields, 'sec-websocket-accept');
    const wanted =
      this.#key === undefined
        ? proof
        : createHash('sha1')
            .update(this.#key + guid)
            .digest('base64');
    if (this.#settled || !isIt || proof !== wanted) {
      far.stream.destroy();
      this.onFail(new Fault('unreachable', 'the site did not agree to the WebSocket as it should'));
      return;
    }
    this.#settled = true;
    if (rest && rest.length > 0) far.stream.unshift(rest);
    this.#resolve({ answer, far });
  }
}

const without = (fields: Fields, name: string): string[] =>
  fields.filter((_, at) => fields[at - (at % 2)]?.toLowerCase() !== name);
const withoutLength = (fields: Fields): string[] => without(without(fields, 'content-length'), 'trailer');
