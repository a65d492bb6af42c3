// A member's session by OpenVPN: a port of the hub (tap), or an address on it (tun), behind the keys of the data channel.
import { randomInt } from 'node:crypto';
import type { Address } from '../../../core/parts.ts';
import { frameLimits } from '../../../wire/ethernet.ts';
import { keyIdOf } from '../../../wire/openvpn.ts';
import type { HubPort } from '../hub.ts';
import type { HubLease } from '../join/dhcp-client.ts';
import { JoinedMember } from '../joined-member.ts';
import type { MemberEnd, Place, SessionTerms } from '../live-member.ts';
import { RoutedPort } from '../routed/routed-port.ts';
import { type DataKey, lastPacket } from './data-key.ts';

/** How packets reach a client. */
export interface Link {
  readonly kind: 'tcp' | 'udp';
  /** Of datagrams it may change while the session lives. */
  readonly peer: Address;
  /** Of datagrams: what the client names itself by. */
  readonly peerId?: number;
  readonly isOpen: boolean;
  /** Sends what it can; answers how many. */
  send(packets: readonly Buffer[]): number;
  /** After what was sent. */
  close(): Promise<void>;
}

export interface OpenVpnMemberOptions extends Place {
  readonly terms: SessionTerms;
  readonly certificate: undefined;
}
export interface OpenVpnMemberParts {
  readonly link: Link;
  /** Who speaks IP gets a MAC; who speaks Ethernet brings his own. */
  readonly routed?: { readonly mac: Uint8Array; release(): void };
  /** A key is used up, or old. */
  readonly renew: () => void;
  /** Says goodbye in the control channel and ends the link. */
  readonly farewell: (why: MemberEnd) => Promise<void>;
}

const pingPayload = Buffer.from('2a187bf3641eb4cb07ed2d0a981fc748', 'hex');
const occMagic = Buffer.from('287f346bd4ef7a812d56b8d3afc5459c', 'hex');
const occExit = 6;
/** Milliseconds that one key is used, less up to a tenth of it: so that not all members renew at once. */
const keyLife = 3_600_000;
/** Frames that wait for keys: none, they are lost as on any wire. */
const none: Buffer[] = [];

export class OpenVpnMember extends JoinedMember<OpenVpnMemberOptions> implements HubPort {
  readonly protocol = 'openvpn';
  readonly established = 1;
  readonly ping: number;
  readonly #parts: OpenVpnMemberParts;
  readonly #routed: RoutedPort | undefined;
  readonly #keys = new Map<number, DataKey>();
  #sendKey: DataKey | undefined;
  /** Not yet known to be there at the other side. */
  #nextKey: DataKey | undefined;
  #keyUntil = Number.POSITIVE_INFINITY;
  #deliver: (frames: readonly Uint8Array[]) => void = () => {};
  #heardAt: number;
  #saidAt: number;
  #goodbye: Promise<void> = Promise.resolve();

