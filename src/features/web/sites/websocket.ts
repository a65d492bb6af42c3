// A WebSocket to a site: the handshake goes to the service as HTTP/1.1 has it, then bytes move both ways unread.
import { Fault, toFault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { splice } from '../../../net/splice.ts';
import type { Exchange } from '../exchange.ts';
import { type Fields, valuesOf, without } from '../headers.ts';
import { type Opened, openWebSocket } from '../websocket.ts';
import { answerOut } from './fields.ts';
import { type Asked, aim, beginLog, fieldsFor, noteUnreached, pageFor, report, statusOf } from './front.ts';
import type { Guest } from './guest.ts';
import type { SitesDeps } from './service.ts';
import type { SiteStay } from './stay.ts';
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
      const { far, opened } = await open({ exchange: ask, guest, naming, path: ask.target.path }, stay, gone.signal);
      status = opened.status;
      const passed = answerOut(opened.fields, naming, deps.hsts(naming.site));
      if (opened.no) {
        far.stream.destroy();
        ask.answer(status, without(passed, 'trailer'), opened.no);
        return;
      }
      const near = ask.accept(ask.version === '2.0' ? without(passed, 'sec-websocket-accept') : passed);
      if (ask.version === '2.0') status = 200;
      cause = await splice(near, far, {
        signal: stay.signal,
        idle: plan.timeouts.websocket,
        halfClose: true,
        count: (direction, more) => {
          bytes[direction] += more; // the session counts by the socket
        },
      });
      const farewell = AbortSignal.timeout(5000);
      await Promise.all([near.close(farewell), far.close(farewell)]);
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

/** Asks the service, on a connection of its own. @throws Fault `unreachable`, `timeout` */
async function open(asked: Asked, stay: SiteStay, gone: AbortSignal): Promise<{ far: Conn; opened: Opened }> {
  const { site } = asked.naming;
  const fields = fieldsFor(asked, 'any');
  const far = await stay.dial();
  const signal = AbortSignal.any([stay.signal, gone, AbortSignal.timeout(site.plan.timeouts.read)]);
  try {
    const [key] = asked.exchange.version === '2.0' ? [] : valuesOf(fields, 'sec-websocket-key');
    const opening = {
      path: innerPath(asked.path, site),
      fields: without(fields, 'sec-websocket-key'),
      ...(key === undefined ? {} : { key }),
    };
    return { far, opened: await openWebSocket(far, opening, signal) };
  } catch (error) {
    far.stream.destroy();
    throw error;
  }
}
