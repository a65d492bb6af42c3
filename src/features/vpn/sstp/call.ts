// One SSTP call on its conn ([MS-SSTP] §3.3): request, acknowledgement, PPP inside, the binding of both to our certificate,
// then packets; echoes while it is quiet, and a proper end.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { toFault } from '../../../core/fault.ts';
import type { Conn, Log } from '../../../core/parts.ts';
import { pppHead, pppProtocols } from '../../../wire/ppp.ts';
import {
  bindingRequest,
  encodeSstpControl,
  encodeSstpData,
  judgeBinding,
  type SstpAttribute,
  SstpDecoder,
  type SstpPacket,
  sstpAttributes,
  sstpHashes,
  sstpStatus,
  sstpTypes,
  statusAttribute,
  statusOf,
} from '../../../wire/sstp.ts';
import type { MemberEnd } from '../live-member.ts';
import { Bucket } from '../switch/limits.ts';
import type { Shown, Verdict } from './authentication.ts';
import { PppLink } from './link.ts';
import { type Carrier, farEnd, type SstpSession } from './session.ts';

export interface CallOptions {
  readonly conn: Conn;
  /** DER of the certificate that this conn was shown. */
  readonly certificate: Uint8Array;
  readonly clock: Clock;
  readonly log: Log;
  /** Lets in, or says in Windows' numbers why not. Never throws. */
  readonly admit: (shown: Shown, carrier: Carrier) => Promise<Admission>;
}
export interface Admission {
  readonly verdict: Verdict;
  readonly session?: SstpSession;
}
type Control = Extract<SstpPacket, { kind: 'control' }>;

/** Milliseconds; [MS-SSTP] §3.2.2 and §3.3.2: negotiation, hello, and what the other end has for its part of the end. */
const timers = { negotiation: 60_000, hello: 60_000, look: 15_000, abort: 3000, disconnect: 5000 } as const;
/** Requests that may be wrong before we hang up. */
const mostRequests = 3;
/** Messages that are no packets, a second and at once: a peer that negotiates for ever, or asks for echoes. */
const floods = [20, 100] as const;
/** Bytes that may wait in the conn; beyond it packets are dropped, as a switch drops them. */
const mostQueued = 1024 * 1024;
/** Milliseconds that the peer has for its own end of the conn ([MS-SSTP] §3.2.2: one second, and some way). */
const farewell = 3000;
const ipv4Head = pppHead(pppProtocols.ipv4);

export class SstpCall implements Carrier {
  readonly #options: CallOptions;
  readonly #decoder = new SstpDecoder();
  readonly #nonce = randomBytes(32);
  readonly #link: PppLink;
  readonly #over = Promise.withResolvers<void>();
  readonly #flood: Bucket;
  #state: 'request' | 'negotiating' | 'connected' | 'leaving' = 'request';
  #session: SstpSession | undefined;
  #key: Buffer | undefined;
  #requests = 0;
  #heardAt: number;
  #isEchoed = false;
  /** What ends the waiting for the peer's goodbye. */
  #goodbye: () => void = () => {};
  #leaving: Promise<void> | undefined;
  #stopTimer: () => void = () => {};

