// One TCP connection in user space (RFC 9293), seen from the side that has no kernel: segments in, frames out, and a
// Duplex for whoever uses it. This is its life: the states, and who is asked what; `incoming.ts` receives, `outgoing.ts`
// sends, `voice.ts` makes the segments. Loss is found by duplicate acknowledgements, SACK and time-outs.
import { u16, u32 } from '../../../wire/bytes.ts';
import { advance, isBefore, readTcpOptions, type TcpOptions, tcpFlags } from '../../../wire/tcp.ts';
import { Alarm } from './alarm.ts';
import { Incoming } from './incoming.ts';
import { Outgoing } from './outgoing.ts';
import { type Account, canReceive, canSend, type Syn, type TcpHost, type TcpState } from './parts.ts';
import type { Path } from './segment-writer.ts';
import { TcpStream } from './stream.ts';
import { ownScale, Voice } from './voice.ts';

export interface TcpConnectionOptions {
  readonly path: Path;
  readonly host: TcpHost;
  /** Whose it is; what others send in its name is not taken. */
  readonly owner: unknown;
  readonly account: Account;
  /** Largest payload that fits our side's frames. */
  readonly mss: number;
  readonly initialSequence: number;
}

const { fin, syn, rst, ack } = tcpFlags as { fin: 1; syn: 2; rst: 4; ack: 16 };
/** Retransmissions of a handshake until the peer counts as gone. */
const mostTries = 5;
/** Milliseconds. RFC 9293 wants four minutes of TIME-WAIT; a table of limited size cannot have them. */
const timeWait = 10_000;
/** Milliseconds until a connection whose user has left, and whose peer does not end, is given up. */
const orphanTime = 60_000;

export class TcpConnection {
  readonly path: Path;
  readonly stream: TcpStream;
  state: TcpState;
  isAwake = false;
  owner: unknown;
  readonly account: Account;
  readonly #host: TcpHost;
  readonly #ownMss: number;
  readonly #alarm: Alarm;
  readonly #incoming: Incoming;
  readonly #voice: Voice;
  readonly #outgoing: Outgoing;

  constructor(options: TcpConnectionOptions, begin: { readonly accept: Syn } | 'dial') {
    const { path, host, owner, account, mss, initialSequence } = options;
    this.path = path;
    this.#host = host;
    this.owner = owner;
    this.account = account;
    this.#ownMss = mss;
    this.stream = new TcpStream(this);
    this.#alarm = new Alarm(host.now, () => host.schedule(this));
    this.#incoming = new Incoming(host, account, this.stream);
    this.#voice = new Voice(path, host, this.#incoming);
    const around = { host, account, voice: this.#voice, alarm: this.#alarm };
    this.#outgoing = new Outgoing(
      around,
      { sequence: initialSequence, mss },
      {
        finSent: () => this.#finSent(),
        acknowledged: () => this.stream.acknowledged(),
        wake: () => this.#wake(),
        lost: () => this.#broken('ETIMEDOUT'),
      },
    );
    if (begin === 'dial') this.state = 'syn-sent';
    else {
      const { sequence, window } = begin.accept;
      this.state = 'syn-received';
      this.#learnPeer(begin.accept.options, sequence);
      this.#outgoing.began(window, sequence);
    }
    this.#sendSyn();
  }

  /** When `tick` has something to do, in milliseconds; 0 = never. */
  get due(): number {
    return this.#alarm.due;
  }
  /** Bytes written and not acknowledged. */
  get unacknowledged(): number {
    return this.#outgoing.length;
  }
  get limit(): number {
    return this.#incoming.limit;
  }
  /** What the peer would have to send next, were it to begin anew from the same port. */
  get expected(): number {
    return this.#incoming.expected;
  }
  get highestSent(): number {
    return this.#outgoing.highest;
  }

  // --- What the user of the stream asks ------------------------------------------------------------------------------

