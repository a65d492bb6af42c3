// GET /v1/tunnels/stream?tunnel=ID&service=ssh as a WebSocket: one connection of one service, its bytes as binary messages.
// For the console's terminal and for programs; authorised as every call is.
import type { IncomingMessage } from 'node:http';
import { Fault, isWeather } from '../core/fault.ts';
import type { AccessRequest, Conn } from '../core/parts.ts';
import { joinStreams } from '../features/tunnel/index.ts';
import { acceptWebSocket } from '../net/websocket.ts';
import { streamOf } from '../net/websocket-stream.ts';
import { isInScope } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import type { HttpDoor } from './http-server.ts';
import { tunnelsOf } from './tunnel.ts';
import { refuseUpgrade, socketCaller } from './web-socket.ts';

/** What is spoken. */
const protocol = 'sekisho.stream-1';
const longestMessage = 256 * 1024;

export function tunnelStreamDoor(deps: ApiDeps, isLocal: (conn: Conn) => boolean): HttpDoor {
  const serve = async (request: IncomingMessage, conn: Conn, head: Buffer): Promise<void> => {
    let opened = false;
    try {
      const caller = await socketCaller(request, conn, isLocal(conn), deps);
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
      else refuseUpgrade(conn, error, deps);
    }
  };
  return {
    name: 'tunnel-stream',
    upgrade: { path: '/v1/tunnels/stream', accept: (request, conn, head) => void serve(request, conn, head) },
  };
}
