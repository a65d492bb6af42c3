// Listeners of the gate process: opened here, or handed in by systemd and told apart by the name of their socket unit.
import { formatUrl, type ListenAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { Listener, Log, Metrics } from '../core/parts.ts';
import { listenTcp } from '../net/tcp.ts';
import { listenUnix } from '../net/unix.ts';
import type { Config } from './config.ts';
import { keyOf } from './placement.ts';
import type { PassedSocket } from './systemd.ts';

/**
 * Which descriptor stands for which address. `FileDescriptorName=` says whose it is: `gate`, `gate.http`,
 * `gate.metrics`, or a route's name; several of one name follow the order of that `listen:`. Sockets of a unit that
 * names none of these belong to the gate's port. One that fits nothing is reported and left alone.
 */
export function inheritedSockets(
  { gate, proxy }: Config,
  passed: readonly PassedSocket[],
  log: Log,
): (address: ListenAddress) => number | undefined {
  const wanted = new Map<string, readonly ListenAddress[]>([
    ['gate', gate?.listen ?? []],
    ['gate.http', gate?.http ? [gate.http] : []],
    ['gate.metrics', gate?.metrics ? [gate.metrics] : []],
    ...Object.entries(proxy).map(([name, { listen }]): [string, readonly ListenAddress[]] => [name, listen]),
  ]);
  const used = new Map<string, number>();
  const found = new Map<string, number>();
  for (const { fd, name } of passed) {
    const owner = wanted.has(name) ? name : 'gate';
    const at = used.get(owner) ?? 0;
    used.set(owner, at + 1);
    const address = wanted.get(owner)?.[at];
    if (!address || !('port' in address) || address.kind === 'udp') {
      log.warn({ fd, name }, 'systemd passed a socket that nothing in the configuration listens on');
      continue;
    }
    found.set(keyOf(address), fd);
    log.info({ fd, name, listen: formatUrl(address) }, 'this socket comes from systemd');
  }
  return address => found.get(keyOf(address));
}

/** @throws Fault saying which address and what to do */
export async function listenAt(
  key: string,
  address: ListenAddress,
  options: { readonly fd: number | undefined; readonly log: Log; readonly metrics: Metrics },
): Promise<Listener> {
  const { fd, log, metrics } = options;
  try {
    if (address.kind === 'unix') return await listenUnix({ path: address.path, log, metrics });
    if (!('port' in address)) throw new Fault('invalid', `${formatUrl(address)} cannot be listened on here`);
    const { port } = address;
    const host = address.host === '' ? '::' : address.host; // dual-stack
    return await listenTcp({ host, port, log, metrics, ...(fd === undefined ? {} : { fd }) });
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault(error.code, `${key}: ${error.message}`, { cause: error, facts: error.facts });
  }
}
