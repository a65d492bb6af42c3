// The hub as a network device of this machine (Linux, root): a TAP, the leased address, and the pushed routes on it.
// Everything stands on the device, and the device goes with the process that holds it, however that ends. What does not
// (a way to the gate around a pushed default route) is taken away by a small shell that outlives us by one command.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Log } from '../../../core/parts.ts';
import { parseMac } from '../../../wire/ethernet.ts';
import { formatIpv4, type Ipv4Network, isInside, maskOf, parseIpv4 } from '../../../wire/ipv4.ts';
import type { HubPort } from '../hub.ts';
import { openTap, type TapPort } from '../tap.ts';
import { DhcpClient, type HubLease } from './dhcp-client.ts';
import { mayLead } from './routes.ts';

export interface TapHostOptions {
  readonly port: HubPort;
  readonly device: string;
  /** Hosts that the hub itself is reached by: they never go through it. */
  readonly around: readonly string[];
  /** `false`: a pushed default gateway is left out. */
  readonly defaultRoute: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly onLease?: (lease: HubLease | undefined) => void;
}

const run = promisify(execFile);
/** Later than what the machine has of its own. */
const metric = '50';

export class TapHost implements AsyncDisposable {
  readonly device: string;
  readonly #options: TapHostOptions;
  readonly #tap: TapPort;
  readonly #dhcp: DhcpClient;
  #guards: ChildProcess[] = [];
  /** Changes of the device happen one after the other. */
  #work: Promise<void> = Promise.resolve();
  #state: 'open' | 'closed' = 'open';

  constructor(tap: TapPort, options: TapHostOptions) {
    this.#tap = tap;
    this.#options = options;
    this.device = tap.device;
    const { port, clock, log, onLease } = options;
    this.#dhcp = new DhcpClient({
      ...{ mac: parseMac(tap.mac), clock },
      send: frames => void port.sendBatch?.(frames),
      onLease: lease => {
        this.#work = this.#work
          .then(() => this.#install(lease))
          .then(() => onLease?.(lease))
          .catch(error => log.error({ error }, `the address could not be set on ${this.device}`));
      },
    });
    port.receiveBatch?.(frames => {
      const rest = frames.filter(frame => !this.#dhcp.input(frame));
      if (rest.length > 0) tap.sendBatch?.(rest);
    });
    tap.receiveBatch?.(frames => void port.sendBatch?.(frames));
  }
  get lease(): HubLease | undefined {
    return this.#dhcp.lease;
  }
  /** Why the device is gone, once it is. */
  get ended(): Promise<string> {
    return this.#tap.ended;
  }
  begin(): void {
    this.#dhcp.start();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#dhcp.stop();
    this.#state = 'closed';
    await this.#work;
    await this.#unguard();
    await this.#tap[Symbol.asyncDispose]();
  }

  async #install(lease: HubLease | undefined): Promise<void> {
    if (this.#state === 'closed') return;
    const { device } = this;
    await ip('address', 'flush', 'dev', device); // takes the routes with it
    await this.#unguard();
    if (!lease) return;
    const { defaultRoute, log } = this.#options;
    const routes = lease.routes.filter(({ network }) => mayLead(network, { defaultRoute }));
    for (const { network } of lease.routes)
      if (!mayLead(network, { defaultRoute })) log.info({ route: textOf(network) }, 'a pushed route is left out');
    const own = { address: lease.address, bits: lease.bits, mask: maskOf(lease.bits) };
    await ip('link', 'set', 'dev', device, 'mtu', String(lease.mtu), 'up');
    for (const network of [own, ...routes.map(route => route.network)]) await this.#goAround(network);
    await ip('address', 'replace', `${formatIpv4(lease.address)}/${lease.bits}`, 'dev', device);
    // Two halves are longer than the machine's own default route, which stays as it is.
    for (const { network, router } of routes)
      for (const half of network.bits === 0 ? ['0.0.0.0/1', '128.0.0.0/1'] : [textOf(network)])
        await ip('route', 'replace', half, ...wayOf(router, lease), 'dev', device, 'metric', metric);
  }

  /** What carries the hub must not go through the hub. */
  async #goAround(network: Ipv4Network): Promise<void> {
    for (const host of this.#options.around)
      for (const { address } of await lookup(host, { family: 4, all: true }).catch(() => [])) {
        if (!isInside(network, parseIpv4(address)) || address.startsWith('127.')) continue;
        const { stdout } = await run('ip', ['-4', 'route', 'get', address]);
        const [, via] = / via (\S+)/.exec(stdout) ?? [];
        const [, device] = / dev (\S+)/.exec(stdout) ?? [];
        if (!device || device === this.device || device === 'lo') continue;
        const route = [`${address}/32`, ...(via ? ['via', via] : []), 'dev', device, 'metric', '1'];
        try {
          await ip('route', 'add', ...route);
        } catch (error) {
          if (!/File exists/.test(String(error))) throw error;
          continue; // the machine has such a route of its own
        }
        this.#guards.push(guard(['route', 'del', ...route]));
      }
  }
  async #unguard(): Promise<void> {
    const guards = this.#guards;
    this.#guards = [];
    await Promise.all(
      guards.map(async child => {
        if (child.exitCode !== null) return;
        const gone = once(child, 'exit');
        child.stdin?.end();
        await gone;
      }),
    );
  }
}

/** @throws Fault `unreachable` where /dev/net/tun or the right is missing, with what to do instead */
export async function openTapHost(options: TapHostOptions): Promise<TapHost> {
  const { device, log } = options;
  if (process.platform !== 'linux')
    throw new Fault('invalid', 'a network device is made on Linux only; use --socks 127.0.0.1:1080 here');
  const tap = await openTap({ device, log }).catch(cause => {
    if (!(cause instanceof Fault) || cause.code === 'invalid') throw cause;
    throw new Fault(cause.code, `${cause.message}; without root use --socks 127.0.0.1:1080`, { cause });
  });
  // Nothing has come from the hub yet. A router that advertises itself would be a default route too (RFC 4861 §4.2).
  if (!options.defaultRoute)
    await writeFile(`/proc/sys/net/ipv6/conf/${tap.device}/accept_ra_defrtr`, '0').catch(() => {}); // no IPv6 here
  return new TapHost(tap, options);
}

async function ip(...args: readonly string[]): Promise<void> {
  try {
    await run('ip', ['-4', ...args]);
  } catch (cause) {
    const said = String((cause as { stderr?: unknown }).stderr ?? cause).trim();
    throw new Fault('unreachable', `ip ${args.join(' ')}: ${said}`, { cause });
  }
}

/** Runs `ip …` when our end of its pipe closes: when we say so, or when this process dies. */
const guard = (args: readonly string[]): ChildProcess => {
  const script = 'trap "" INT TERM HUP; cat >/dev/null; exec ip -4 "$@"';
  const child = spawn('sh', ['-c', script, 'sekisho', ...args], {
    ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
  });
  child.unref();
  return child;
};

const textOf = ({ address, bits }: Ipv4Network): string => `${formatIpv4(address)}/${bits}`;
/** A router outside the hub's own network is still a neighbour there. */
function wayOf(router: number, { address, bits }: HubLease): string[] {
  if (router === 0) return ['scope', 'link'];
  const own = { address, bits, mask: maskOf(bits) };
  return ['via', formatIpv4(router), ...(isInside(own, router) ? [] : ['onlink'])];
}
