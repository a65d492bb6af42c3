// HTTP/1.1 and 1.0 of clients of renamed sites.
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { Fault, toFault } from '../../../core/fault.ts';
import { makeConn } from '../../../net/conn.ts';
import type { Exchange } from '../exchange.ts';
import { checkHostField, requestBody, tokensOf, valuesOf } from '../headers.ts';
import { Http1Exchange, inOrder, isAnswering, spoil, strictServer } from '../http1.ts';
import { beginLog, refuse, serveSite } from './front.ts';
import type { Guest } from './guest.ts';
import type { SitesDeps } from './service.ts';
import { joinWebSocket } from './websocket.ts';

export interface SiteHttp1Options {
  readonly header: number;
  readonly idle: number;
  readonly still: number;
  readonly deps: SitesDeps;
  readonly guestOf: (socket: Duplex) => Guest | undefined;
  readonly isDraining: () => boolean;
}

const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket';

export function createSiteHttp1({ header, idle, still, deps, guestOf, isDraining }: SiteHttp1Options): Server {
  const server = strictServer({ header, idle, still, metrics: deps.metrics, upgrades: isWebSocket });
  const enter = inOrder((request, response) => {
    const guest = guestOf(request.socket);
    if (!guest) return void request.socket.destroy();
    response.sendDate = false;
    if (isDraining()) response.shouldKeepAlive = false;
    serve(request, response, guest, deps);
  });
  server.on('request', enter);
  server.on('checkContinue', enter);
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    const guest = guestOf(socket);
    const log =
      guest &&
      beginLog({ id: guest.caller.nextId(), method: 'CONNECT', version: request.httpVersion }, guest, '', deps);
    log?.({ status: 405, up: 0, down: 0, cause: 'protocol' });
    socket.on('error', () => {});
    socket.end(
      'HTTP/1.1 405 Method Not Allowed\r\nallow: GET, HEAD, POST\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    );
    socket.resume();
    void guest?.conn.close(AbortSignal.timeout(5000));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const guest = guestOf(socket);
    if (!guest || isAnswering(socket)) return void socket.destroy();
    upgrade(request, socket, head, guest, deps);
  });
  return server;
}

function serve(request: IncomingMessage, response: ServerResponse, guest: Guest, deps: SitesDeps): void {
  const { rawHeaders, httpVersion } = request;
  const id = guest.caller.nextId();
  let exchange: Http1Exchange | undefined;
  try {
    if (httpVersion !== '1.1' && httpVersion !== '1.0')
      throw new Fault('protocol', 'only HTTP/1.0, 1.1 and 2 are spoken');
    checkHostField(rawHeaders, httpVersion);
    exchange = new Http1Exchange(request, response, id, requestBody(rawHeaders, httpVersion));
    serveSite(exchange, guest, targetOf(request), deps);
  } catch (error) {
    const found = toFault(error);
    const isCoding = found.code === 'invalid';
    spoil(request, response);
    exchange ??= new Http1Exchange(request, response, id, { kind: 'none' });
    const log = beginLog(exchange, guest, request.url ?? '', deps);
    const fault = isCoding ? new Fault('invalid', found.message, { facts: { status: 501 } }) : found;
    log({ status: refuse(fault, exchange, guest, deps), up: 0, down: 0, cause: fault.code });
  }
}

/** An ordinary request that came the short way. False: it is not one. */
export function serveSiteLane(exchange: Exchange, url: string, guest: Guest, deps: SitesDeps): boolean {
  if (!url.startsWith('/')) return false;
  serveSite(exchange, guest, { authority: valuesOf(exchange.fields, 'host')[0] ?? '', path: url }, deps);
  return true;
}

/** RFC 9112 §3.2.2: an address in absolute form counts, whatever Host says. @throws Fault `protocol` */
function targetOf({ url = '', headers }: IncomingMessage): { authority: string; path: string } {
  if (url.startsWith('/') || url === '*') return { authority: headers.host ?? '', path: url };
  const [, scheme, authority, rest = ''] =
    /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#@]*)([\x21\x22\x24-\x7e]*)$/.exec(url) ?? [];
  if (scheme === undefined || authority === undefined)
    throw new Fault('protocol', 'the address of this request cannot be read');
  if (scheme.toLowerCase() !== 'https') {
    throw new Fault('protocol', 'this name is a site, not a proxy', { facts: { status: 421 } });
  }
  return { authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}

function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, guest: Guest, deps: SitesDeps): void {
  const { rawHeaders, httpVersion, method = '' } = request;
  const { peer, local, tls } = guest.conn;
  socket.on('error', () => {});
  if (head.length > 0) socket.unshift(head);
  let fault: Fault | undefined;
  let target = { authority: '', path: '' };
  try {
    checkHostField(rawHeaders, httpVersion);
    target = targetOf(request);
    if (httpVersion !== '1.1' || valuesOf(rawHeaders, 'transfer-encoding').length > 0) {
      throw new Fault('protocol', 'a WebSocket begins with a GET of HTTP/1.1 without a body');
    }
    if (valuesOf(rawHeaders, 'content-length').some(length => length !== '0')) {
      throw new Fault('protocol', 'a WebSocket begins with a GET of HTTP/1.1 without a body');
    }
    if (!tokensOf(valuesOf(rawHeaders, 'connection')).includes('upgrade')) {
      throw new Fault('protocol', 'an Upgrade needs its Connection field');
    }
  } catch (error) {
    fault = toFault(error);
  }
  void joinWebSocket(
    {
      ...{ id: guest.caller.nextId(), method, version: httpVersion, fields: rawHeaders, body: { kind: 'none' } },
      ...{ target, ...(fault ? { fault } : {}) },
      accept(fields) {
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\n${lines(fields)}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
          'latin1',
        );
        return makeConn(socket, { peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
      },
      answer(status, fields, text) {
        if (!socket.writable) return;
        socket.end(
          `HTTP/1.1 ${status} ${status < 400 ? 'Answer' : 'Refused'}\r\n${lines(fields)}content-length: ${text.length}\r\nconnection: close\r\n\r\n${text.toString('latin1')}`,
          'latin1',
        );
        socket.resume();
        void guest.conn.close(AbortSignal.timeout(5000));
      },
      onClose: call => void socket.once('close', call),
    },
    guest,
    deps,
  );
}

function lines(fields: readonly string[]): string {
  let text = '';
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`;
  return text;
}