  constructor(options: OpenVpnMemberOptions, parts: OpenVpnMemberParts) {
    super(options);
    const { clock, policy, name, client, terms } = options;
    this.#parts = parts;
    this.#heardAt = this.#saidAt = this.since.getTime();
    this.ping = Math.max(2, Math.round(terms.timeout / 6000));
    this.#routed =
      parts.routed &&
      new RoutedPort({
        ...{ name, clock, mac: parts.routed.mac, hostname: client.hostname || policy.user },
        deliver: packets => void this.#out(packets),
        onLease: lease => this.#leaseChanged(lease),
      });
    this.plugIn(this.#routed ?? this);
    if (this.isOpen) this.#routed?.begin();
  }

  get connections(): { readonly all: number; readonly up: number; readonly down: number } {
    const count = this.isOpen && this.#parts.link.isOpen ? 1 : 0;
    return { all: count, up: count, down: count };
  }
  /** The address on the hub, of a member who speaks IP. @throws the signal's reason */
  leased(signal: AbortSignal): Promise<HubLease> | undefined {
    return this.#routed?.leased(signal);
  }

  // --- Keys ---

  /** The one before stays for what is still under way. */
  addKey(key: DataKey): void {
    for (const other of this.#keys.keys()) if (other !== this.#sendKey?.keyId) this.#keys.delete(other);
    this.#keys.set(key.keyId, key);
    this.#keyUntil = this.now() + keyLife - randomInt(keyLife / 10);
    if (this.#sendKey) this.#nextKey = key;
    else this.#sendKey = key;
  }
  /** The other side has the newest key as well. */
  useNewest(): void {
    if (!this.#nextKey) return;
    this.#sendKey = this.#nextKey;
    this.#nextKey = undefined;
  }

  // --- Packets ---

  /** Answers whether one of them was genuine. (Not `take`: a port with that is a service of the hub's own.) */
  arrived(packets: readonly Buffer[]): boolean {
    const payloads: Buffer[] = [];
    let genuine = false;
    for (const packet of packets) {
      const key = this.#keys.get(keyIdOf(packet));
      const payload = key?.open(packet);
      if (!key || !payload) continue;
      genuine = true;
      if (key === this.#nextKey) this.useNewest();
      if (payload.equals(pingPayload)) continue;
      if (payload.length === occMagic.length + 1 && payload.subarray(0, 16).equals(occMagic)) this.#occ(payload[16]);
      else payloads.push(payload);
    }
    if (genuine) this.#heardAt = this.now();
    if (payloads.length > 0 && this.isOpen) this.#in(payloads);
    return genuine;
  }
  #in(payloads: readonly Buffer[]): void {
    for (const { length } of payloads) this.bytes.up += length;
    this.lastFrame = this.options.clock.now();
    if (this.#routed) this.#routed.fromMember(payloads);
    else this.#deliver(payloads.filter(({ length }) => length >= frameLimits.least && length <= frameLimits.most));
  }
  #occ(code: number | undefined): void {
    if (code === occExit) void this.end('left');
  }

  #out(payloads: readonly Uint8Array[]): number {
    const key = this.#sendKey;
    if (!key || !this.isOpen) {
      this.bytes.dropped += payloads.length;
      return 0;
    }
    const packets = payloads.length === 1 ? [key.seal(payloads[0]!)] : payloads.map(payload => key.seal(payload));
    const sent = this.#parts.link.send(packets);
    this.bytes.dropped += payloads.length - sent;
    for (let index = 0; index < sent; index++) this.bytes.down += payloads[index]!.length;
    this.#saidAt = this.now();
    if (key.sent >= lastPacket) this.#parts.renew();
    return sent;
  }

  // --- The port, of a member who speaks Ethernet ---

  send(frame: Uint8Array): boolean {
    return this.#out([frame]) === 1;
  }
  sendBatch(frames: readonly Uint8Array[]): number {
    return this.#out(frames);
  }
  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = frames => {
      for (const frame of frames) deliver(frame);
    };
  }
  receiveBatch(deliver: (frames: readonly Uint8Array[]) => void): void {
    this.#deliver = deliver;
  }

  // --- Time ---

  protected look(now: number): void {
    if (now - this.#heardAt >= this.options.terms.timeout) return void this.end('timeout');
    if (!this.#parts.link.isOpen) return void this.end('left');
    if (now - this.#saidAt >= this.ping * 1000) this.#sayPing(now);
    if (now >= this.#keyUntil || (this.#sendKey?.received ?? 0) >= lastPacket) this.#parts.renew();
  }
  #sayPing(now: number): void {
    this.#saidAt = now;
    this.#parts.link.send(this.#sendKey ? [this.#sendKey.seal(pingPayload)] : none);
  }
  /** What was pushed cannot be changed: the client comes back for the new one. */
  #leaseChanged(lease: HubLease | undefined): void {
    if (this.#sendKey || !lease) void this.end('address lost');
  }

  protected async leave(why: MemberEnd): Promise<void> {
    this.#goodbye = this.#parts.farewell(why);
    await this.#routed?.[Symbol.asyncDispose](); // gives the address back
  }
  protected override left(): void {
    this.#parts.routed?.release();
  }
  async closed(): Promise<void> {
    await this.#goodbye;
  }
}
