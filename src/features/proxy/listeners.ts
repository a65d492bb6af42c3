// Opens what a `listen:` names: a TCP or unix socket, datagrams, or a place on the gate's own port.
import type { ListenAddress } from '../../core/address.ts';
import { Fault } from '../../core/fault.ts';
import type { Listener, Log, Metrics } from '../../core/parts.ts';
import { listenTcp } from '../../net/tcp.ts';
import { listenUdp } from '../../net/udp.ts';
import { listenUnix } from '../../net/unix.ts';
import { defined } from './defined.ts';
import { bindHost } from './plan-listens.ts';
import type { RoutePlan } from './route-plan.ts';

export interface ListenDeps {
  /** A listener for a name on the gate's own port, for `listen: gate`. Its conns are not yet TLS-upgraded. */
  readonly gateListener?: (branch: { name: string; names: readonly string[]; alpn: readonly string[] }) => Listener;
  /** A file descriptor that was handed in for this address (socket activation). */
  readonly inherited?: (address: ListenAddress) => number | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** @throws Fault `conflict` or `invalid`, its text beginning with the key path */
export async function openListener(plan: RoutePlan, address: ListenAddress, deps: ListenDeps): Promise<Listener> {
  try {
    return await open(plan, address, deps);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault(error.code, `proxy.${plan.name}.listen: ${error.message}`, { cause: error, facts: error.facts });
  }
}

async function open(plan: RoutePlan, address: ListenAddress, deps: ListenDeps): Promise<Listener> {
  const { log, metrics, inherited, gateListener } = deps;
  if (address.kind === 'gate') {
    if (!gateListener) throw new Fault('invalid', 'gate needs a gate: section; this process has no gate port');
    return gateListener({ name: plan.name, names: plan.names, alpn: plan.alpn });
  }
  const fd = inherited?.(address);
  if (fd !== undefined && (address.kind === 'unix' || address.kind === 'udp')) {
    throw new Fault('invalid', 'socket activation hands in TCP sockets only; remove this one from the .socket unit');
  }
  if (address.kind === 'unix') return listenUnix({ path: address.path, log, metrics });
  const where = { host: bindHost(address.host), port: address.port, log, metrics };
  if (address.kind !== 'udp') return listenTcp({ ...where, keepAlive: plan.outward.keepalive, ...defined({ fd }) });
  const { sessions = 10_000, requests } = plan.datagrams ?? {};
  return listenUdp({ ...where, sessions, ...defined({ requests }) });
}
