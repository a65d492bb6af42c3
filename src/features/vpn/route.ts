// Layer 3 between hubs: a virtual router with one interface on each of several hubs and a table of routes (SoftEther's
// "virtual layer 3 switch"). Frames come in by ordinary ports, so policies and access lists of each hub hold.
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import { arpFrame } from '../../wire/arp.ts';
import { putU16, u16 } from '../../wire/bytes.ts';
import { checksum } from '../../wire/checksum.ts';
import { broadcastMac, etherTypes, formatMac, randomMac, writeEthernet } from '../../wire/ethernet.ts';
import { FrameView } from '../../wire/frame-view.ts';
import { encodeIcmp, encodeUnreachable, icmpTypes, unreachable } from '../../wire/icmp.ts';
import { formatIpv4, type Ipv4Network, isInside, parseIpv4, parseIpv4Network, writeIpv4 } from '../../wire/ipv4.ts';
import type { Attached, Hub, HubPort } from './hub.ts';
import { defaultSecurity } from './softether/policy.ts';

export interface RouteTableOptions {
  readonly name: string;
  /** Where it stands: 192.168.30.254/24 on one hub, 192.168.40.254/24 on another. */
  readonly interfaces: readonly { readonly hub: Hub; readonly address: string }[];
  /** Networks beyond the interfaces' own, each through a neighbour on one of them. */
  readonly routes: readonly { readonly network: string; readonly via: string }[];
  readonly clock: Clock;
}

/** Milliseconds that a neighbour's MAC is remembered, and that a packet waits for it. */
const life = { neighbour: 60_000, question: 3000 } as const;
/** Neighbours that are known, packets that wait for one, on each interface. */
const most = { neighbours: 4096, waiting: 16, questions: 256 } as const;

interface Neighbour {
  readonly mac: Uint8Array;
  readonly until: number;
}
interface Question {
  readonly until: number;
  readonly frames: Uint8Array[];
}

/** @throws Fault `invalid` for addresses that do not fit each other */
export function createRouteTable(options: RouteTableOptions): AsyncDisposable {
  const { clock } = options;
  const interfaces = options.interfaces.map(
    ({ hub, address }) => new Interface(options.name, hub, parseIpv4Network(address), clock),
  );
  interfaces.forEach((one, index) => {
    const twin = interfaces.findIndex(
      other => isInside(other.network, one.network.address) || isInside(one.network, other.network.address),
    );
    if (twin !== index) {
      throw new Fault(
        'invalid',
        `two interfaces of ${options.name} stand in the same network, ${formatIpv4(one.network.address)}`,
      );
    }
  });
  const routes = options.routes
    .map(route => {
      const via = parseIpv4(route.via);
      const out = interfaces.find(({ network }) => isInside(network, via));
      if (!out) throw new Fault('invalid', `no interface of ${options.name} reaches ${route.via}`);
      return { network: parseIpv4Network(route.network), via, out };
    })
    .sort((a, b) => b.network.bits - a.network.bits); // the longest match first
  const way = (target: number): { out: Interface; next: number } | undefined => {
    const own = interfaces.find(({ network }) => isInside(network, target));
    if (own) return { out: own, next: target };
    const route = routes.find(({ network }) => isInside(network, target));
    return route && { out: route.out, next: route.via };
  };
  for (const one of interfaces) one.open(way, address => interfaces.some(({ network }) => network.address === address));
  return {
    async [Symbol.asyncDispose]() {
      for (const one of interfaces) await one[Symbol.asyncDispose]();
    },
  };
}

type Way = (target: number) => { readonly out: Interface; readonly next: number } | undefined;

class Interface implements HubPort {
  readonly name: string;
  readonly network: Ipv4Network;
  readonly #hub: Hub;
  readonly #clock: Clock;
  readonly #mac = randomMac();
  readonly #view = new FrameView();
  readonly #neighbours = new Map<number, Neighbour>();
  readonly #questions = new Map<number, Question>();
  #attached: Attached | undefined;
  #deliver: ((frame: Uint8Array) => void) | undefined;
  #way: Way = () => undefined;
  #isOurs: (address: number) => boolean = () => false;

