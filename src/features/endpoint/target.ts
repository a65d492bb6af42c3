// Where an endpoint leads: what may be written, what the policy is asked about, and how it is reached.
import { isIP } from 'node:net';
import { formatUrl, parseTarget } from '../../core/address.ts';
import { Fault } from '../../core/fault.ts';
import type { Conn, Dialer, Session, Target } from '../../core/parts.ts';
import type { NameResolver } from '../../net/resolve.ts';
import { dialTcp } from '../../net/tcp.ts';
import { normalizeHost } from '../../wire/cidr.ts';

/** A device as endpoints see it. */
export interface DeviceFacts {
  readonly name: string;
  /** The service of this name, or the one whose local port this is; undefined when the device's list lacks it. */
  service(wanted: string): string | undefined;
  /** Where a service listens on the device, as the device said: `127.0.0.1:22`. */
  addressOf(service: string): string | undefined;
  /** Its IMSI and SIM ID, where it has such aliases. */
  readonly imsi?: string | undefined;
  readonly simId?: string | undefined;
}

export interface ReachDeps {
  readonly device: Dialer | undefined;
  readonly resolver: NameResolver;
  /** Whether this is a listener of this gate. */
  readonly isOwn: (host: string, port: number) => boolean;
  /** What is wrong with an address that a name led to: loopback, link-local, a metadata service. */
  readonly addressFault: (address: string) => string | undefined;
  /** Milliseconds. */
  readonly connect: number;
}

export type EndpointTarget = Extract<Target, { kind: 'tcp' | 'tls' | 'udp' }> | Extract<Target, { kind: 'device' }>;

/** @throws Fault `invalid` */
export function parseEndpointTarget(text: string): EndpointTarget {
  const target = parsed(text);
  if (target.kind === 'tcp' || (target.kind === 'device' && !target.device.includes('/'))) return target;
  throw new Fault(
    'invalid',
    `an endpoint leads to device://name/service or tcp://host:port, not to ${formatUrl(target)}; TLS towards the target is the client's own, with --pass-through`,
  );
}

function parsed(text: string): Target {
  try {
    return parseTarget(text);
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw new Fault('invalid', `"${text}" is not well written`, { cause }); // a % that encodes nothing
  }
}

/** The names under which a rule may allow it, the most exact first: device/pump-7/ssh, device/pump-7. */
export function resourcesOf(target: EndpointTarget): readonly [string, ...string[]] {
  if (target.kind === 'device') return [`device/${target.device}/${target.service}`, `device/${target.device}`];
  const host = target.host.includes(':') ? `[${target.host}]` : target.host;
  return [`tcp/${host}:${target.port}`];
}

/**
 * An address written as such was judged by the policy and is taken at its word, loopback too; a name may not lead there,
 * whatever DNS says. A link-local address or a metadata service is never a target, nor is this gate itself.
 * @throws Fault `denied`
 */
export function checkTarget({ host, port }: { host: string; port: number }, written: boolean, deps: ReachDeps): void {
  const fault = deps.addressFault(host);
  const isLoopback = fault === 'is loopback';
  const against = deps.isOwn(host, port) ? 'is a listener of this gate' : written && isLoopback ? undefined : fault;
  if (against === undefined) return;
  throw new Fault('denied', `${host}:${port} ${against}; no endpoint leads there`, { facts: { host, port, against } });
}

/** Addresses of a name that are tried, at most. */
const mostTries = 4;

/** @throws Fault `unreachable`, `timeout`, `denied`; the signal's reason */
export async function reach(
  target: EndpointTarget,
  session: Session,
  deps: ReachDeps,
  signal: AbortSignal,
): Promise<Conn> {
  if (target.kind === 'device') {
    if (!deps.device) throw new Fault('unreachable', 'this gate has no devices');
    return deps.device.dial(target, session);
  }
  const { host, port } = target;
  const written = isIP(host) !== 0;
  const addresses = written ? [host] : (await deps.resolver.addresses(host, signal)).addresses.slice(0, mostTries);
  let last: unknown = new Fault('unreachable', `${host} has no address`);
  for (const address of addresses) {
    const at = { host: normalizeHost(address), port };
    try {
      checkTarget(at, written, deps); // what is checked is what is dialled
      return await dialTcp({ ...at, timeout: deps.connect }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      last = error;
    }
  }
  throw last;
}
