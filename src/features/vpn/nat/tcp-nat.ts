// TCP through the hub's router: each connection ends here and goes on as an ordinary socket of this process.
import { Fault, toFault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { splice } from '../../../net/splice.ts';
import { dialTcp } from '../../../net/tcp.ts';
import { formatIpv4 } from '../../../wire/ipv4.ts';
import type { Plug } from '../switch/plug.ts';
import type { TcpRequest } from '../tcp/stack.ts';
import type { Flows } from './flows.ts';

export interface TcpNatOptions {
  readonly flows: Flows;
  /** Milliseconds without a byte. */
  readonly idle: number;
  /** Whether an address is a listener of this gate. */
  readonly isOwn: (host: string, port: number) => boolean;
}
export interface Destination {
  readonly host: string;
  readonly port: number;
}

/** Milliseconds. */
const patience = { dial: 15_000, farewell: 5000 } as const;

/**
 * Reaches `to` for somebody on the hub: the SYN is answered only when the far side has answered, a refusal becomes a
 * reset. Never throws.
 */
export async function relayTcp(
  request: TcpRequest,
  owner: Plug,
  to: Destination,
  options: TcpNatOptions,
): Promise<void> {
  const { flows, idle, isOwn } = options;
  const { path } = request;
  const from = { host: formatIpv4(path.remoteIp), port: path.remotePort };
  const flow = flows.begin({ protocol: 'tcp', from, to }, owner);
  if (!flow) {
    request.refuse();
    return;
  }
  try {
    await using session = await flows.admit(flow);
    const far = await dialTcp({ ...to, timeout: patience.dial }, AbortSignal.any([session.signal, request.signal]));
    let near: Conn;
    try {
      // A forward may lead to a name; only now is it known where that is.
      if ('host' in far.peer && isOwn(far.peer.host, far.peer.port)) {
        throw new Fault('denied', `${to.host}:${to.port} leads to a listener of this gate`);
      }
      near = request.accept();
    } catch (error) {
      far.stream.destroy();
      throw error;
    }
    flow.state = 'established';
    const end = await splice(near, far, {
      signal: session.signal,
      idle,
      halfClose: true,
      count: (direction, bytes) => flows.count(flow, session, direction, bytes),
    });
    session.note('end', end);
    flow.state = 'closing';
    const deadline = AbortSignal.timeout(patience.farewell);
    await Promise.all([near.close(deadline), far.close(deadline)]);
  } catch (error) {
    request.refuse();
    flows.report(flow, toFault(error).code === 'bug' ? error : toFault(error));
  } finally {
    flows.end(flow);
  }
}