  write(chunk: Uint8Array): void {
    if (this.state === 'closed') return;
    this.#outgoing.write(chunk);
    this.#wake();
  }
  end(): void {
    if (this.#outgoing.end()) this.#wake();
  }
  /** The reader took something: the window may open. */
  drained(): void {
    if (this.#incoming.holds) this.#wake();
  }
  /** The user has left. Without an end of its own that is an abort; otherwise what was written is still delivered. */
  abandon(isAbort: boolean): void {
    if (this.state === 'closed') return;
    const isHandshake = this.state === 'syn-received' || this.state === 'syn-sent';
    if (isAbort || this.#outgoing.isOpen || this.#incoming.isUnread || isHandshake) {
      this.#abort();
      return;
    }
    if (this.state === 'fin-wait-2') this.#alarm.set('orphan', orphanTime);
    this.#incoming.release();
  }
  /** TIME-WAIT is over, since the peer has begun anew. */
  expire(): void {
    this.#close();
  }
  #abort(): void {
    if (this.state !== 'syn-sent' && this.state !== 'time-wait') this.#voice.say(rst | ack, this.highestSent);
    this.#close();
  }

  // --- What comes in (RFC 9293 §3.10.7) ------------------------------------------------------------------------------

  /** A segment of this connection, its checksum right, in `frame[at, end)`. */
  segment(frame: Uint8Array, at: number, end: number): void {
    const flags = frame[at + 13]!;
    const sequence = u32(frame, at + 4);
    const acknowledgement = u32(frame, at + 8);
    const window = u16(frame, at + 14);
    const from = at + (frame[at + 12]! >> 4) * 4;
    if (this.state === 'syn-sent') {
      const options = (): TcpOptions => readTcpOptions(frame, at + 20, from);
      this.#answerToSyn(flags, { sequence, acknowledgement, window }, options);
      return;
    }
    const length = end - from;
    if (this.state === 'syn-received' && flags & syn && sequence === advance(this.expected, -1)) {
      if (!(flags & ack)) this.#sendSyn(); // our answer was lost
      return;
    }
    if (!this.#incoming.isInWindow(sequence, length + (flags & fin))) {
      if (flags & rst) return;
      if (this.state === 'time-wait' && flags & fin) this.#alarm.set('time-wait', timeWait);
      this.#voice.acknowledge(this.highestSent);
      return;
    }
    if (flags & rst) {
      if (this.state === 'time-wait') return; // RFC 1337: a stray of the old connection must not end the wait
      // RFC 5961 §3.2: only the very next number ends it, others might be guessed.
      if (sequence === this.expected) this.#broken('ECONNRESET');
      else this.#voice.challenge(this.highestSent);
      return;
    }
    if (flags & syn) {
      this.#voice.challenge(this.highestSent); // RFC 5961 §4.2
      return;
    }
    if (!(flags & ack)) return;
    // We offer no time stamps: what stands behind the head of an acknowledgement is SACK.
    const isNews = from > at + 20 && this.#outgoing.sacked(frame, at + 20, from);
    if (!this.#acknowledged(sequence, acknowledgement, window, length + (flags & fin) === 0, isNews)) return;
    if (length > 0) this.#data(frame, from, end, sequence);
    if (flags & fin) this.#fin(advance(sequence, length));
  }

  #answerToSyn(
    flags: number,
    said: { readonly sequence: number; readonly acknowledgement: number; readonly window: number },
    options: () => TcpOptions,
  ): void {
    const { sequence, acknowledgement, window } = said;
    const isOurs = (flags & ack) !== 0 && acknowledgement === advance(this.#outgoing.iss, 1);
    if (flags & ack && !isOurs) {
      if (!(flags & rst)) this.#voice.say(rst, acknowledgement);
      return;
    }
    if (flags & rst) {
      if (isOurs) this.#broken('ECONNREFUSED');
      return;
    }
    if (!(flags & syn)) return;
    this.#learnPeer(options(), sequence);
    this.#outgoing.began(window, sequence, acknowledgement);
    if (isOurs) {
      this.#outgoing.synAcknowledged();
      this.#establish();
      this.#voice.acknowledge(this.highestSent);
    } else {
      this.state = 'syn-received'; // both dialled at once
      this.#sendSyn();
    }
  }
  #learnPeer({ mss = 536, windowScale, sackPermitted = false }: TcpOptions, sequence: number): void {
    // A peer that says 1 would have us send a header per byte.
    this.#outgoing.learnPeer(Math.max(64, Math.min(this.#ownMss, mss)), windowScale ?? 0);
    this.#incoming.begin(sequence, windowScale === undefined ? 0 : ownScale, sackPermitted);
  }
  #establish(): void {
    this.state = 'established';
    this.#alarm.clear();
    this.stream.established();
    this.#wake();
  }

