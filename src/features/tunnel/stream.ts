// One connection inside a tunnel's WebSocket, as an ordinary Duplex.
import { Duplex } from 'node:stream';
import type { TunnelMux } from './mux.ts';

/** How the far side ended it. `end`: half-close. `reset`: both ways at once, which is all that AWS's protocol can say. */
export type FarEnd = 'end' | 'reset';

/** What is read was received; what is written goes out. Made by TunnelMux only. */
export class TunnelStream extends Duplex {
  readonly service: string;
  /** How the opening message called it; answers are called the same way. */
  readonly connectionId: number;
  readonly #mux: TunnelMux;
  /** Received and not yet asked for. */
  readonly #waiting: Uint8Array[] = [];
  #bytes = 0;
  #wants = false;
  #far: FarEnd | undefined;
  /** `open` → `ended` (our half-close is said) → `over` (nothing more is said or heard). */
  #state: 'open' | 'ended' | 'over' = 'open';
  /** Between sides that count windows: what we may still send, and what was read since we last said so. */
  credit: number;
  consumed = 0;
  /** Received bytes that may wait; beyond it the stream is given up. Bounded while there is nobody to read them. */
  most = Number.POSITIVE_INFINITY;
  #begun = false;

  constructor(
    mux: TunnelMux,
    facts: { readonly service: string; readonly connectionId: number; readonly credit: number },
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
    this.#mux = mux;
    this.service = facts.service;
    this.connectionId = facts.connectionId;
    this.credit = facts.credit;
    this.on('error', () => {}); // whoever must know is told by its own listener
  }

  /** Received bytes that nobody has asked for. */
  get queued(): number {
    return this.#bytes;
  }
  get farEnd(): FarEnd | undefined {
    return this.#far;
  }

  /** Whether the far side knows of it. While it waits for its turn, `begun` has not been emitted. */
  get isBegun(): boolean {
    return this.#begun;
  }

  // --- The mux's side ---

  begin(): void {
    this.#begun = true;
    this.emit('begun');
  }

  deliver(payload: Uint8Array): void {
    if (this.#far !== undefined || this.destroyed) return;
    this.#waiting.push(payload);
    this.#bytes += payload.length;
    if (this.#wants) this.#hand();
  }
  /** The far side's end; what it sent before is still read. */
  endFar(how: FarEnd): void {
    if (this.#far === 'reset' || (this.#far === 'end' && how === 'end')) return;
    const before = this.#far;
    this.#far = how;
    if (before === undefined && this.#bytes === 0) this.push(null);
    if (how === 'reset') {
      this.#state = 'over';
      this.emit('far-reset');
    }
  }
  /** The socket below is gone: no proper end came and none can be said. */
  breakOff(): void {
    this.#state = 'over';
    this.destroy(new BrokenOff());
  }

  // --- The reader's and writer's side ---

  override _read(): void {
    this.#wants = true;
    this.#hand();
  }
  #hand(): void {
    let handed = 0;
    while (this.#wants) {
      const payload = this.#waiting.shift();
      if (!payload) break;
      this.#bytes -= payload.length;
      handed += payload.length;
      this.#wants = this.push(payload);
    }
    if (handed > 0) this.#mux.consumed(this, handed);
    if (this.#far !== undefined && this.#bytes === 0 && !this.readableEnded) this.push(null);
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // After the far side's reset nobody reads it; the writer learns by the end, not by a failure.
    if (this.#state === 'over') done();
    else this.#mux.write(this, chunk, done);
  }
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'utf8', done);
  }
  override _final(done: (error?: Error | null) => void): void {
    if (this.#state === 'open') {
      const half = this.#mux.sayEnd(this);
      this.#state = half ? 'ended' : 'over';
      // A reset is the end of both ways; what was received is still read.
      if (!half && this.#far === undefined) this.endFar('reset');
    }
    done();
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#mux.forget(this, this.#state !== 'over' && !(this.#state === 'ended' && this.#far === 'end'));
    this.#state = 'over';
    this.#waiting.length = 0;
    this.#bytes = 0;
    done(error);
  }
}

/** Counts as weather. */
export class BrokenOff extends Error {
  readonly code = 'ECONNRESET';
  constructor() {
    super('the tunnel lost its connection');
  }
}
