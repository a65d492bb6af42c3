// Article 003 for the demonstration: a whole gate with a hub, and our own client on it, without a network device.
import { join } from 'node:path';
import type { Log } from '../core/parts.ts';
import { parseConfig } from './config-file.ts';
import { callApi } from './demo-api.ts';
import { openGateway } from './gateway.ts';
import { joinAsMember, type PrintedLease } from './member.ts';

export interface VpnPlay extends AsyncDisposable {
  /** The hub as an HTTP proxy on loopback. */
  readonly port: number;
  readonly lease: PrintedLease;
}
export interface VpnPlayOptions {
  readonly folder: string;
  /** The private web server. */
  readonly web: number;
  /** Stands in the leg to the gate: gives the port to dial instead. */
  readonly between: (gate: number) => Promise<number>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const patience = 20_000;
const password = 'only for this demonstration';

export async function openVpnPlay({ folder, web, between, log, signal }: VpnPlayOptions): Promise<VpnPlay> {
  const text =
    'gate: { listen: "tls://127.0.0.1:0", workers: 0 }\n' +
    'vpn: { hubs: { mikalab: {\n' +
    '  nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.200, routes: [ 10.0.1.0/24 ] } },\n' +
    `  forward: [ { listen: "192.168.30.1:80", to: "tcp://127.0.0.1:${web}" } ] } } }\n`;
  await using stack = new AsyncDisposableStack();
  const data = join(folder, 'vpn');
  const file = parseConfig(text, { name: 'demo', folder });
  const gateway = stack.use(await openGateway({ file, data, workers: 0, write: () => {} }));
  const listen = gateway.listeners().find(({ name }) => name === 'gate')?.listen ?? '';
  const socket = join(data, 'sekisho.sock');
  const { cert: ca } = await callApi<{ cert: string }>(socket, 'GET', '/v1/certs/ca');
  await callApi(socket, 'POST', '/v1/vpn/hubs/mikalab/users', {
    user: 'staff01',
    secret: { password },
  });
  const leased = Promise.withResolvers<PrintedLease>();
  const late = AbortSignal.timeout(patience);
  late.addEventListener('abort', () => leased.reject(new Error('the hub gave no address')));
  const member = stack.use(
    await joinAsMember({
      gate: { host: 'localhost', port: await between(Number(/:(\d+)$/.exec(listen)?.[1])) },
      ...{ hub: 'mikalab', user: 'staff01', proof: { kind: 'password', password }, ca, verify: true, connections: 1 },
      how: { kind: 'socks', host: '127.0.0.1', port: 0 },
      ...{ signal, log },
      onLease: lease => lease && leased.resolve(lease),
    }),
  );
  const lease = await leased.promise;
  const parts = stack.move();
  return { port: Number(member.at.split(':').at(-1)), lease, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}
