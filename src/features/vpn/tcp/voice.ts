// The segments of one connection as they are spoken: whatever is said, the acknowledgement and the window go with it.
import { encodeTcpOptions, tcpFlags } from '../../../wire/tcp.ts';
import type { Incoming } from './incoming.ts';
import type { TcpHost } from './parts.ts';
import { headLength, type Path, SegmentWriter } from './segment-writer.ts';
import type { SendQueue } from './send-queue.ts';

const { syn, rst, ack } = tcpFlags as { syn: 2; rst: 4; ack: 16 };
const none = new Uint8Array(0);
/** Window scaling that we offer: 4 MiB at most, in steps of 64. */
export const ownScale = 6;
/** RFC 5961 §7: not more in a second, or they would be an amplifier. */
const mostChallenges = 10;

export class Voice {
  readonly #host: TcpHost;
  readonly #incoming: Incoming;
  readonly #writer: SegmentWriter;
  /** An acknowledgement goes out when the turn ends, unless data has taken it along. */
  owesAck = false;
  #challenges = 0;
  #challengesSince = 0;

  constructor(path: Path, host: TcpHost, incoming: Incoming) {
    this.#host = host;
    this.#incoming = incoming;
    this.#writer = new SegmentWriter(path, host.pool);
  }

  /** A segment without data. */
  say(flags: number, sequence: number, options: Uint8Array = none): void {
    const window = flags & rst ? 0 : this.#incoming.offerWindow();
    const frame = this.#writer.begin(options, 0);
    this.#host.emit(this.#writer.finish(frame, flags, sequence, flags & ack ? this.#incoming.expected : 0, window));
  }
  /** `size` bytes of `queue`, from `offset` on. */
  data(queue: SendQueue, offset: number, size: number, flags: number, sequence: number): void {
    const frame = this.#writer.begin(none, size);
    if (size > 0) queue.copy(offset, size, frame, headLength);
    const { expected } = this.#incoming;
    this.#host.emit(this.#writer.finish(frame, flags, sequence, expected, this.#incoming.offerWindow()));
  }
  /** The first word of a connection, or the answer to it. */
  syn(isDial: boolean, sequence: number, mss: number): void {
    const { scale, sackAllowed, expected, limit } = this.#incoming;
    const options = encodeTcpOptions({
      mss,
      ...(isDial || scale > 0 ? { windowScale: ownScale } : {}),
      ...(isDial || sackAllowed ? { sackPermitted: true } : {}),
    });
    const frame = this.#writer.begin(options, 0);
    const window = Math.min(65_535, limit); // never scaled
    this.#host.emit(this.#writer.finish(frame, isDial ? syn : syn | ack, sequence, isDial ? 0 : expected, window));
  }
  /** `sequence` is the highest that was sent. */
  acknowledge(sequence: number): void {
    this.owesAck = false;
    const ranges = this.#incoming.early();
    this.say(ack, sequence, ranges.length > 0 ? encodeTcpOptions({ sack: ranges }) : none);
  }
  /** To what might be a guess. */
  challenge(sequence: number): void {
    const now = this.#host.now();
    if (now - this.#challengesSince > 1000) {
      this.#challengesSince = now;
      this.#challenges = 0;
    }
    if (this.#challenges++ < mostChallenges) this.acknowledge(sequence);
  }
}
