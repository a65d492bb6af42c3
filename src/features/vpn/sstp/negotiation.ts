// One control protocol of PPP, LCP or IPCP, until both sides agree on its options (RFC 1661 §4). Without sockets: packets
// in, packets out. The carrier loses nothing, so what is repeated is only what a slow peer has not answered.
import type { Clock } from '../../../core/clock.ts';
import { decodeOptions, encodeOptions, type PppOption, type PppPacket, pppCodes } from '../../../wire/ppp.ts';

export interface NegotiationOptions {
  readonly clock: Clock;
  readonly send: (packet: PppPacket) => void;
  /** What we ask for now. */
  readonly wishes: () => readonly PppOption[];
  /** The peer did not take this; false = without it there is no way. */
  readonly refused: (options: readonly PppOption[], kind: 'nak' | 'reject') => boolean;
  /** What of the peer's wishes is not spoken here, and which values we suggest instead; nothing of both = agreed. */
  readonly judge: (options: readonly PppOption[]) => Judgement;
  readonly opened: (theirs: readonly PppOption[]) => void;
  readonly failed: (why: string) => void;
}
export interface Judgement {
  readonly reject: readonly PppOption[];
  readonly nak: readonly PppOption[];
}

/** RFC 1661 §4.6: milliseconds between requests, how many, and how often a value is suggested before we give up. */
const restart = { every: 3000, most: 10, naks: 10 } as const;

export class Negotiation {
  readonly #options: NegotiationOptions;
  #state: 'idle' | 'asking' | 'open' | 'closed' = 'idle';
  #id = 0;
  #asked: Buffer = Buffer.alloc(0);
  #tries = 0;
  #naks = 0;
  #isOursAgreed = false;
  /** What of the peer's was acknowledged. */
  #theirs: Buffer | undefined;
  #stopTimer: () => void = () => {};

  constructor(options: NegotiationOptions) {
    this.#options = options;
  }
  get isOpen(): boolean {
    return this.#state === 'open';
  }
  start(): void {
    this.#state = 'asking';
    this.#ask();
  }
  stop(): void {
    this.#state = 'closed';
    this.#stopTimer();
  }

  /** A Configure packet of this protocol. @throws Fault `protocol` */
  input({ code, id, data }: PppPacket): void {
    if (this.#state === 'idle' || this.#state === 'closed') return;
    if (code === pppCodes.configureRequest) this.#answer(id, data);
    else if (id !== this.#id || this.#isOursAgreed)
      return; // an answer to what was asked before
    else if (code === pppCodes.configureAck) {
      if (!this.#asked.equals(data)) return;
      this.#isOursAgreed = true;
      this.#stopTimer();
      this.#settle();
    } else this.#again(data, code === pppCodes.configureNak ? 'nak' : 'reject');
  }

  #answer(id: number, data: Uint8Array): void {
    const options = decodeOptions(data);
    // Agreed once is agreed: a peer that wants something else would begin the whole link anew.
    if (this.#state === 'open' && !this.#theirs?.equals(data))
      return void this.#fail('it wants to negotiate once more');
    const { reject, nak } = this.#options.judge(options);
    const { configureReject, configureNak, configureAck } = pppCodes;
    if (reject.length > 0 || nak.length > 0) {
      if (++this.#naks > restart.naks) return void this.#fail('it does not give way');
      const refused = reject.length > 0 ? reject : nak;
      const code = reject.length > 0 ? configureReject : configureNak;
      this.#options.send({ code, id, data: encodeOptions(refused) });
      return;
    }
    this.#theirs = Buffer.from(data);
    this.#options.send({ code: configureAck, id, data: this.#theirs });
    this.#settle();
  }
  #again(data: Uint8Array, kind: 'nak' | 'reject'): void {
    if (++this.#naks > restart.naks || !this.#options.refused(decodeOptions(data), kind))
      return void this.#fail('it does not take what is needed here');
    this.#tries = 0;
    this.#ask();
  }
  #settle(): void {
    if (this.#state !== 'asking' || !this.#isOursAgreed || !this.#theirs) return;
    this.#state = 'open';
    this.#options.opened(decodeOptions(this.#theirs));
  }

  #ask(): void {
    if (this.#tries++ >= restart.most) return void this.#fail('it does not answer');
    // The same id for the same request: then a late answer counts as well (§5.1).
    const wishes = encodeOptions(this.#options.wishes());
    if (this.#tries === 1) this.#id = (this.#id + 1) & 255;
    this.#asked = wishes;
    this.#options.send({ code: pppCodes.configureRequest, id: this.#id, data: wishes });
    this.#stopTimer();
    this.#stopTimer = this.#options.clock.after(restart.every, () => this.#ask());
  }
  #fail(why: string): void {
    this.stop();
    this.#options.failed(why);
  }
}
