// Frames of one connection: the headers that never change are written once, the rest is filled in per segment.
import { putU16, putU32 } from '../../../wire/bytes.ts';
import { addSum, checksum, foldSum, pseudoSum4 } from '../../../wire/checksum.ts';
import { etherTypes, writeEthernet } from '../../../wire/ethernet.ts';
import { protocols, writeIpv4 } from '../../../wire/ipv4.ts';
import type { FramePool } from '../frame-pool.ts';

/** The two ends of a connection, from our side. */
export interface Path {
  readonly localMac: Uint8Array;
  readonly remoteMac: Uint8Array;
  readonly localIp: number;
  readonly remoteIp: number;
  readonly localPort: number;
  readonly remotePort: number;
}

/** Ethernet, IPv4 and TCP without options. */
export const headLength = 54;

export class SegmentWriter {
  readonly #head = new Uint8Array(headLength);
  readonly #pool: FramePool;
  readonly #pseudo: number;

  constructor(path: Path, pool: FramePool) {
    this.#pool = pool;
    writeEthernet(this.#head, path.remoteMac, path.localMac, etherTypes.ipv4);
    // Not fragmented, so its id means nothing (RFC 6864 §4.1).
    const fixed = { protocol: protocols.tcp, ttl: 64, id: 0, flags: 0x4000, length: 0 };
    writeIpv4(this.#head, 14, { ...fixed, source: path.localIp, target: path.remoteIp });
    putU16(this.#head, 34, path.localPort);
    putU16(this.#head, 36, path.remotePort);
    this.#pseudo = pseudoSum4(path.localIp, path.remoteIp, protocols.tcp, 0);
  }

  /** A frame with room for `length` bytes of payload at `headLength` + the options' length; `finish` completes it. */
  begin(options: Uint8Array, length: number): Uint8Array {
    const frame = this.#pool.take(headLength + options.length + length);
    frame.set(this.#head, 0);
    if (options.length > 0) frame.set(options, headLength);
    frame[46] = ((20 + options.length) / 4) << 4;
    return frame;
  }
  finish(frame: Uint8Array, flags: number, sequence: number, acknowledgement: number, window: number): Uint8Array {
    putU16(frame, 16, frame.length - 14);
    putU16(frame, 24, 0);
    putU16(frame, 24, checksum(frame, 14, 34));
    putU32(frame, 38, sequence);
    putU32(frame, 42, acknowledgement);
    frame[47] = flags;
    putU16(frame, 48, window);
    putU16(frame, 50, 0);
    putU16(frame, 52, 0);
    putU16(frame, 50, foldSum(addSum(frame, 34, frame.length, this.#pseudo + frame.length - 34)));
    return frame;
  }
}
