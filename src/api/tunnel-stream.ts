// GET /v1/tunnels/stream?tunnel=ID&service=ssh as a WebSocket: one connection of one service, its bytes as binary messages.
// For the console's terminal and for programs; authorised as every call is.
import type { IncomingMessage } from 'node:http';
import { Fault, faults, isWeather } from '../core/fault.ts';
import type { AccessRequest, Conn } from '../core/parts.ts';
import { joinStreams } from '../features/tunnel/index.ts';
import { acceptWebSocket } from '../net/websocket.ts';
import { streamOf } from '../net/websocket-stream.ts';
import { type Caller, identifyCaller, isInScope } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { asFault, publicText } from './faults.ts';
import { checkHost, checkOrigin } from './guard.ts';
import type { HttpDoor } from './http-server.ts';
import { tunnelsOf } from './tunnel.ts';

/** What is spoken; a page, which cannot set the Authorization header, offers `sekisho.token.<token>` beside it. */
const protocol = 'sekisho.stream-1';
const tokenPrefix = 'sekisho.token.';
const longestMessage = 256 * 1024;

export function tunnelStreamDoor(deps: ApiDeps, isLocal: (conn: Conn) => boolean): HttpDoor {
  const serve = async (request: IncomingMessage, conn: Conn, head: Buffer): Promise<void> => {
    let opened = false;
    try {
      const caller = await callerOf(request, conn, isLocal(conn), deps);
      const query = new URL(request.url ?? '', 'http://gate').searchParams;
      const id = query.get('tunnel') ?? '';
      const tunnel = tunnelsOf(deps).get(id);
      const asked: AccessRequest = {
        ...{ who: caller.who, action: 'tunnel.use', resource: `tunnel/${id}`, from: caller.from },
        // Who opened a tunnel holds its tokens and could join with them; everybody else needs a rule.
        ...(caller.who.kind === 'user' && tunnel.opener === (caller.who.id || caller.who.credential)
          ? { opened: `tunnel/${id}` }
          : {}),
      };
      if (!isInScope(asked.action, caller.scope)) {
        deps.gate.refuse(asked, 'outside the scope of the token');
        throw new Fault('denied', 'not allowed');
      }
      await using session = await deps.gate.admit(asked);
      const far = await tunnelsOf(deps).connect(id, query.get('service') ?? undefined, session);
      opened = true;
      const pipe = await acceptWebSocket(request, conn.stream, head, {
        maxMessage: longestMessage,
        protocol: offered => (offered.has(protocol) ? protocol : false),
      }).catch(error => {
        far.destroy();
        throw error;
      });
      await joinStreams(streamOf(pipe), far, {
        signal: session.signal,
        count: ({ up, down }) => {
          session.count('up', up);
          session.count('down', down);
        },
      });
    } catch (error) {
      if (isWeather(error) || opened || conn.stream.destroyed) conn.stream.destroy();
      else refuse(conn, error, deps);
    }
  };
  return {
    name: 'tunnel-stream',
    upgrade: { path: '/v1/tunnels/stream', accept: (request, conn, head) => void serve(request, conn, head) },
  };
}

function callerOf(request: IncomingMessage, conn: Conn, local: boolean, deps: ApiDeps): Promise<Caller> {
  checkHost(request.headers, conn, deps.house.names());
  checkOrigin(request.headers, conn);
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(text => text.trim());
  const token = offered.find(text => text.startsWith(tokenPrefix))?.slice(tokenPrefix.length);
  const headers = token === undefined ? request.headers : { ...request.headers, authorization: `Bearer ${token}` };
  return identifyCaller(headers, conn, local, deps);
}

function refuse(conn: Conn, error: unknown, { log }: ApiDeps): void {
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
