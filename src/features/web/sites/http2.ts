// HTTP/2 of clients of renamed sites, WebSockets by extended CONNECT (RFC 8441) among its streams.
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Fault, toFault } from '../../../core/fault.ts';
import { makeConn } from '../../../net/conn.ts';
import type { Front } from '../exchange.ts';
import { breakOff, grouped, Http2Exchange, oneAuthority, openHttp2 } from '../http2.ts';
import { beginLog, refuse, serveSite } from './front.ts';
import type { Guest } from './guest.ts';
import type { SitesDeps } from './service.ts';
import { joinWebSocket } from './websocket.ts';

export interface SiteHttp2Options {
  readonly limits: { readonly streams: number; readonly header: number };
  readonly idle: number;
  readonly deps: SitesDeps;
}

export function serveSiteHttp2(guest: Guest, { limits, idle, deps }: SiteHttp2Options): Front {
  const { plan } = guest.site;
  return openHttp2({
    ...{ conn: guest.conn, limits, idle, log: deps.log },
    // Only where it leads somewhere: a browser that sees it opens its WebSockets so and in no other way.
    connectProtocol: plan.websocket && plan.protocol !== 'h2',
    enter: (stream, headers, ended, raw) => enter(stream, headers, ended, raw, guest, deps),
  });
}

function enter(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  ended: boolean,
  raw: string[],
  guest: Guest,
  deps: SitesDeps,
): void {
  const authority = String(headers[':authority'] ?? headers.host ?? '');
  const path = String(headers[':path'] ?? '');
  if (headers[':method'] === 'CONNECT' && headers[':protocol'] === 'websocket') {
    upgrade(stream, { authority, path }, raw, guest, deps);
    return;
  }
  const exchange = new Http2Exchange(stream, guest.caller.nextId(), headers, raw, ended);
  const { read, send } = guest.site.plan.timeouts;
  stream.setTimeout(Math.max(read, send) + 10_000, () => stream.close(constants.NGHTTP2_CANCEL));
  try {
    if (headers[':method'] === 'CONNECT') {
      throw new Fault('protocol', 'this name is a site, not a proxy', { facts: { status: 405 } });
    }
    if (headers[':scheme'] !== 'https') {
      throw new Fault('protocol', 'this name is a site, not a proxy', { facts: { status: 421 } });
    }
    oneAuthority(headers);
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(exchange.method))
      throw new Fault('protocol', 'the method cannot be read');
    if (raw.some(text => /[\r\n\0]/.test(text))) throw new Fault('protocol', 'a field of this request cannot be read');
    serveSite(exchange, guest, { authority, path }, deps);
  } catch (error) {
    const fault = toFault(error);
    const log = beginLog(exchange, guest, path, deps);
    log({ status: refuse(fault, exchange, guest, deps), up: 0, down: 0, cause: fault.code });
  }
}

function upgrade(
  stream: ServerHttp2Stream,
  target: { readonly authority: string; readonly path: string },
  raw: readonly string[],
  guest: Guest,
  deps: SitesDeps,
): void {
  const { peer, local, tls } = guest.conn;
  void joinWebSocket(
    {
      ...{ id: guest.caller.nextId(), method: 'GET', version: '2.0', fields: raw, body: { kind: 'none' }, target },
      accept(fields) {
        stream.respond({ ':status': 200, ...grouped(fields) }, { sendDate: false } as object);
        const conn = makeConn(stream, { peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
        const destroy = stream.destroy.bind(stream);
        stream.destroy = (error?: Error) => {
          if (error) breakOff(stream, constants.NGHTTP2_CONNECT_ERROR);
          return destroy();
        };
        return conn;
      },
      answer(status, fields, text) {
        if (stream.closed || stream.destroyed) return;
        stream.respond({ ':status': status, ...grouped(fields) }, { sendDate: false } as object);
        stream.end(text);
        stream.resume();
      },
      onClose: call => void stream.once('close', call),
    },
    guest,
    deps,
  );
}
