// A member who came by SSTP: his place on a hub, an address from its DHCP, IPv4 packets to and from the link.
import { maskOf } from '../../../wire/ipv4.ts';
import type { HubLease } from '../join/dhcp-client.ts';
import { JoinedMember } from '../joined-member.ts';
import type { MemberEnd, Place, SessionTerms } from '../live-member.ts';
import type { TakenMac } from '../routed/routed-macs.ts';
import { RoutedPort } from '../routed/routed-port.ts';
import { fragments, mayNotBeCut, tooBig } from './fit.ts';
import { answerInform, isDhcp } from './inform.ts';

/** The call that carries the session. */
export interface Carrier {
  /** Bytes of packets are counted here when they are taken. @returns how many of them were */
  deliver(packets: readonly Uint8Array[]): number;
  /** Says goodbye; resolves when the conn is closed. */
  finish(why: MemberEnd): Promise<void>;
  /** The largest packet that the link takes. */
  readonly mru: number;
}
export interface SstpSessionOptions extends Place {
  readonly terms: SessionTerms;
  readonly certificate: undefined;
  readonly mac: TakenMac;
  readonly carrier: Carrier;
}

/** Milliseconds that the hub's DHCP server has. */
const patience = 15_000;

export class SstpSession extends JoinedMember<SstpSessionOptions> {
  readonly protocol = 'sstp';
  readonly established = 1;
  readonly #port: RoutedPort;
  #address: number | undefined;
  #closing: Promise<void> = Promise.resolve();

  constructor(options: SstpSessionOptions) {
    super(options);
    const { name, policy, clock, mac } = options;
    this.#port = new RoutedPort({
      ...{ name, clock, mac: mac.mac, hostname: policy.user },
      // What others ask DHCP servers goes to every port: this member has no answers for them.
      deliver: packets => this.#deliver(packets.filter(packet => !isDhcp(packet))),
      onLease: lease => this.#leased(lease),
    });
    this.plugIn(this.#port);
  }

  get connections(): { readonly all: number; readonly up: number; readonly down: number } {
    const count = this.isOpen ? 1 : 0;
    return { all: count, up: count, down: count };
  }
  get lease(): HubLease | undefined {
    return this.#port.lease;
  }

  /** Asks the hub's DHCP server. Nothing when it has no answer in time, or the session has ended. */
  async address(): Promise<HubLease | undefined> {
    const late = new AbortController();
    const stop = this.options.clock.after(patience, () => late.abort());
    this.#port.begin();
    try {
      return await this.#port.leased(late.signal);
    } catch {
      return undefined;
    } finally {
      stop();
    }
  }

  /** Packets of one turn from the member. */
  take(packets: readonly Uint8Array[]): void {
    const { lease } = this.#port;
    if (!lease || !this.isOpen) return;
    const forHub: Uint8Array[] = [];
    for (const packet of packets) {
      this.bytes.up += packet.length;
      if (packet.length < 20 || !isDhcp(packet)) forHub.push(packet);
      else {
        const answer = answerInform(packet, lease, farEnd(lease));
        if (answer) this.#deliver([answer]);
      }
    }
    this.lastFrame = this.options.clock.now();
    const taken = this.#port.fromMember(forHub);
    this.bytes.dropped += forHub.length - taken;
  }

  #deliver(packets: readonly Uint8Array[]): void {
    const { carrier } = this.options;
    const { mru } = carrier;
    const fitting = packets.every(({ length }) => length <= mru)
      ? packets
      : packets.flatMap(packet => (packet.length <= mru ? packet : this.#fit(packet, mru)));
    const taken = carrier.deliver(fitting);
    for (let index = 0; index < taken; index++) this.bytes.down += fitting[index]!.length;
    this.bytes.dropped += fitting.length - taken;
  }
  #fit(packet: Uint8Array, mru: number): Uint8Array[] {
    if (!mayNotBeCut(packet)) return fragments(packet, mru);
    const complaint = tooBig(packet, mru);
    if (complaint) this.#port.fromMember([complaint]);
    this.bytes.dropped++;
    return [];
  }

  /** PPP cannot move to another address: who loses his begins anew. */
  #leased(lease: HubLease | undefined): void {
    const before = this.#address;
    this.#address = lease?.address;
    if (before !== undefined && before !== lease?.address) void this.end('address lost');
  }

  protected look(): void {}
  protected async leave(why: MemberEnd): Promise<void> {
    this.#closing = this.options.carrier.finish(why);
    await this.#port[Symbol.asyncDispose](); // gives the address back
  }
  protected override left(): void {
    this.options.mac.release();
  }
  async closed(): Promise<void> {
    await this.#closing;
  }
}

/** The other end of the link, as the member sees it: who gave the address. */
export const farEnd = ({ server, address, bits }: HubLease): number =>
  server !== 0 && server !== address ? server : ((address & maskOf(bits)) | 1) >>> 0;