  constructor(name: string, hub: Hub, network: Ipv4Network, clock: Clock) {
    if (network.bits < 1 || network.bits > 30)
      throw new Fault('invalid', `an interface needs a network, not /${network.bits}`);
    this.name = `${name}-${hub.name}`;
    this.network = network;
    this.#hub = hub;
    this.#clock = clock;
  }
  open(way: Way, isOurs: (address: number) => boolean): void {
    this.#way = way;
    this.#isOurs = isOurs;
    const session = `SID-L3-${this.name.toUpperCase()}`;
    this.#attached = this.#hub.attach(this, {
      kind: 'router',
      session,
      user: '',
      groups: [],
      security: defaultSecurity,
    });
  }
  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = deliver;
  }
  send(frame: Uint8Array): boolean {
    const view = this.#view;
    if (!view.read(frame) || view.vlan !== 0) return true;
    if (view.carried === 'arp') this.#arp(view);
    else if (view.carried === 'ipv4' && !view.isGroup && formatMac(frame) === formatMac(this.#mac)) this.#route(view);
    return true;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#attached?.[Symbol.asyncDispose]();
    this.#deliver = undefined;
    this.#questions.clear();
  }

  #arp({ frame, network, source4, target4 }: FrameView): void {
    const sender = frame.slice(network + 8, network + 14);
    if (!isInside(this.network, source4)) return;
    const isForUs = target4 === this.network.address;
    if (isForUs || this.#neighbours.has(source4) || this.#questions.has(source4)) this.#learn(source4, sender);
    if (!isForUs || u16(frame, network + 6) !== 1) return;
    const reply = {
      operation: 'reply',
      senderMac: this.#mac,
      senderIp: target4,
      targetMac: sender,
      targetIp: source4,
    } as const;
    this.#deliver?.(arpFrame(reply, sender));
  }
  #learn(address: number, mac: Uint8Array): void {
    if (this.#neighbours.size >= most.neighbours) this.#neighbours.clear();
    this.#neighbours.set(address, { mac, until: this.#now() + life.neighbour });
    const question = this.#questions.get(address);
    this.#questions.delete(address);
    for (const frame of question?.frames ?? []) this.#hand(frame, mac);
  }

  #route(view: FrameView): void {
    const { frame, network: at, end, source4, target4 } = view;
    const head = (frame[at]! & 15) * 4;
    if (checksum(frame, at, at + head) !== 0) return;
    if (this.#isOurs(target4)) {
      this.#echo(view);
      return;
    }
    const found = this.#way(target4);
    // RFC 3704 §2.2: who is not there cannot have sent it from there.
    if (this.#way(source4)?.out !== this) return;
    const isHostless = source4 === 0 || source4 >>> 28 === 14 || target4 >>> 28 >= 14 || target4 >>> 24 === 127;
    if (isHostless) return;
    if (frame[at + 8]! <= 1) {
      this.#complain(view, 11, 0); // time exceeded (RFC 792)
      return;
    }
    if (!found) {
      this.#complain(view, icmpTypes.unreachable, unreachable.network);
      return;
    }
    const copy = new Uint8Array(14 + end - at);
    copy.set(frame.subarray(at, end), 14);
    copy[22]!--;
    putU16(copy, 24, 0);
    putU16(copy, 24, checksum(copy, 14, 14 + head));
    found.out.forward(copy, found.next);
  }
  /** Sends a packet that stands at offset 14 of `frame` to a neighbour, once it is known where he is. */
  forward(frame: Uint8Array, next: number): void {
    const known = this.#neighbours.get(next);
    const now = this.#now();
    if (known && known.until > now) {
      this.#hand(frame, known.mac);
      return;
    }
    const question = this.#questions.get(next);
    if (question && question.until > now) {
      if (question.frames.length < most.waiting) question.frames.push(frame);
      return;
    }
    if (this.#questions.size >= most.questions) this.#questions.clear();
    this.#questions.set(next, { until: now + life.question, frames: [frame] });
    const senderIp = this.network.address;
    const asked = {
      operation: 'request',
      senderMac: this.#mac,
      senderIp,
      targetMac: new Uint8Array(6),
      targetIp: next,
    } as const;
    this.#deliver?.(arpFrame(asked, broadcastMac));
  }
  #hand(frame: Uint8Array, mac: Uint8Array): void {
    writeEthernet(frame, mac, this.#mac, etherTypes.ipv4);
    this.#deliver?.(frame);
  }

  #echo(view: FrameView): void {
    const { frame, upper, end, protocol, icmpType, target4 } = view;
    if (protocol !== 1 || icmpType !== icmpTypes.echo || upper === 0 || view.isFragment || end - upper < 8) return;
    if (checksum(frame, upper, end) !== 0) return;
    const [id, sequence] = [u16(frame, upper + 4), u16(frame, upper + 6)];
    this.#answer(view, target4, encodeIcmp({ type: 0, code: 0, id, sequence, data: frame.subarray(upper + 8, end) }));
  }
  #complain(view: FrameView, type: number, code: number): void {
    const { frame, network, end, protocol, icmpType } = view;
    if (view.isFragment || (protocol === 1 && icmpType !== icmpTypes.echo)) return; // RFC 1122 §3.2.2
    const body = encodeUnreachable(code, frame.subarray(network, end));
    body[0] = type;
    putU16(body, 2, 0);
    putU16(body, 2, checksum(body, 0, body.length));
    this.#answer(view, this.network.address, body);
  }
  #answer({ frame, source4 }: FrameView, source: number, body: Uint8Array): void {
    const reply = new Uint8Array(34 + body.length);
    writeEthernet(reply, frame.subarray(6, 12), this.#mac, etherTypes.ipv4);
    writeIpv4(reply, 14, {
      source,
      target: source4,
      protocol: 1,
      ttl: 64,
      id: 0,
      flags: 0x4000,
      length: 20 + body.length,
    });
    reply.set(body, 34);
    this.#deliver?.(reply);
  }
  #now(): number {
    return this.#clock.now().getTime();
  }
}
