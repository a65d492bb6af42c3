// What leaves by one WebSocket: each stream one piece at a time and in turn, no faster than the socket takes it, and no
// faster than a peer without back-pressure of its own can bear.
import type { MessagePipe } from '../../net/websocket.ts';

/** Bytes per second, with bursts of at most that many bytes. */
export interface Pace {
  readonly rate: number;
  readonly burst: number;
}

interface Waiting<Key> {
  readonly key: Key;
  readonly size: number;
  readonly send: () => Uint8Array;
  readonly sent: () => void;
}

/** A stream must not hand over its next piece before the one before was sent: that is what keeps the queue short. */
export class Sender<Key> {
  readonly #pipe: MessagePipe;
  readonly #pace: Pace | undefined;
  readonly #queue: Waiting<Key>[] = [];
  #open = true;
  #tokens: number;
  #at = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(pipe: MessagePipe, pace?: Pace) {
    this.#pipe = pipe;
    this.#pace = pace;
    this.#tokens = pace?.burst ?? 0;
    pipe.drained(() => {
      this.#open = true;
      this.#run();
    });
  }

  /** At once: what opens and ends streams does not wait behind data. */
  control(frame: Uint8Array): void {
    this.#open = this.#pipe.send(frame) && this.#open;
  }
  /** `frame` is made when its turn comes, `sent` is called then. */
  data(key: Key, size: number, frame: () => Uint8Array, sent: () => void): void {
    this.#queue.push({ key, size, send: frame, sent });
    this.#run();
  }
  /** What waits for a stream that is no more is not sent, and counts as sent. */
  drop(key: Key): void {
    const at = this.#queue.findIndex(waiting => waiting.key === key);
    if (at >= 0) this.#queue.splice(at, 1)[0]?.sent();
  }
  stop(): void {
    clearTimeout(this.#timer);
    this.#open = false;
    this.#queue.length = 0;
  }

  #run(): void {
    while (this.#open) {
      const next = this.#queue[0];
      if (!next || !this.#mayPass(next.size)) return;
      this.#queue.shift();
      this.#open = this.#pipe.send(next.send());
      next.sent();
    }
  }

  /** A token bucket; a piece larger than the bucket passes when it is full, and leaves it in debt. */
  #mayPass(size: number): boolean {
    const pace = this.#pace;
    if (!pace) return true;
    const now = performance.now();
    this.#tokens = Math.min(pace.burst, this.#tokens + ((now - this.#at) * pace.rate) / 1000);
    this.#at = now;
    const needed = Math.min(size, pace.burst);
    if (this.#tokens >= needed) {
      this.#tokens -= size;
      return true;
    }
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#run();
      },
      Math.max(1, ((needed - this.#tokens) * 1000) / pace.rate),
    );
    return false;
  }
}
