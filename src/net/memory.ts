// Conns inside the process: for tests, and for parts that talk to each other without a socket.
import { Duplex } from 'node:stream';
import type { Address, Conn, Listener } from '../core/parts.ts';
import { makeConn } from './conn.ts';
import { ConnQueue } from './queue.ts';
import { Reset } from './reset.ts';

/** One end: what is written here is read there. Half-close, back-pressure and aborts behave as on TCP. */
class MemoryStream extends Duplex {
  #far: MemoryStream | undefined;
  /** A write whose chunk the far end has taken but not yet asked past: its callback is the back-pressure. */
  #taken: (() => void) | undefined;

  constructor() {
    super({ allowHalfOpen: true });
  }
  join(far: MemoryStream): void {
    this.#far = far;
  }
  override _read(): void {
    this.#far?.release();
  }
  release(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, taken: () => void): void {
    const far = this.#far;
    if (!far || far.destroyed) {
      this.destroy(new Reset());
      return;
    }
    if (far.push(chunk)) process.nextTick(taken);
    else this.#taken = taken;
  }
  override _final(done: () => void): void {
    this.#far?.push(null);
    done();
  }
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const far = this.#far;
    // An end that was not said properly is an abort for the other side, as a RST would be; so is a write left hanging.
    if (far && !far.destroyed && (error !== null || !this.writableFinished || far.#taken)) {
      process.nextTick(() => far.destroy(new Reset()));
    }
    this.#taken = undefined;
    done(error);
  }
}

let count = 0;

/** Two conns joined to each other. */
export function memoryPair(peers: { readonly near?: Address; readonly far?: Address } = {}): [Conn, Conn] {
  const [a, b] = [new MemoryStream(), new MemoryStream()];
  a.join(b);
  b.join(a);
  const near = peers.near ?? { path: `memory:${++count}` };
  const far = peers.far ?? { path: `memory:${++count}` };
  return [makeConn(a, { peer: far, local: near }), makeConn(b, { peer: near, local: far })];
}

/** A listener that is dialled by its own `connect`. */
export function memoryListener(
  options: { readonly address?: Address; readonly queue?: number } = {},
): Listener & { connect(peer?: Address): Conn } {
  const queue = new ConnQueue(options.queue ?? 511);
  const address = options.address ?? { path: `memory:${++count}` };
  return {
    address,
    connect(peer) {
      const [client, server] = memoryPair({ ...(peer ? { near: peer } : {}), far: address });
      if (!queue.push(server)) server.stream.destroy(new Reset());
      return client;
    },
    [Symbol.asyncIterator]: () => queue[Symbol.asyncIterator](),
    async [Symbol.asyncDispose]() {
      queue.close();
    },
  };
}
