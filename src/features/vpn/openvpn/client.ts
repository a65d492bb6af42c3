// One OpenVPN client from its first packet to its last: control packets → TLS → who and where → a member of a hub, and the
// same again for each renewal of keys. Read this first.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { Fault, isWeather } from '../../../core/fault.ts';
import type { Address, Conn, Gate, Log, Metrics, Upgrade } from '../../../core/parts.ts';
import { peek } from '../../../net/peek.ts';
import { type ControlPacket, decodeControl, encodeControl, isControl, isData, opcodes } from '../../../wire/openvpn.ts';
import {
  decodeKeyExchange,
  encodeKeyReply,
  type KeyExchange,
  LineSplitter,
  mirrorOptions,
} from '../../../wire/openvpn-keys.ts';
import type { MemberEnd } from '../live-member.ts';
import type { RoutedMacs } from '../routed/routed-macs.ts';
import { Refusal } from '../softether/errors.ts';
import { nobody } from '../softether/login.ts';
import type { MemberSessions } from '../softether/sessions.ts';
import { DataKey, expandKeys, exporterLabel, keyMaterialLength } from './data-key.ts';
import { KeyState } from './key-state.ts';
import { type OpenVpnLoginDeps, proveOpenVpn, type Shown } from './login.ts';
import { type Link, OpenVpnMember } from './member.ts';
import { type Offer, readOffer } from './offer.ts';
import { pushLines, pushOptions } from './push.ts';
import { failureLine } from './refusals.ts';
import type { Protection } from './tls-crypt.ts';

export interface OpenVpnDeps extends OpenVpnLoginDeps {
  readonly gate: Gate;
  readonly sessions: Pick<MemberSessions, 'enter'>;
  readonly macs: RoutedMacs;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}
export interface OpenVpnClientOptions {
  readonly link: Link;
  readonly tls: Upgrade;
  readonly protection: Protection;
  readonly ownSession: Buffer;
  readonly farSession: Buffer;
  /** 1 where a stateless answer was packet 0 of both sides. */
  readonly from: 0 | 1;
  readonly deps: OpenVpnDeps;
}

/** Milliseconds: for a negotiation, for the hub's address, for a goodbye, between two negotiations and two answers to PUSH_REQUEST. */
const patience = { negotiation: 60_000, lease: 20_000, farewell: 1500, renewal: 1000, push: 3000 } as const;
const exchangeLimit = 16_384;
/** A TLSSocket; without a context, which before TLS 1.3 is not the same as an empty one. */
interface Exporter {
  exportKeyingMaterial(length: number, label: string): Buffer;
}
type Exchanged = NonNullable<ReturnType<typeof decodeKeyExchange>>;

export class OpenVpnClient {
  readonly #options: OpenVpnClientOptions;
  readonly #states = new Map<number, KeyState>();
  readonly #life = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #current: KeyState | undefined;
  #offer: Offer | undefined;
  #who: string | undefined;
  #member: OpenVpnMember | undefined;
  #renewedAt = 0;
  #hub = '*';
  #proto = 0;
  #pushed: readonly string[] = [];
  #pushedAt = 0;
  /** Of what proved who it is: not the thing itself. */
  #proof: Buffer = randomBytes(32);
  readonly #secret = randomBytes(32);

  constructor(options: OpenVpnClientOptions) {
    this.#options = options;
    this.#begin(0);
  }
  /** When its link is of no more use. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }
  get member(): OpenVpnMember | undefined {
    return this.#member;
  }
  /** Has proven who it is. */
  get isIn(): boolean {
    return this.#member !== undefined;
  }

  /** Packets in the order they came in. Answers whether one of them was certainly this client's. */
  take(packets: readonly Buffer[]): boolean {
    let genuine = false;
    let data: Buffer[] = [];
    for (const packet of packets) {
      if (isData(packet)) {
        data.push(packet);
        continue;
      }
      if (data.length > 0) genuine = this.#data(data) || genuine;
      data = [];
      if (isControl(packet)) this.#control(packet);
    }
    return (data.length > 0 && this.#data(data)) || genuine;
  }
  #data(packets: readonly Buffer[]): boolean {
    return this.#member?.arrived(packets) ?? false;
  }

