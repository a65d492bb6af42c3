// The VPN within this process: what the room is handed, its place on the gate's port, and its further ports.
import { X509Certificate } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { isWeather, toFault } from '../core/fault.ts';
import type { Address, Authenticator, Conn, Gate, Listener, Log, Metrics } from '../core/parts.ts';
import { createHub, openVpn, type VpnService } from '../features/vpn/index.ts';
import { isOwnListener } from '../features/web/index.ts';
import type { Store } from '../store/index.ts';
import { createPasswords, type Directory, type Limiter, openSealer } from '../trust/index.ts';
import type { GateConfig } from './config.ts';
import type { GateDoor, Tenant } from './gate-door.ts';
import { version } from './places.ts';
import type { Plan } from './plan.ts';

export interface VpnPlaneOptions {
  readonly plan: () => Plan;
  /** The data folder. */
  readonly data: string;
  readonly store: Store;
  readonly gate: Gate;
  readonly authenticator: Authenticator;
  readonly limiter: Limiter;
  readonly directory: Directory;
  /** Ends every session of this credential. */
  readonly ended: (credential: string) => void;
  /** The gate's own host name. */
  readonly name: () => string;
  /** The gate's own CA, PEM. */
  readonly root: () => string;
  /** Every address that this gate listens on at this port, or at all. */
  readonly opened: (port: number) => readonly Address[];
  /** Where SoftEther is spoken: the gate's own listeners, and those of `vpn.listen`. */
  readonly ports: readonly Listener[];
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export async function openVpnPlane(options: VpnPlaneOptions): Promise<VpnService> {
  const { plan, data, store, gate, authenticator, limiter, directory, clock, log, metrics } = options;
  const passwords = createPasswords();
  return openVpn(plan().vpn, {
    ...{ gate, store, authenticator, createHub, clock, log, metrics },
    attempts: limiter,
    sealer: await openSealer(data),
    passwords: { hash: passwords.hash, verify: passwords.verify },
    people: { find: directory.find, ensure: directory.ensure, vouch: directory.vouch, ended: options.ended },
    isOwn: (host, port) => isOwnListener(host, port, options.opened(port)),
    certificate: () =>
      plan()
        .gate?.identities.map(({ cert }) => cert)
        .find(isRsa) ?? plan().gate?.identities[0]?.cert,
    root: options.root,
    ports: () => options.ports.flatMap(({ address }) => ('port' in address ? [address.port] : [])),
    facts: { version, name: options.name },
  });
}

/** SoftEther and SSTP on the gate's own port, told by the first request; not looked for while there is nothing to join. */
export const vpnTenant = (vpn: () => VpnService | undefined): Tenant => ({
  name: 'vpn',
  claims: bytes => (vpn()?.isOpen ? (vpn()?.claims(bytes) ?? false) : false),
  keeps: peer => vpn()?.certificateOf(peer),
  handle: async conn => vpn()?.serve(conn),
});

export interface VpnPorts {
  /** There is one wherever `vpn:` is written (plan.ts). */
  readonly door: Pick<GateDoor, 'plainTls'> | undefined;
  readonly vpn: VpnService;
  readonly gate: GateConfig | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Ports of `vpn.listen`, until they close. */
export function serveVpnPorts(listeners: readonly Listener[], { door, gate, ...rest }: VpnPorts): void {
  if (!door || !gate) return;
  for (const listener of listeners) void servePort(listener, { ...rest, door, patience: gate.limits.handshake });
}

interface VpnPort extends Omit<VpnPorts, 'door' | 'gate'> {
  readonly door: Pick<GateDoor, 'plainTls'>;
  readonly patience: number;
}

/** The gate's TLS for clients without ALPN, and SoftEther inside it whatever the client says. */
async function servePort(listener: Listener, { door, vpn, patience, log, metrics }: VpnPort): Promise<void> {
  const serve = async (raw: Conn): Promise<void> => {
    let conn = raw;
    try {
      conn = await door.plainTls(raw.peer)(raw, AbortSignal.timeout(patience));
      await vpn.serve(conn);
    } catch (error) {
      if (isWeather(error)) return;
      const fault =
        error instanceof DOMException ? { code: 'timeout', message: 'the client was too slow' } : toFault(error);
      metrics.count('faults_total', { code: fault.code, resource: 'vpn' });
      const level = fault.code === 'bug' ? 'error' : 'info';
      log[level]({ from: raw.peer, code: fault.code, ...(level === 'error' ? { error } : {}) }, fault.message);
    } finally {
      await conn.close(AbortSignal.timeout(farewell));
      if (conn !== raw) raw.stream.destroy();
    }
  };
  let live = 0;
  for await (const conn of listener) {
    if (live >= most) {
      conn.stream.destroy();
      metrics.count('accepts_refused_total', { reason: 'connections' });
      continue;
    }
    live++;
    void serve(conn).finally(() => live--);
  }
}

const farewell = 5000;
/** Connections of one further port. */
const most = 20_000;

const isRsa = (cert: string): boolean => new X509Certificate(cert).publicKey.asymmetricKeyType === 'rsa';
