// OpenVPN's doors: on the gate's own port, and on the ports of `vpn.openvpn.listen`.
import { formatUrl, type ListenAddress } from '../core/address.ts';
import { Fault, isWeather, toFault } from '../core/fault.ts';
import type { Address, Conn, Listener, Log, Metrics } from '../core/parts.ts';
import type { VpnService } from '../features/vpn/index.ts';
import { openDatagrams } from '../net/datagrams.ts';
import { claimsOpenVpn } from '../wire/openvpn.ts';
import type { GateDoor } from './gate-door.ts';
import type { RawTenant } from './gate-port.ts';

interface Parts {
  readonly vpn: () => VpnService | undefined;
  readonly door: () => Pick<GateDoor, 'innerTls'> | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

const farewell = 5000;
/** Connections of one further port. */
const most = 20_000;

export const openVpnRaw = (parts: Parts): RawTenant => ({
  claims: bytes => (parts.vpn()?.openvpn ? claimsOpenVpn(bytes) : false),
  serve: conn => serve(conn, parts),
});

async function serve(conn: Conn, { vpn, door, log, metrics }: Parts): Promise<void> {
  try {
    const tls = door()?.innerTls;
    if (tls) await vpn()?.openvpn?.serveTcp(conn, tls);
  } catch (error) {
    if (isWeather(error)) return;
    const { code, message } = toFault(error);
    metrics.count('faults_total', { code, resource: 'vpn' });
    const level = code === 'bug' ? 'error' : 'info';
    log[level]({ from: conn.peer, code, ...(level === 'error' ? { error } : {}) }, message);
  } finally {
    await conn.close(AbortSignal.timeout(farewell));
  }
}

export interface OpenVpnPortsOptions extends Omit<Parts, 'vpn' | 'door'> {
  readonly addresses: readonly ListenAddress[];
  readonly open: (key: string, address: ListenAddress, name: string) => Promise<Listener>;
  readonly vpn: VpnService;
  readonly door: Pick<GateDoor, 'innerTls'> | undefined;
}
export interface OpenVpnPorts extends AsyncDisposable {
  /** As a line of the status shows them. */
  readonly opened: readonly { readonly name: string; readonly listen: string }[];
  /** Of datagrams; the others are among the gate's listeners. */
  readonly addresses: readonly Address[];
  /** Nobody new. */
  drain(): Promise<void>;
}

/** @throws Fault saying which address and what to do */
export async function openOpenVpnPorts(options: OpenVpnPortsOptions): Promise<OpenVpnPorts> {
  const { addresses, open, vpn, door, log, metrics } = options;
  const listeners: Listener[] = [];
  const sockets: Address[] = [];
  const opened: { name: string; listen: string }[] = [];
  for (const address of addresses) {
    if (address.kind !== 'udp') {
      const listener = await open('vpn.openvpn.listen', address, 'openvpn');
      listeners.push(listener);
      if ('port' in listener.address) vpn.openvpn?.opensTcp(listener.address.port);
      void accept(listener, { vpn: () => vpn, door: () => door, log, metrics });
      continue;
    }
    const socket = await openDatagrams(address.host, address.port, log).catch(error => {
      const fault = toFault(error);
      throw new Fault(fault.code, `vpn.openvpn.listen: ${fault.message}`, { cause: error, facts: fault.facts });
    });
    if (door) vpn.openvpn?.serveUdp(socket, () => door.innerTls);
    sockets.push(socket.address);
    opened.push({ name: 'openvpn', listen: formatUrl({ ...address, port: socket.address.port }) });
  }
  const drain = async (): Promise<void> => {
    await Promise.all(listeners.map(listener => listener[Symbol.asyncDispose]()));
  };
  return { opened, addresses: sockets, drain, [Symbol.asyncDispose]: drain };
}

async function accept(listener: Listener, parts: Parts): Promise<void> {
  let live = 0;
  for await (const conn of listener) {
    if (live >= most) {
      conn.stream.destroy();
      parts.metrics.count('accepts_refused_total', { reason: 'connections' });
      continue;
    }
    live++;
    void serve(conn, parts).finally(() => live--);
  }
}