  /** @returns false when the segment is done with */
  #acknowledged(sequence: number, acknowledgement: number, window: number, isEmpty: boolean, isNews: boolean): boolean {
    if (this.state === 'syn-received') {
      if (acknowledgement !== advance(this.#outgoing.iss, 1)) {
        this.#voice.say(rst, acknowledgement);
        return false;
      }
      this.#outgoing.opened(window, sequence, acknowledgement);
      this.#establish();
    }
    const found = this.#outgoing.acknowledged(sequence, acknowledgement, window, isEmpty, isNews);
    if (found === 'wrong') {
      this.#voice.challenge(this.highestSent);
      return false;
    }
    if (found === 'fin') this.#finAcknowledged();
    return this.#isAlive();
  }
  #isAlive(): boolean {
    return this.state !== 'closed';
  }
  #finAcknowledged(): void {
    this.stream.delivered();
    if (this.state === 'fin-wait-1') {
      this.state = 'fin-wait-2';
      if (this.stream.destroyed) this.#alarm.set('orphan', orphanTime);
    } else if (this.state === 'closing') this.#wait();
    else if (this.state === 'last-ack') this.#close();
  }
  #finSent(): void {
    if (this.state === 'established') this.state = 'fin-wait-1';
    else if (this.state === 'close-wait') this.state = 'last-ack';
  }

  #data(frame: Uint8Array, from: number, end: number, sequence: number): void {
    if (!canReceive.has(this.state)) return;
    if (this.stream.destroyed) {
      this.#abort(); // nobody will ever read it (RFC 9293 §3.6.1)
      return;
    }
    if (this.#incoming.take(frame, from, end, sequence) === 'now') this.#voice.acknowledge(this.highestSent);
    else this.#voice.owesAck = true;
    this.#wake();
    if (this.#incoming.finAt === this.expected) this.#fin(this.expected);
  }
  #fin(at: number): void {
    if (at !== this.expected) {
      if (isBefore(this.expected, at)) this.#incoming.finAt = at;
      return;
    }
    if (!canReceive.has(this.state)) return;
    this.#voice.owesAck = true;
    this.#wake();
    this.#incoming.end();
    if (this.state === 'established') this.state = 'close-wait';
    else if (this.state === 'fin-wait-1') this.state = 'closing';
    else this.#wait();
  }
  #wait(): void {
    this.state = 'time-wait';
    this.#incoming.forgetEarly();
    this.#alarm.set('time-wait', timeWait);
  }

  // --- What goes out -------------------------------------------------------------------------------------------------

  /** Called when the turn ends: hands on what came, sends what may be sent, and acknowledges. */
  endTurn(): void {
    this.isAwake = false;
    this.#incoming.handOn();
    this.#incoming.release();
    if (this.state === 'closed') return;
    if (canSend.has(this.state)) this.#outgoing.output();
    if (canReceive.has(this.state) && this.#incoming.opensWindow(this.#outgoing.mss)) this.#voice.owesAck = true;
    if (this.#voice.owesAck) this.#voice.acknowledge(this.highestSent);
  }
  #sendSyn(): void {
    this.#voice.syn(this.state === 'syn-sent', this.#outgoing.iss, this.#ownMss);
    this.#outgoing.synSent();
  }

  // --- Time ----------------------------------------------------------------------------------------------------------

  /** `due` is past. */
  tick(): void {
    const { waits } = this.#alarm;
    this.#alarm.clear();
    if (waits === 'time-wait') this.#close();
    else if (waits === 'orphan') this.#abort();
    else if (waits === 'probe') this.#outgoing.probe();
    else if (waits !== 'retransmit') return;
    else if (this.state === 'syn-sent' || this.state === 'syn-received') this.#sendSynAgain();
    else this.#outgoing.timedOut();
  }
  #sendSynAgain(): void {
    if (++this.#outgoing.tries > mostTries) {
      this.#broken('ETIMEDOUT');
      return;
    }
    this.#outgoing.roundTrip.backOff();
    this.#sendSyn();
  }
  #wake(): void {
    if (this.isAwake || this.state === 'closed') return;
    this.isAwake = true;
    this.#host.wake(this);
  }

  #broken(code: 'ECONNRESET' | 'ECONNREFUSED' | 'ETIMEDOUT'): void {
    if (code === 'ETIMEDOUT' && this.state !== 'syn-sent') this.#voice.say(rst | ack, this.highestSent);
    this.#close();
    this.stream.failed(code);
  }
  #close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.#alarm.clear();
    this.#outgoing.clear();
    this.#incoming.clear();
    this.#host.closed(this);
  }
}
