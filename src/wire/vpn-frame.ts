// SoftEther's data stream, the same both ways on each of a session's TCP connections: Ethernet frames in batches.
//
//   batch        frames u32 (1 … 0xFFFFFFFE; 0 = nothing) | size u32, frame | size u32, frame | …
//   keep-alive   0xFFFFFFFF | size u32 (0 … 512) | so many random bytes
//
// There is no checksum and no re-synchronisation: what does not fit ends the connection.
import { Fault } from '../core/fault.ts';

const keepAlive = 0xffffffff;
/** A keep-alive's body. */
const mostPadding = 512;
/** Beyond this SoftEther's own receiver gives up; what is above an Ethernet frame's size is dropped. */
const mostSize = 3200;
const none = Buffer.alloc(0);
/** Of a frame that is handed on, without FCS. */
export const frameLimits = { least: 14, most: 1600 } as const;

/**
 * Cuts what arrives into frames; views, not copies. Between two calls it holds less than one frame. With `unpack` each
 * frame is brought through it (decompression); a frame it answers `undefined` for is dropped.
 */
export class FrameDecoder {
  #rest: Buffer = none;
  /** Frames of the batch that are still to come. */
  #left = 0;
  #state: 'batch' | 'padding' = 'batch';
  readonly #unpack: ((frame: Buffer) => Buffer | undefined) | undefined;

  constructor(unpack?: (frame: Buffer) => Buffer | undefined) {
    this.#unpack = unpack;
  }

  /** The frames that are complete by now. @throws Fault `protocol` */
  push(chunk: Buffer): Buffer[] {
    const frames: Buffer[] = [];
    let at = this.#complete(chunk, frames);
    while (chunk.length - at >= 4) {
      const body = this.#body(chunk.readUInt32BE(at));
      if (chunk.length - at - 4 < body) break;
      this.#item(chunk, at, body, frames);
      at += 4 + body;
    }
    // Copied where little is left of much: a view would keep the whole chunk alive.
    const left = chunk.subarray(at);
    if (left.length > 0) this.#rest = left.length < chunk.length / 4 ? Buffer.from(left) : left;
    return frames;
  }

  /**
   * Of the item that the last chunk ended within, only what it lacks is copied: nearly every chunk ends within a frame.
   * @returns where the rest of the chunk begins
   */
  #complete(chunk: Buffer, frames: Buffer[]): number {
    let at = 0;
    while (this.#rest.length > 0) {
      const rest = this.#rest;
      const needs = rest.length < 4 ? 4 : 4 + this.#body(rest.readUInt32BE(0));
      if (rest.length >= needs) {
        this.#rest = none;
        this.#item(rest, 0, needs - 4, frames);
        break;
      }
      if (at === chunk.length) break;
      const more = Math.min(needs - rest.length, chunk.length - at);
      this.#rest = Buffer.concat([rest, chunk.subarray(at, at + more)]);
      at += more;
    }
    return at;
  }

  /** A number and the `body` bytes behind it, at `at`. */
  #item(bytes: Buffer, at: number, body: number, frames: Buffer[]): void {
    if (this.#state === 'padding') this.#state = 'batch';
    else if (this.#left > 0) {
      this.#left--;
      const frame = this.#frame(bytes.subarray(at + 4, at + 4 + body));
      if (frame) frames.push(frame);
    } else {
      const value = bytes.readUInt32BE(at);
      if (value === keepAlive) this.#state = 'padding';
      else this.#left = value;
    }
  }

  /** How many bytes follow this number. */
  #body(value: number): number {
    if (this.#state === 'batch' && this.#left === 0) return 0;
    const most = this.#state === 'padding' ? mostPadding : mostSize;
    if (value > most) throw new Fault('protocol', `${value} bytes where ${most} may be at most`);
    return value;
  }

  #frame(raw: Buffer): Buffer | undefined {
    const frame = raw.length > 0 && this.#unpack ? this.#unpack(raw) : raw;
    return frame && frame.length >= frameLimits.least && frame.length <= frameLimits.most ? frame : undefined;
  }
}

/** One batch, in one buffer for one write. At least one frame. `room` gives the buffer, with anything in it. */
export function encodeFrames(
  frames: readonly Uint8Array[],
  room: (length: number) => Buffer = Buffer.allocUnsafe,
): Buffer {
  let length = 4;
  for (const frame of frames) length += 4 + frame.length;
  const batch = room(length);
  batch.writeUInt32BE(frames.length, 0);
  let at = 4;
  for (const frame of frames) {
    batch.writeUInt32BE(frame.length, at);
    batch.set(frame, at + 4);
    at += 4 + frame.length;
  }
  return batch;
}

/** `padding` is random, 0 to 512 bytes, so that keep-alives are not all of one length. */
export function encodeKeepAlive(padding: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(8 + padding.length);
  bytes.writeUInt32BE(keepAlive, 0);
  bytes.writeUInt32BE(padding.length, 4);
  bytes.set(padding, 8);
  return bytes;
}
