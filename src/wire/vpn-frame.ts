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
/** Of a frame that is handed on, without FCS. */
export const frameLimits = { least: 14, most: 1600 } as const;

/**
 * Cuts what arrives into frames; views, not copies. Between two calls it holds less than one frame. With `unpack` each
 * frame is brought through it (decompression); a frame it answers `undefined` for is dropped.
 */
export class FrameDecoder {
  #rest: Buffer = Buffer.alloc(0);
  /** Frames of the batch that are still to come. */
  #left = 0;
  #state: 'batch' | 'padding' = 'batch';
  readonly #unpack: ((frame: Buffer) => Buffer | undefined) | undefined;

  constructor(unpack?: (frame: Buffer) => Buffer | undefined) {
    this.#unpack = unpack;
  }

  /** The frames that are complete by now. @throws Fault `protocol` */
  push(chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Buffer[] = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const value = bytes.readUInt32BE(at);
      const body = this.#body(value);
      if (bytes.length - at - 4 < body) break;
      if (this.#state === 'padding') this.#state = 'batch';
      else if (this.#left > 0) {
        this.#left--;
        const frame = this.#frame(bytes.subarray(at + 4, at + 4 + body));
        if (frame) frames.push(frame);
      } else if (value === keepAlive) this.#state = 'padding';
      else this.#left = value;
      at += 4 + body;
    }
    // Copied where little is left of much: a view would keep the whole chunk alive.
    const left = bytes.subarray(at);
    this.#rest = left.length > 0 && left.length < bytes.length / 4 ? Buffer.from(left) : left;
    return frames;
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

/** One batch, in one buffer for one write. At least one frame. */
export function encodeFrames(frames: readonly Uint8Array[]): Buffer {
  let length = 4;
  for (const frame of frames) length += 4 + frame.length;
  const batch = Buffer.allocUnsafe(length);
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
