// A computer on the hub without a network card: DHCP, ARP, echo, TCP and DNS in this process. It dials; nobody dials it.
import { randomInt } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { decode, encode } from 'dns-packet';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import { answers, readDnsQuery } from '../../../wire/dns.ts';
import { etherTypes, randomMac, writeEthernet } from '../../../wire/ethernet.ts';
import { FrameView } from '../../../wire/frame-view.ts';
import { decodeIcmp, encodeIcmp, icmpTypes } from '../../../wire/icmp.ts';
import { formatIpv4, parseIpv4, protocols, writeIpv4 } from '../../../wire/ipv4.ts';
import { decodeUdp, udpFrames } from '../../../wire/udp.ts';
import type { HubPort } from '../hub.ts';
import { TcpStack } from '../tcp/stack.ts';
import { ArpTable } from './arp-table.ts';
import { DhcpClient, type HubLease } from './dhcp-client.ts';
import { nextHop } from './routes.ts';

export interface UserHostOptions {
  readonly port: HubPort;
  readonly clock: Clock;
  readonly onLease?: (lease: HubLease | undefined) => void;
}
interface Question {
  readonly query: Uint8Array;
  readonly end: number;
  readonly server: number;
  readonly answered: (answer: Uint8Array) => void;
}

const owner = 'hub';
/** Milliseconds that one name server has, and rounds through all of them. */
const dns = { patience: 2000, rounds: 3, questions: 512 } as const;

export class UserHost implements AsyncDisposable {
  readonly mac: Uint8Array = randomMac();
  readonly #options: UserHostOptions;
  readonly #tcp: TcpStack;
  readonly #arp: ArpTable;
  readonly #dhcp: DhcpClient;
  readonly #view = new FrameView();
  readonly #questions = new Map<number, Question>();
  #out: Uint8Array[] = [];
  #state: 'idle' | 'asked' | 'closed' = 'idle';
  #leased = Promise.withResolvers<HubLease>();