  constructor(options: CallOptions) {
    const { clock } = options;
    this.#options = options;
    this.#heardAt = clock.now().getTime();
    this.#flood = new Bucket(...floods, this.#heardAt);
    this.#link = new PppLink({
      clock,
      send: (protocol, payload) => this.#write(encodeSstpData([payload], pppHead(protocol))),
      prove: shown => this.#prove(shown),
      authenticated: verdict => void this.#authenticated(verdict),
      opened: () => {},
      ended: why => void this.#hangUp(why),
    });
  }
  get mru(): number {
    return this.#link.mru;
  }

  /** Until the conn is closed. */
  async run(): Promise<void> {
    const { conn, clock } = this.#options;
    const { stream } = conn;
    const left = (): void => {
      this.#goodbye();
      void this.#leave(undefined, 0).then(() => this.#end('closed'));
    };
    this.#stopTimer = clock.after(timers.negotiation, () => this.#abort(sstpStatus.timeout, 0, 'it took too long'));
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', left).on('close', left).on('error', left);
    if (stream.destroyed) left();
    else stream.resume();
    await this.#over.promise;
  }

  // --- What the session needs ---

  deliver(packets: readonly Uint8Array[]): number {
    const { stream } = this.#options.conn;
    if (this.#state !== 'connected' || !this.#link.isOpen || !stream.writable) return 0;
    if (stream.writableLength >= mostQueued) return 0;
    stream.write(encodeSstpData(packets, ipv4Head));
    return packets.length;
  }
  async finish(why: MemberEnd): Promise<void> {
    this.#link.terminate(why);
    const goodbye = encodeSstpControl(sstpTypes.disconnect, [statusAttribute(sstpAttributes.none, sstpStatus.none)]);
    await this.#leave(goodbye, timers.disconnect);
    this.#over.resolve();
  }

  // --- What comes ---

  #data(chunk: Buffer): void {
    this.#heardAt = this.#now();
    this.#isEchoed = false;
    this.#guard(() => {
      const packets: Uint8Array[] = [];
      for (const packet of this.#decoder.push(chunk)) {
        if (packet.kind === 'control') this.#control(packet);
        else if (this.#state === 'request')
          return void this.#abort(sstpStatus.unexpected, 0, 'it sends data before it has connected');
        else if (this.#state !== 'leaving') this.#frame(packet.frame, packets);
      }
      // Until the binding is proven, nothing of a possible man in the middle reaches the hub ([MS-SSTP] §3.3.7.1).
      if (packets.length > 0 && this.#state === 'connected') this.#session?.take(packets);
    });
  }
  /** Nothing that a peer sends may reach further than its own call. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      const fault = toFault(error);
      if (fault.code === 'bug') this.#options.log.error({ error }, 'an SSTP call failed');
      this.#abort(sstpStatus.invalidFrame, 0, fault.message);
    }
  }
  #frame(frame: Uint8Array, packets: Uint8Array[]): void {
    const isPacket = frame.length >= 4 && frame[2] === 0 && frame[3] === pppProtocols.ipv4;
    if (!isPacket && !this.#mayGoOn()) return;
    const packet = this.#link.input(frame);
    if (packet) packets.push(packet);
  }
  #mayGoOn(): boolean {
    if (this.#flood.take(1, this.#now())) return true;
    this.#abort(sstpStatus.unexpected, 0, 'it sends too many control messages');
    return false;
  }

  #control(message: Control): void {
    const { type, attributes } = message;
    const { log, conn } = this.#options;
    if (this.#state === 'leaving') {
      if (type === sstpTypes.abort || type === sstpTypes.disconnect || type === sstpTypes.disconnectAck)
        this.#goodbye();
      return;
    }
    if (!this.#mayGoOn()) return;
    switch (type) {
      case sstpTypes.connectRequest:
        if (this.#state === 'request') return void this.#request(attributes);
        break;
      case sstpTypes.connected:
        if (this.#state === 'negotiating') return void this.#connected(message);
        break;
      case sstpTypes.echoRequest:
        if (this.#state === 'connected') return void this.#write(encodeSstpControl(sstpTypes.echoResponse));
        break;
      case sstpTypes.echoResponse:
        if (this.#state === 'connected') return;
        break;
      case sstpTypes.disconnect:
        this.#write(encodeSstpControl(sstpTypes.disconnectAck));
        return void this.#leave(undefined, 0).then(() => this.#end('closed'));
      case sstpTypes.abort:
        log.info({ from: conn.peer, status: statusOf(attributes) }, 'an SSTP client gave up');
        this.#write(encodeSstpControl(sstpTypes.abort));
        return void this.#leave(undefined, 0).then(() => this.#end('closed'));
    }
    this.#abort(sstpStatus.unexpected, 0, `message ${type} has no place here`);
  }

  /** §3.3.5.2.1: what cannot be granted is named, and may be asked for in another way. */
  #request(attributes: readonly SstpAttribute[]): void {
    const [first, second] = attributes;
    const status =
      first === undefined
        ? sstpStatus.attributeMissing
        : second !== undefined || first.id !== sstpAttributes.protocol
          ? sstpStatus.attributeNotSupported
          : first.value.length !== 2
            ? sstpStatus.wrongLength
            : first.value[0] !== 0 || first.value[1] !== 1
              ? sstpStatus.notSupported
              : undefined;
    if (status === undefined) {
      this.#state = 'negotiating';
      const request = bindingRequest(sstpHashes.sha1 | sstpHashes.sha256, this.#nonce);
      this.#write(encodeSstpControl(sstpTypes.connectAck, [request]));
      this.#link.start();
    } else if (++this.#requests >= mostRequests)
      this.#abort(sstpStatus.tooManyRetries, 0, 'its request is not one that can be granted');
    else this.#write(encodeSstpControl(sstpTypes.connectNak, [statusAttribute(first?.id ?? 1, status)]));
  }

  #connected({ raw, attributes }: Control): void {
    const { certificate, clock } = this.#options;
    if (!this.#key || !this.#session)
      return void this.#abort(sstpStatus.unexpected, 0, 'it says that it is connected before it has proven who it is');
    const wrong =
      attributes.length === 1
        ? judgeBinding(raw, { nonce: this.#nonce, certificate, key: this.#key })
        : 'it has no crypto binding';
    if (wrong !== undefined) {
      this.#options.log.warn(
        { from: this.#options.conn.peer, hub: this.#session.options.hub.name },
        `an SSTP client's crypto binding does not hold: ${wrong}; somebody may stand between, with another certificate`,
      );
      this.#session.options.session.note('binding', wrong);
      return void this.#abort(sstpStatus.notSupported, sstpAttributes.binding, wrong);
    }
    this.#state = 'connected';
    this.#stopTimer();
    this.#stopTimer = clock.after(timers.look, () => this.#look());
  }

  // --- Who it is ---

  async #prove(shown: Shown): Promise<Verdict> {
    const { verdict, session } = await this.#options.admit(shown, this);
    if (verdict.ok && session) {
      this.#key = verdict.key;
      this.#session = session;
      void session.ended.then(() => this.#leaving).then(() => this.#over.resolve());
      // It has left meanwhile: whoever was let in too late goes out again.
      if (this.#state === 'leaving') void session.end('closed');
    }
    return verdict;
  }
  async #authenticated(verdict: Verdict): Promise<void> {
    const session = this.#session;
    if (!verdict.ok || !session) return this.#hangUp('it was not let in');
    const lease = await session.address();
    if (lease) this.#guard(() => this.#link.assign({ member: lease.address, own: farEnd(lease), dns: lease.dns }));
    else if (session.isOpen) {
      const { hub } = session.options;
      this.#options.log.warn(
        { hub: hub.name },
        `no DHCP server on the hub ${hub.name} gives a member by SSTP an address`,
      );
      await session.end('address lost');
    }
  }

  // --- Time, and the end ---

  #look(): void {
    const { clock } = this.#options;
    const quiet = this.#now() - this.#heardAt;
    if (quiet >= 2 * timers.hello) return void this.#end('timeout');
    if (quiet >= timers.hello && !this.#isEchoed) {
      this.#isEchoed = true;
      this.#write(encodeSstpControl(sstpTypes.echoRequest));
    }
    this.#stopTimer = clock.after(timers.look, () => this.#look());
  }

  /** The link is over: goodbye by the book. */
  async #hangUp(why: string): Promise<void> {
    this.#options.log.debug({ from: this.#options.conn.peer, why }, 'an SSTP call ends');
    await this.finish('closed');
    await this.#end('closed');
  }
  #abort(status: number, attribute: number, why: string): void {
    if (this.#state === 'leaving') return;
    this.#options.log.info({ from: this.#options.conn.peer, status }, `an SSTP call is broken off: ${why}`);
    this.#link.stop();
    void this.#leave(encodeSstpControl(sstpTypes.abort, [statusAttribute(attribute, status)]), timers.abort).then(() =>
      this.#end('protocol'),
    );
    void this.#session?.end('protocol');
  }

  /** Says the last word, waits for the peer's, closes the conn. Once. */
  #leave(word: Buffer | undefined, patience: number): Promise<void> {
    this.#leaving ??= this.#close(word, patience);
    return this.#leaving;
  }
  async #close(word: Buffer | undefined, patience: number): Promise<void> {
    const { conn, clock } = this.#options;
    this.#state = 'leaving';
    this.#stopTimer();
    this.#link.stop();
    if (word && conn.stream.writable) {
      conn.stream.write(word);
      await new Promise<void>(resolve => {
        const stop = clock.after(patience, resolve);
        this.#goodbye = () => {
          stop();
          resolve();
        };
      });
    }
    await conn.close(AbortSignal.timeout(farewell));
  }
  async #end(why: MemberEnd): Promise<void> {
    await this.#session?.end(why);
    await this.#leaving;
    this.#over.resolve();
  }
  #write(bytes: Buffer): void {
    const { stream } = this.#options.conn;
    // Whoever asks and never reads gets no more than fits.
    if (stream.writable && stream.writableLength < mostQueued) stream.write(bytes);
  }
  #now(): number {
    return this.#options.clock.now().getTime();
  }
}