  /** Ends what there is, and the link. */
  async end(why: MemberEnd): Promise<void> {
    if (this.#member) {
      await this.#member.end(why);
      await this.#member.closed();
    } else await this.#close();
  }

  #control(bytes: Buffer): void {
    const { protection, ownSession, farSession } = this.#options;
    const plain = protection.unwrap(bytes);
    if (!plain) return;
    let packet: ControlPacket;
    try {
      packet = decodeControl(plain);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return; // noise, or somebody who is not there: nothing depends on it
    }
    if (!farSession.equals(packet.session) || (packet.far && !ownSession.equals(packet.far))) return;
    const state = this.#states.get(packet.keyId) ?? this.#renewed(packet);
    state?.take(packet);
    this.#settleKeys();
  }

  /** Their wish for new keys. One at a time, and not too often: anybody on the way can write it. */
  #renewed({ opcode, keyId }: ControlPacket): KeyState | undefined {
    const { clock } = this.#options.deps;
    const now = clock.now().getTime();
    if (opcode !== opcodes.softReset || !this.#member || keyId !== this.#nextKeyId()) return undefined;
    if (now - this.#renewedAt < patience.renewal) return undefined;
    return this.#begin(keyId);
  }
  /** Ours. */
  #renew(): void {
    const keyId = this.#nextKeyId();
    const now = this.#options.deps.clock.now().getTime();
    if (this.#states.has(keyId) || now - this.#renewedAt < patience.negotiation) return;
    this.#begin(keyId);
  }
  /** 1 to 7, and round again: 0 is the first one only. */
  #nextKeyId(): number {
    return ((this.#current?.keyId ?? 0) % 7) + 1;
  }

  #begin(keyId: number): KeyState {
    const { link, deps, from, protection, ownSession, farSession } = this.#options;
    this.#renewedAt = deps.clock.now().getTime();
    const state = new KeyState({
      ...{ keyId, clock: deps.clock, peer: link.peer },
      ...(keyId === 0 ? { from } : {}),
      send: packet => {
        const bytes = encodeControl({ ...packet, session: ownSession, far: farSession });
        link.send([protection.wrap(bytes)]);
      },
    });
    this.#states.set(keyId, state);
    if (keyId > 0 || from === 0) state.open(keyId > 0 ? opcodes.softReset : opcodes.hardResetServer);
    void this.#negotiate(state).catch(error => this.#failed(state, error));
    return state;
  }

  async #negotiate(state: KeyState): Promise<void> {
    const { tls } = this.#options;
    const signal = AbortSignal.any([AbortSignal.timeout(patience.negotiation), this.#life.signal]);
    const conn = await tls(state.raw, signal);
    state.tls = conn;
    const { exchange } = await peek<Exchanged>(conn.stream, bytes => decodeKeyExchange(bytes) ?? 'more', {
      ...{ limit: exchangeLimit, signal, used: ({ used }) => used },
    });
    const randoms = [randomBytes(32), randomBytes(32)] as const;
    conn.stream.write(encodeKeyReply(...randoms, mirrorOptions(exchange.options)));
    const asks = this.#listen(state);
    const material = (): Buffer => this.#material(state, exchange, randoms);
    if (state.keyId === 0) await this.#join(state, exchange, material, asks, signal);
    else await this.#again(state, exchange, material, signal);
  }

  /** The first keys: who it is, and a place on the hub. */
  async #join(
    state: KeyState,
    exchange: KeyExchange,
    material: () => Buffer,
    asks: Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { link, deps } = this.#options;
    const conn = state.tls!;
    this.#current = state;
    this.#proto = Number.parseInt(exchange.peer.get('IV_PROTO') ?? '', 10) || 0;
    const offer = readOffer(exchange, link);
    this.#offer = offer;
    const shown = shownBy(exchange, conn);
    const login = await proveOpenVpn(shown, deps, signal);
    this.#proof = this.#digest(shown);
    this.#hub = login.entry.name;
    this.#who = login.member?.id ?? '';
    const user = login.member?.name ?? '';
    const asked = { client: offer.client, from: link.peer, isThere: () => link.isOpen && !this.#life.signal.aborted };
    const member = await deps.sessions.enter(login, asked, place => {
      const routed = offer.kind === 'tun' ? deps.macs.take(login.entry.name, user) : undefined;
      // Three times what SoftEther's clients are given: datagrams get lost, and telephones sleep.
      const timeout = place.policy.security.timeOut * 3000;
      const terms = { timeout, connections: 1, half: false, compress: false, qos: false };
      return new OpenVpnMember(
        { ...place, terms, certificate: undefined },
        {
          ...{ link, renew: () => this.#renew(), farewell: why => this.#farewell(why) },
          ...(routed ? { routed } : {}),
        },
      );
    });
    this.#member = member;
    const lease = await member.leased(AbortSignal.any([signal, AbortSignal.timeout(patience.lease)]))?.catch(error => {
      signal.throwIfAborted();
      const text = 'the hub gives no address: no DHCP server answers there; turn its NAT with DHCP on or use dev tap';
      throw error instanceof Fault ? error : new Refusal('not-supported', text);
    });
    if (!this.#offer.asksAtOnce) await asks;
    signal.throwIfAborted();
    const options = pushOptions({
      ...{ proto: this.#proto, cipher: offer.cipher, peerId: offer.peerId, keyExport: offer.keyExport, mtu: offer.mtu },
      ...{
        datagrams: link.kind === 'udp',
        ping: member.ping,
        restart: Math.round(member.options.terms.timeout / 1000),
      },
      ...(lease ? { lease } : {}),
    });
    member.addKey(this.#key(state, material()));
    this.#pushed = pushLines(options);
    this.#pushAgain(state);
    deps.log.info(
      { from: link.peer, hub: this.#hub, user, session: member.name, by: link.kind, kind: offer.kind },
      'an OpenVPN client has joined',
    );
  }

  /** Further keys: it has to be the same member still. */
  async #again(state: KeyState, exchange: KeyExchange, material: () => Buffer, signal: AbortSignal): Promise<void> {
    // The client uses them soon, whether the slow hash of its password is done or not: what has proven it before, does.
    // A membership that has changed since has ended the session.
    if (!timingSafeEqual(this.#digest(shownBy(exchange, state.tls!)), this.#proof))
      await this.#proveAgain(state, exchange, signal);
    if (!this.#member?.isOpen) return;
    this.#member.addKey(this.#key(state, material()));
    for (const [keyId, other] of this.#states) {
      if (other === state) continue;
      other.close();
      this.#states.delete(keyId);
    }
    this.#current = state;
    // Our part of the exchange is on its way by then.
    setImmediate(() => this.#settleKeys());
  }
  async #proveAgain(state: KeyState, exchange: KeyExchange, signal: AbortSignal): Promise<void> {
    const login = await proveOpenVpn(shownBy(exchange, state.tls!), this.#options.deps, signal);
    if (login.entry.name !== this.#hub || (login.member?.id ?? '') !== this.#who)
      throw new Refusal('auth-failed', 'new keys were asked for by somebody else');
  }
  /** When all that we said has arrived, they have the new key, too. */
  #settleKeys(): void {
    if (this.#current?.isIdle) this.#member?.useNewest();
  }

  #digest({ user, password, hub = '', conn }: Shown): Buffer {
    const leaf = Buffer.from(conn.tls?.leaf ?? []).toString('base64');
    return createHmac('sha256', this.#secret)
      .update(JSON.stringify([user, password, hub, leaf]))
      .digest();
  }
  #key(state: KeyState, material: Buffer): DataKey {
    const { cipher, peerId } = this.#offer!;
    return new DataKey({
      ...{ material, cipher, keyId: state.keyId, ordered: this.#options.link.kind === 'tcp' },
      ...(peerId === undefined ? {} : { peerId }),
    });
  }
  #material(state: KeyState, exchange: KeyExchange, server: readonly [Buffer, Buffer]): Buffer {
    const { ownSession, farSession } = this.#options;
    if (this.#offer?.keyExport)
      return (state.tls!.stream as unknown as Exporter).exportKeyingMaterial(keyMaterialLength, exporterLabel);
    const { preMaster, random1, random2 } = exchange;
    return expandKeys({
      ...{ preMaster, client: [random1, random2], server },
      ...{ clientSession: farSession, serverSession: ownSession },
    });
  }

  /** Reads the lines of a control channel for as long as it lives; resolves when settings are asked for. */
  #listen(state: KeyState): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const lines = new LineSplitter();
    state.tls?.stream.on('data', (chunk: Buffer) => {
      try {
        for (const line of lines.push(chunk)) {
          if (line === 'PUSH_REQUEST') {
            resolve();
            this.#pushAgain(state);
          } else if (line === 'EXIT') void this.end('left');
        }
      } catch (error) {
        this.#failed(state, error);
      }
    });
    return promise;
  }

  /** Who asks some seconds later has not understood; who asks at once has crossed the answer on its way. */
  #pushAgain(state: KeyState): void {
    const now = this.#options.deps.clock.now().getTime();
    if (this.#pushed.length === 0 || now - this.#pushedAt < patience.push) return;
    this.#pushedAt = now;
    for (const line of this.#pushed) state.say(line);
  }

  #failed(state: KeyState, error: unknown): void {
    if (this.#life.signal.aborted) return;
    const { link, deps } = this.#options;
    if (isWeather(error)) return void this.#drop(state);
    if (error instanceof Refusal) this.#refuse(error, link.peer);
    else {
      const late = error instanceof DOMException && error.name === 'TimeoutError';
      const fault = late ? new Fault('timeout', 'the OpenVPN handshake took too long') : (error as Error);
      const code = fault instanceof Fault ? fault.code : 'bug';
      deps.metrics.count('faults_total', { code, resource: 'vpn' });
      deps.log[code === 'bug' ? 'error' : 'info'](
        { from: link.peer, code, ...(code === 'bug' ? { error } : {}) },
        fault.message,
      );
    }
    // Nobody who has shaken hands with nobody is told anything; a renewal that comes to nothing ends nothing yet.
    if (!state.tls) return void this.#drop(state);
    state.say(failureLine(error, this.#proto));
    void (this.#member ? this.#member.end('protocol') : this.#close());
  }
  /** A negotiation that came to nothing: the first one was all there is. */
  #drop(state: KeyState): void {
    state.close();
    this.#states.delete(state.keyId);
    if (!this.#member) void this.end('protocol');
  }
  #refuse({ code, message }: Refusal, from: Address): void {
    const { gate, metrics, log } = this.#options.deps;
    metrics.count('vpn_refused_total', { code });
    log.info({ from, hub: this.#hub, code }, `an OpenVPN client was refused: ${message}`);
    gate.refuse({ who: nobody, action: 'vpn.join', resource: `hub/${this.#hub}`, from }, message);
  }

  /** In its own words: who was put out stays out, who may come back is told to. */
  async #farewell(why: MemberEnd): Promise<void> {
    const line =
      why === 'revoked' || why === 'expired'
        ? 'AUTH_FAILED,this member may not be on the hub any more'
        : why === 'protocol' || why === 'left'
          ? undefined
          : 'RESTART';
    if (line !== undefined) this.#current?.say(line);
    await this.#close();
  }
  /** Once what was said has arrived, or it is late. */
  async #close(): Promise<void> {
    if (this.#life.signal.aborted) return this.#ended.promise;
    this.#life.abort(new Fault('gone', 'the OpenVPN client has gone'));
    const { link, deps } = this.#options;
    const late = Promise.withResolvers<void>();
    const stop = deps.clock.after(patience.farewell, late.resolve);
    const said = [...this.#states.values()].map(state => state.delivered(link.kind === 'udp'));
    if (link.isOpen) await Promise.race([Promise.all(said), late.promise]);
    stop();
    for (const one of this.#states.values()) one.close();
    this.#states.clear();
    await link.close();
    this.#ended.resolve();
  }
}

const shownBy = ({ user, password, peer }: KeyExchange, conn: Conn): Shown => ({
  ...{ user, password, conn, hub: peer.get('UV_HUB') },
});