  constructor(options: UserHostOptions) {
    this.#options = options;
    const { clock, port } = options;
    const { mac } = this;
    const send = (frames: readonly Uint8Array[]): void => {
      for (const frame of frames) this.#out.push(frame);
      this.#askTurn();
    };
    const emit = (frame: Uint8Array): void => void this.#out.push(frame);
    this.#tcp = new TcpStack({ mac, mtu: 1500, clock, emit, askTurn: () => this.#askTurn() });
    this.#arp = new ArpTable({ mac, clock, own: () => this.lease?.address ?? 0, send: frame => send([frame]) });
    this.#dhcp = new DhcpClient({ mac, clock, send, onLease: lease => this.#changed(lease) });
    const take = (frames: readonly Uint8Array[]): void => {
      for (const frame of frames) this.#take(frame);
    };
    if (port.receiveBatch) port.receiveBatch(take);
    else port.receive(frame => this.#take(frame));
  }
  get lease(): HubLease | undefined {
    return this.#dhcp.lease;
  }
  /** To be called whenever a session on the hub begins. */
  begin(): void {
    this.#dhcp.start();
  }
  /** The address, once there is one. */
  leased(signal: AbortSignal): Promise<HubLease> {
    return withSignal(this.lease ? Promise.resolve(this.lease) : this.#leased.promise, signal);
  }

  /** @throws Fault `denied` when the hub leads nowhere there, `unreachable` when nobody answers; the signal's reason */
  async dial(host: string, port: number, signal: AbortSignal): Promise<Conn> {
    const target = await this.resolve(host, signal);
    const lease = await this.leased(signal);
    const hop = nextHop(lease, target);
    if (hop === undefined) {
      const where = isIP(host) ? host : `${host} (${formatIpv4(target)})`;
      throw new Fault('denied', `${where} lies in none of the networks that the hub has pushed a route for`);
    }
    const mac = await withSignal(this.#arp.find(hop), signal);
    return this.#tcp.dial({ mac, host: target, port }, { host: lease.address }, owner, signal);
  }

  /** A name by the hub's name servers; where it has pushed none, as this machine resolves it. IPv4 only. */
  async resolve(name: string, signal: AbortSignal): Promise<number> {
    if (isIP(name) === 4) return parseIpv4(name);
    if (isIP(name) === 6) throw new Fault('denied', 'the hub’s router speaks IPv4 only; IPv6 passes at layer 2');
    const lease = await this.leased(signal);
    if (lease.dns.length === 0) {
      const found = await withSignal(lookup(name, { family: 4 }), signal).catch(cause => {
        signal.throwIfAborted();
        throw new Fault('unreachable', `the name ${name} is not known`, { cause });
      });
      return parseIpv4(found.address);
    }
    const names = name.includes('.') || lease.domain === '' ? [name] : [`${name}.${lease.domain}`, name];
    for (const each of names) {
      const found = await this.#lookUp(each, lease, signal);
      if (found !== undefined) return found;
    }
    throw new Fault('unreachable', `the hub’s name servers do not know ${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#dhcp.stop();
    this.#tcp.reset();
    this.#arp.forget();
    this.#turn();
    this.#state = 'closed';
  }

  async #lookUp(name: string, lease: HubLease, signal: AbortSignal): Promise<number | undefined> {
    const query = encode({
      ...{ type: 'query', id: randomInt(65_536), flags: 0x0100 },
      questions: [{ type: 'A', name }],
    });
    const { end } = readDnsQuery(query);
    for (let round = 0; round < dns.rounds; round++)
      for (const server of lease.dns) {
        const answer = await this.#ask({ query, end, server }, lease, signal);
        if (!answer) continue;
        const { answers: records = [], rcode } = readAnswer(answer);
        const found = records.find(({ type }) => type === 'A')?.data;
        if (typeof found === 'string' && isIP(found) === 4) return parseIpv4(found);
        if (rcode === 'NOERROR' || rcode === 'NXDOMAIN') return undefined;
      }
    throw new Fault('unreachable', 'the hub’s name servers do not answer');
  }
  /** One question to one server, from a port of its own (RFC 5452 §4.5). */
  async #ask(
    { query, end, server }: Omit<Question, 'answered'>,
    lease: HubLease,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const hop = nextHop(lease, server);
    if (hop === undefined || this.#questions.size >= dns.questions) return undefined;
    const mac = await withSignal(this.#arp.find(hop), signal).catch(() => undefined);
    signal.throwIfAborted();
    if (!mac) return undefined;
    let port = randomInt(20_000, 60_000);
    while (this.#questions.has(port)) port = randomInt(20_000, 60_000);
    const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
    this.#questions.set(port, { query, end, server, answered: resolve });
    const stop = this.#options.clock.after(dns.patience, () => resolve(undefined));
    try {
      const ends = { sourcePort: port, targetPort: 53, source: lease.address, target: server };
      this.#out.push(...udpFrames({ ...ends, toMac: mac, fromMac: this.mac, payload: query }, 1500));
      this.#askTurn();
      return await withSignal(promise, signal);
    } finally {
      stop();
      this.#questions.delete(port);
    }
  }

  #changed(lease: HubLease | undefined): void {
    // Connections of another address can never go on.
    this.#tcp.reset(owner);
    this.#arp.forget();
    if (lease) this.#leased.resolve(lease);
    else this.#leased = Promise.withResolvers();
    this.#options.onLease?.(lease);
  }

  #take(frame: Uint8Array): void {
    const view = this.#view;
    if (this.#state === 'closed' || !view.read(frame) || view.vlan !== 0) return;
    if (!view.isGroup && Buffer.compare(frame.subarray(0, 6), this.mac) !== 0) return;
    if (this.#dhcp.input(frame)) return;
    const own = this.lease?.address;
    if (own === undefined) return;
    if (view.carried === 'arp') this.#heardArp(view, own);
    else if (view.carried !== 'ipv4' || view.isGroup || view.target4 !== own) return;
    else if (view.protocol === protocols.tcp) this.#tcp.input(view, owner);
    else if (view.protocol === protocols.udp) this.#udp(view);
    else if (view.protocol === protocols.icmp) this.#icmp(view);
  }
  #heardArp({ frame, network, source4, target4 }: FrameView, own: number): void {
    const { mac } = this;
    const sender = frame.slice(network + 8, network + 14);
    if (source4 !== 0 && source4 !== own) this.#arp.heard(source4, sender);
    if (target4 !== own || u16(frame, network + 6) !== 1 || source4 === own) return;
    const answer = { senderMac: mac, senderIp: own, targetMac: sender, targetIp: source4 };
    this.#out.push(arpFrame({ operation: 'reply', ...answer }, sender));
    this.#askTurn();
  }
  #udp({ frame, upper, end, source4, target4, isFragment }: FrameView): void {
    if (isFragment || upper === 0 || u16(frame, upper) !== 53) return;
    const question = this.#questions.get(u16(frame, upper + 2));
    if (!question || question.server !== source4) return;
    try {
      const { payload } = decodeUdp(frame.subarray(upper, end), source4, target4);
      if (answers(payload, question.query, question.end)) question.answered(payload.slice());
    } catch {
      // a broken datagram answers nothing
    }
  }
  /** Echoes are answered, so that an administrator sees who is there. */
  #icmp({ frame, upper, end, isFragment, source4, target4 }: FrameView): void {
    if (isFragment || upper === 0 || frame[upper] !== icmpTypes.echo || u32(frame, 26) !== source4) return;
    try {
      const body = encodeIcmp({ ...decodeIcmp(frame.subarray(upper, end)), type: icmpTypes.echoReply });
      const answer = new Uint8Array(34 + body.length);
      writeEthernet(answer, frame.slice(6, 12), this.mac, etherTypes.ipv4);
      const fixed = { protocol: protocols.icmp, ttl: 64, id: 0, flags: 0x4000, length: 20 + body.length };
      writeIpv4(answer, 14, { ...fixed, source: target4, target: source4 });
      answer.set(body, 34);
      this.#out.push(answer);
      this.#askTurn();
    } catch {
      // a broken one is not answered
    }
  }

  #askTurn(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'asked';
    setImmediate(() => {
      if (this.#state !== 'asked') return;
      this.#state = 'idle';
      this.#turn();
    });
  }
  #turn(): void {
    this.#tcp.turn();
    const frames = this.#out;
    this.#out = [];
    const { port } = this.#options;
    if (frames.length === 0) return;
    if (port.sendBatch) port.sendBatch(frames);
    else for (const frame of frames) port.send(frame);
  }
}

interface DnsAnswer {
  readonly answers?: readonly { readonly type: string; readonly data?: unknown }[];
  readonly rcode?: string;
}

/** What cannot be read knows nothing. */
function readAnswer(bytes: Uint8Array): DnsAnswer {
  try {
    return decode(Buffer.from(bytes)) as DnsAnswer;
  } catch {
    return {};
  }
}

/** @throws the signal's reason when it comes first */
function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', stop));
}
