// The Duplex of one connection: back-pressure both ways, half-close, and a reset where the kernel would send one.
import { Duplex } from 'node:stream';
import type { Lender } from '../../../net/shared-read.ts';
import type { TcpConnection } from './connection.ts';

export class TcpStream extends Duplex implements Lender {
  readonly #connection: TcpConnection;
  #waiting: (() => void) | undefined;
  #final: (() => void) | undefined;
  #isFree = false;
  #opened = Promise.withResolvers<void>();

  constructor(connection: TcpConnection) {
    super({ allowHalfOpen: true, readableHighWaterMark: 262_144, writableHighWaterMark: 262_144, decodeStrings: true });
    this.#connection = connection;
    this.#opened.promise.catch(() => {});
  }
  /** Resolves when the handshake is done. */
  opened(): Promise<void> {
    return this.#opened.promise;
  }

  override _read(): void {
    this.#connection.drained();
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#connection.write(chunk);
    this.#wait(done);
  }
  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: () => void): void {
    for (const { chunk } of chunks) this.#connection.write(chunk);
    this.#wait(done);
  }
  override _final(done: () => void): void {
    this.#final = done;
    this.#connection.end();
    if (this.#connection.state === 'closed') this.delivered();
  }
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#connection.abandon(error !== null);
    this.#waiting = this.#final = undefined;
    this.#opened.reject(error ?? new Error('closed'));
    done(error);
  }
  #wait(done: () => void): void {
    // A writer may be so far ahead of the acknowledgements.
    if (this.#connection.unacknowledged < this.#connection.limit) done();
    else this.#waiting = done;
  }

  // What the connection tells.
  established(): void {
    this.#opened.resolve();
  }
  /** @returns whether the reader is done with the chunk already */
  arrived(chunk: Uint8Array): boolean {
    this.#isFree = false;
    if (!this.destroyed) this.push(chunk);
    return this.#isFree;
  }
  /** The reader has written on what he was given last: its memory may be used again. */
  reuse(): void {
    this.#isFree = true;
  }
  ended(): void {
    if (!this.destroyed) this.push(null);
  }
  acknowledged(): void {
    if (this.#waiting === undefined || this.#connection.unacknowledged >= this.#connection.limit / 2) return;
    const done = this.#waiting;
    this.#waiting = undefined;
    done();
  }
  /** All that was written, and the end, is with the peer. */
  delivered(): void {
    const done = this.#final;
    this.#final = undefined;
    done?.();
  }
  failed(code: string): void {
    if (!this.destroyed) this.destroy(Object.assign(new Error(`the connection broke (${code})`), { code }));
  }
}
