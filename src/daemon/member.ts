// The third composition: a member of a hub on this machine, as `sekisho vpn join` runs it. No gate, no store.
import { systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Metrics } from '../core/parts.ts';
import {
  type HubLease,
  joinHub,
  type MemberState,
  type Membership,
  openLocalDoor,
  openTapHost,
  type Proof,
  UserHost,
} from '../features/vpn/join/index.ts';
import { parseProxy, proxyOf } from '../net/http-proxy.ts';
import { formatIpv4 } from '../wire/ipv4.ts';

export type { MemberState, Proof };
export { parseProxy, proxyOf };

export interface MemberOptions {
  readonly gate: { readonly host: string; readonly port: number };
  readonly hub: string;
  readonly user: string;
  readonly proof: Proof;
  /** PEM. */
  readonly ca?: string;
  readonly name?: string;
  readonly verify: boolean;
  readonly proxy?: URL;
  readonly connections: number;
  /** SOCKS5 and HTTP on this address of loopback; or a network device. */
  readonly how:
    | { readonly kind: 'socks'; readonly host: string; readonly port: number }
    | { readonly kind: 'tap'; readonly device: string; readonly defaultRoute: boolean };
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly onState?: (state: MemberState) => void;
  readonly onLease?: (lease: PrintedLease | undefined) => void;
}
export interface PrintedLease {
  /** 192.168.30.10/24 */
  readonly address: string;
  readonly routes: readonly { readonly network: string; readonly via: string }[];
  readonly dns: readonly string[];
  readonly domain: string;
}
export interface Member extends AsyncDisposable {
  /** Where programs of this machine find the hub: 127.0.0.1:1080, or the name of the device. */
  readonly at: string;
  /** Resolves when it is over; with the fault that ended it, or nothing when it was asked to end. */
  readonly ended: Promise<Fault | undefined>;
}

/** Joins a hub, and stays until the signal or a refusal ends it. @throws Fault */
export async function joinAsMember(options: MemberOptions): Promise<Member> {
  const { gate, hub, user, proof, ca, name, verify, proxy, connections, signal, log, onState } = options;
  await using stack = new AsyncDisposableStack();
  const membership = await joinHub({
    target: {
      ...{ ...gate, verify },
      ...(ca === undefined ? {} : { ca }),
      ...(name === undefined ? {} : { name }),
      ...(proxy === undefined ? {} : { proxy }),
    },
    ...{ hub, user, proof, connections, clock: systemClock, log, signal },
    ...(onState === undefined ? {} : { onState }),
  });
  // What is used is taken down first, so that the address is given back while there is a line to do it on.
  stack.use(membership);
  const host =
    options.how.kind === 'tap' ? await asDevice(membership, options) : await asProxy(membership, options, stack);
  stack.use(host);
  membership.onSession(() => host.begin());
  host.begin();
  const parts = stack.move();
  const gone = host.gone.then(why => new Fault('unreachable', `the network device is gone: ${why}`));
  return {
    at: host.at,
    ended: Promise.race([membership.ended, gone]),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

interface Host extends AsyncDisposable {
  readonly at: string;
  readonly gone: Promise<string>;
  begin(): void;
}

async function asProxy(port: Membership, options: MemberOptions, stack: AsyncDisposableStack): Promise<Host> {
  const { how, log, onLease } = options;
  if (how.kind !== 'socks') throw new Fault('bug', 'not a proxy');
  const host = new UserHost({ port, clock: systemClock, onLease: lease => onLease?.(lease && printed(lease)) });
  const door = await openLocalDoor({
    ...{ host: how.host, port: how.port, log, metrics: quiet },
    dial: (name, target, signal) => host.dial(name, target, signal),
  });
  stack.use(door);
  const at = 'port' in door.address ? `${how.host}:${door.address.port}` : how.host;
  return {
    ...{ at, gone: new Promise<string>(() => {}) },
    begin: () => host.begin(),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}

async function asDevice(port: Membership, options: MemberOptions): Promise<Host> {
  const { how, log, gate, proxy, onLease } = options;
  if (how.kind !== 'tap') throw new Fault('bug', 'not a device');
  const host = await openTapHost({
    ...{ port, device: how.device, defaultRoute: how.defaultRoute, clock: systemClock, log },
    around: [gate.host, ...(proxy ? [proxy.hostname] : [])],
    onLease: lease => onLease?.(lease && printed(lease)),
  });
  return {
    ...{ at: host.device, gone: host.ended },
    begin: () => host.begin(),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}

const printed = ({ address, bits, routes, dns, domain }: HubLease): PrintedLease => ({
  address: `${formatIpv4(address)}/${bits}`,
  routes: routes.map(({ network, router }) => ({
    network: `${formatIpv4(network.address)}/${network.bits}`,
    via: formatIpv4(router),
  })),
  dns: dns.map(formatIpv4),
  domain,
});

const quiet: Metrics = { count() {}, gauge() {}, observe() {} };
