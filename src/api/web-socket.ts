// What doors with WebSockets share: who calls, and how they are refused before there is a socket.
import type { IncomingMessage } from 'node:http';
import { faults } from '../core/fault.ts';
import type { Conn } from '../core/parts.ts';
import { type Caller, identifyCaller } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { asFault, publicText } from './faults.ts';
import { checkHost, checkOrigin } from './guard.ts';

const tokenPrefix = 'sekisho.token.';

/**
 * As every call is authorised. A page that has a token and cannot set the Authorization header offers
 * `sekisho.token.<token>` beside the protocol; one of the console's own brings the cookie. Browsers differ in whether they
 * send Fetch Metadata with a WebSocket, but all say the page's origin (RFC 6455 §4.1), which proves the same.
 * @throws Fault `unknown-caller`, `limit`, `denied`
 */
export function socketCaller(request: IncomingMessage, conn: Conn, local: boolean, deps: ApiDeps): Promise<Caller> {
  checkHost(request.headers, conn, deps.house.names());
  checkOrigin(request.headers, conn);
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(text => text.trim());
  const token = offered.find(text => text.startsWith(tokenPrefix))?.slice(tokenPrefix.length);
  const { origin, 'sec-fetch-site': site } = request.headers;
  const headers = {
    ...request.headers,
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(origin !== undefined && site === undefined ? { 'sec-fetch-site': 'same-origin' } : {}),
  };
  return identifyCaller(headers, conn, local, deps);
}

/** What HTTP would have answered. */
export function refuseUpgrade(conn: Conn, error: unknown, { log }: ApiDeps): void {
  const fault = asFault(error);
  log[faults[fault.code].log]({ from: conn.peer, code: fault.code, ...fault.facts }, fault.message);
  const body = JSON.stringify({ error: { code: fault.code, message: publicText(fault) } });
  conn.stream.end(
    `HTTP/1.1 ${faults[fault.code].http} Refused\r\ncontent-type: application/json\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  conn.stream.resume();
  setTimeout(() => conn.stream.destroy(), 5000).unref();
}
