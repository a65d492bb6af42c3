// GET /v1/devices/terminal?device=NAME&service=ssh as a WebSocket: a shell on a device for a page of the console. What is said
// in it: wire/terminal-message.ts. The device's password or key travels within, never in the address.
import type { IncomingMessage } from 'node:http';
import { Fault, isWeather } from '../core/fault.ts';
import type { AccessRequest, Conn } from '../core/parts.ts';
import { serveTerminal } from '../features/device/index.ts';
import { acceptWebSocket } from '../net/websocket.ts';
import { longestMessage, terminalProtocol } from '../wire/terminal-message.ts';
import { isInScope } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { devicesOf } from './device.ts';
import type { HttpDoor } from './http-server.ts';
import { act } from './verbs.ts';
import { refuseUpgrade, socketCaller } from './web-socket.ts';

export function deviceTerminalDoor(deps: ApiDeps, isLocal: (conn: Conn) => boolean): HttpDoor {
  const serve = async (request: IncomingMessage, conn: Conn, head: Buffer): Promise<void> => {
    let isOpen = false;
    try {
      const caller = await socketCaller(request, conn, isLocal(conn), deps);
      const query = new URL(request.url ?? '', 'http://gate').searchParams;
      const { terminals, registry } = devicesOf(deps);
      const asked: AccessRequest = {
        ...{ who: caller.who, action: 'device.terminal', from: caller.from },
        resource: `device/${registry.find(query.get('device') ?? '')?.name ?? '*'}`,
      };
      if (!isInScope(asked.action, caller.scope)) {
        deps.gate.refuse(asked, 'outside the scope of the token');
        throw new Fault('denied', 'not allowed');
      }
      // Who may not, learns nothing of what there is.
      await using session = await deps.gate.admit(asked);
      const device = registry.get(query.get('device') ?? '');
      const service = query.get('service') || 'ssh';
      if (!terminals.config().on) throw new Fault('denied', 'terminals are switched off here (device.terminal.on)');
      session.note('service', service);
      const pipe = await acceptWebSocket(request, conn.stream, head, {
        maxMessage: longestMessage,
        protocol: offered => (offered.has(terminalProtocol) ? terminalProtocol : false),
      });
      isOpen = true;
      await serveTerminal(
        {
          ...{ pipe, session, device, service },
          trusted: key =>
            act(deps.gate, { ...asked, action: 'device.host-key-trust', opened: asked.resource }, async note =>
              note({ service, ...key }),
            ),
          changed: (known, shown) =>
            deps.gate.refuse(asked, `the host key of ${service} is ${shown.fingerprint}, not ${known.fingerprint}`),
        },
        terminals,
      );
    } catch (error) {
      if (isWeather(error) || isOpen || conn.stream.destroyed) conn.stream.destroy();
      else refuseUpgrade(conn, error, deps);
    }
  };
  return {
    name: 'device-terminal',
    upgrade: { path: '/v1/devices/terminal', accept: (request, conn, head) => void serve(request, conn, head) },
  };
}
