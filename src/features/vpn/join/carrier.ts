// The client's end of a session's data stream: one or several TCP connections that carry frames, kept alive and counted.
import { randomBytes, randomInt } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import type { Conn } from '../../../core/parts.ts';
import { encodeFrames, encodeKeepAlive, FrameDecoder } from '../../../wire/vpn-frame.ts';
import { takeBuffer, writeBuffer } from '../write-buffers.ts';

/** As the server gives it: 0 both ways, 1 towards us only, 2 from us only. */
export type Way = 'both' | 'down' | 'up';
export const ways: readonly Way[] = ['both', 'down', 'up'];

interface Link {
  readonly conn: Conn;
  readonly way: Way;
  heardAt: number;
  keepAliveAt: number;
  readonly finish: () => void;
}
export interface CarrierOptions {
  /** Milliseconds of silence that end a connection. */
  readonly timeout: number;
  readonly clock: Clock;
  readonly deliver: (frames: readonly Uint8Array[]) => void;
}

/** Bytes that may wait in one connection; beyond it frames are dropped, as a network card drops them. */
const mostQueued = 1024 * 1024;
const tick = 1000;
/** Milliseconds for the server's own end of a connection. */
const farewell = 3000;

export class Carrier {
  readonly #options: CarrierOptions;
  #links: Link[] = [];
  readonly #closing = new Set<Promise<void>>();
  readonly #emptied = Promise.withResolvers<void>();
  #stopTick: () => void = () => {};
  readonly bytes = { up: 0, down: 0, dropped: 0 };

  constructor(options: CarrierOptions) {
    this.#options = options;
    this.#beat();
  }
  get size(): number {
    return this.#links.length;
  }
  /** Resolves when its last connection is gone; it is of no use then. */
  get emptied(): Promise<void> {
    return this.#emptied.promise;
  }

  add(conn: Conn, way: Way): void {
    const { stream } = conn;
    const decoder = new FrameDecoder();
    const finish = (): void => {
      stream.off('data', data).off('end', finish).off('close', finish).off('error', finish);
      this.#links = this.#links.filter(other => other !== link);
      // With close_notify, as every end in this protocol.
      const closing = conn.close(AbortSignal.timeout(farewell)).finally(() => this.#closing.delete(closing));
      this.#closing.add(closing);
      if (this.#links.length > 0) return;
      this.#stopTick();
      this.#emptied.resolve();
    };
    const data = (chunk: Buffer): void => {
      link.heardAt = this.#now();
      try {
        const frames = decoder.push(chunk);
        for (const frame of frames) this.bytes.down += frame.length;
        if (frames.length > 0 && way !== 'up') this.#options.deliver(frames);
      } catch {
        finish(); // nothing that follows can be understood
      }
    };
    const link: Link = { conn, way, heardAt: this.#now(), keepAliveAt: 0, finish };
    this.#links.push(link);
    stream.on('data', data).on('end', finish).on('close', finish).on('error', finish);
    if (stream.destroyed || stream.readableEnded) return void finish();
    this.#keepAlive(link);
    stream.resume();
  }

  /** Over the emptiest connection, all in one write; answers how many were taken. */
  send(frames: readonly Uint8Array[]): number {
    let best: Link | undefined;
    for (const link of this.#links)
      if (link.way !== 'down' && (!best || link.conn.stream.writableLength < best.conn.stream.writableLength))
        best = link;
    if (!best?.conn.stream.writable || best.conn.stream.writableLength >= mostQueued || frames.length === 0) {
      this.bytes.dropped += frames.length;
      return 0;
    }
    for (const frame of frames) this.bytes.up += frame.length;
    writeBuffer(best.conn.stream, encodeFrames(frames, takeBuffer));
    return frames.length;
  }

  /** Ends every connection; resolves when all have said goodbye. */
  async close(): Promise<void> {
    this.#stopTick();
    for (const link of [...this.#links]) link.finish();
    this.#emptied.resolve();
    await Promise.all(this.#closing);
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
  #beat(): void {
    this.#stopTick = this.#options.clock.after(tick, () => {
      this.#beat();
      const now = this.#now();
      for (const link of [...this.#links])
        if (now - link.heardAt >= this.#options.timeout) link.finish();
        else if (now >= link.keepAliveAt) this.#keepAlive(link);
    });
  }
  /** SoftEther's rhythm: a fifth to half of the time-out, at random. */
  #keepAlive(link: Link): void {
    const { timeout } = this.#options;
    const { stream } = link.conn;
    link.keepAliveAt = this.#now() + randomInt(Math.ceil(timeout / 5), Math.ceil(timeout / 2));
    if (stream.writable && stream.writableLength < mostQueued)
      stream.write(encodeKeepAlive(randomBytes(randomInt(512))));
  }
}
