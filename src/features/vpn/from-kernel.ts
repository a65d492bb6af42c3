// Frames from the kernel behind a TAP device. The kernel hands over TCP segments that follow each other as one large
// frame, and leaves their sums to us, as it does with a network card (TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6): one system call
// for sixty kilobytes in place of forty. Here they are cut again, so the hub sees frames as they go over a wire.
//
//   for each:   | length 4 | virtio_net_hdr 10 | Ethernet frame |          the header as in to-kernel.ts
import { Fault } from '../../core/fault.ts';
import { putU16, putU32, u16, u32 } from '../../wire/bytes.ts';
import { addSum, foldSum, pseudoSum4, pseudoSum6 } from '../../wire/checksum.ts';
import { etherTypes } from '../../wire/ethernet.ts';
import { FramePool } from './frame-pool.ts';
import { overhead } from './to-kernel.ts';

/** gso_type of VIRTIO 1.2 §5.1.6.3; others are not asked for, so they do not come. */
const kinds = { none: 0, tcp4: 1, tcp6: 4 } as const;
const needsSum = 1;
const [finish, push, reduced] = [0x01, 0x08, 0x80] as const;
/** An Ethernet header, a VLAN tag, and an IP packet. */
const longest = 18 + 65_575;

/** A large frame that is being cut. */
interface Large {
  /** All headers, as the first segment has them. */
  readonly header: Buffer;
  readonly network: number;
  readonly transport: number;
  readonly isV6: boolean;
  /** Bytes of payload in each segment but the last. */
  readonly size: number;
  /** Bytes of payload to come. */
  left: number;
  /** Segments that are done. */
  done: number;
}

export class FromKernel {
  readonly #pool = new FramePool(true);
  #frames: Uint8Array[] = [];
  /** The beginning of an item whose rest has not come yet. */
  #rest: Buffer | undefined;
  #large: Large | undefined;
  /** The segment under way, and how much payload it has. */
  #segment: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #isAsked = false;

  /**
   * The frames that end within a chunk: views of it, so it belongs to them and may get sums written into it, or of memory
   * that is used again when the next turn of the event loop is over.
   * @throws Fault `protocol` for what no kernel says
   */
  read(chunk: Buffer): readonly Uint8Array[] {
    this.#frames = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#large) at = this.#cut(this.#large, chunk, at);
      else if (this.#rest) at = this.#complete(this.#rest, chunk, at);
      else at = this.#next(chunk, at);
    }
    return this.#frames;
  }

  /** @returns where the item that begins there ends, or its head if it is a large one */
  #next(chunk: Buffer, at: number): number {
    const wanted = wantedOf(chunk, at);
    if (at + wanted > chunk.length) {
      this.#rest = Buffer.from(chunk.subarray(at));
      return chunk.length;
    }
    this.#take(chunk, at, wanted);
    return at + wanted;
  }
  #complete(rest: Buffer, chunk: Buffer, at: number): number {
    const more = Math.min(wantedOf(rest, 0) - rest.length, chunk.length - at);
    const item = Buffer.concat([rest, chunk.subarray(at, at + more)]);
    const wanted = wantedOf(item, 0);
    this.#rest = item;
    if (item.length === wanted) {
      this.#rest = undefined;
      this.#take(item, 0, wanted);
    }
    return at + more;
  }

  #take(bytes: Buffer, at: number, wanted: number): void {
    const frame = new Uint8Array(bytes.buffer, bytes.byteOffset + at + overhead, wanted - overhead);
    if (bytes[at + 5] !== kinds.none) this.#large = largeOf(bytes, at, frame);
    else {
      if (bytes[at + 4]! & needsSum) completeSum(frame, bytes.readUInt16LE(at + 10), bytes.readUInt16LE(at + 12));
      this.#frames.push(frame);
    }
  }

  #cut(large: Large, chunk: Buffer, from: number): number {
    const head = large.header.length;
    let at = from;
    while (large.left > 0 && at < chunk.length) {
      if (this.#filled === 0) this.#begin(large);
      const more = Math.min(large.size - this.#filled, large.left, chunk.length - at);
      this.#segment.set(new Uint8Array(chunk.buffer, chunk.byteOffset + at, more), head + this.#filled);
      at += more;
      large.left -= more;
      this.#filled += more;
      if (this.#filled < large.size && large.left > 0) break;
      describe(this.#segment, large);
      this.#frames.push(this.#segment);
      this.#filled = 0;
      large.done += 1;
    }
    if (large.left === 0) this.#large = undefined;
    return at;
  }
  #begin(large: Large): void {
    this.#segment = this.#pool.take(large.header.length + Math.min(large.size, large.left));
    this.#segment.set(large.header);
    if (this.#isAsked) return;
    this.#isAsked = true;
    setImmediate(() => {
      this.#isAsked = false;
      this.#pool.turnBegins();
      this.#pool.turnEnds();
    });
  }
}

/** Bytes of the item at `at` that must be there for the next step: all of it, of a large one all its headers. */
function wantedOf(bytes: Buffer, at: number): number {
  const have = bytes.length - at;
  if (have < overhead) return overhead;
  const length = bytes.readUInt32BE(at);
  if (length > longest) throw new Fault('protocol', `a frame of ${length} bytes came from the kernel`);
  if (bytes[at + 5] === kinds.none) return overhead + length;
  const transport = bytes.readUInt16LE(at + 10);
  const least = overhead + transport + 20;
  if (least > overhead + length) throw strange();
  if (have < least) return least;
  const head = (bytes[at + overhead + transport + 12]! >> 4) << 2;
  if (head < 20 || transport + head > length) throw strange();
  return overhead + transport + head;
}
const strange = (): Fault => new Fault('protocol', 'a large frame that is not TCP came from the kernel');

function largeOf(bytes: Buffer, at: number, headers: Uint8Array): Large {
  const kind = bytes[at + 5];
  const transport = bytes.readUInt16LE(at + 10);
  const size = bytes.readUInt16LE(at + 8);
  let network = 14;
  while (isTag(u16(headers, network - 2)) && network + 4 < transport) network += 4;
  const left = bytes.readUInt32BE(at) - headers.length;
  const isV6 = kind === kinds.tcp6;
  const fits = network + (isV6 ? 40 : 20) <= transport && headers.length >= transport + 20;
  if ((!isV6 && kind !== kinds.tcp4) || !fits || size === 0 || left <= 0) throw strange();
  return { header: Buffer.from(headers), network, transport, isV6, size, left, done: 0 };
}
const isTag = (type: number): boolean => type === etherTypes.vlan || type === 0x88a8;

/** What differs from segment to segment: lengths, number, sequence, flags, sums (Linux, `tcp_gso_segment`). */
function describe(segment: Uint8Array, { header, network, transport, isV6, size, left, done }: Large): void {
  const length = segment.length - transport;
  putU32(segment, transport + 4, (u32(header, transport + 4) + done * size) >>> 0);
  if (left > 0) segment[transport + 13]! &= ~(finish | push);
  if (done > 0) segment[transport + 13]! &= ~reduced;
  putU16(segment, transport + 16, 0);
  let pseudo: number;
  if (isV6) {
    putU16(segment, network + 4, segment.length - network - 40);
    pseudo = pseudoSum6(segment, network, 6, length);
  } else {
    putU16(segment, network + 2, segment.length - network);
    putU16(segment, network + 4, (u16(header, network + 4) + done) & 0xffff);
    putU16(segment, network + 10, 0);
    putU16(segment, network + 10, foldSum(addSum(segment, network, transport, 0)));
    pseudo = pseudoSum4(u32(segment, network + 12), u32(segment, network + 16), 6, length);
  }
  putU16(segment, transport + 16, foldSum(addSum(segment, transport, segment.length, pseudo)));
}

/** The field has the pseudo header's sum already. */
function completeSum(frame: Uint8Array, from: number, offset: number): void {
  const field = from + offset;
  if (field + 2 > frame.length) return;
  // All ones is the same number, and to UDP a zero means that there is no sum (RFC 768).
  putU16(frame, field, foldSum(addSum(frame, from, frame.length, 0)) || 0xffff);
}
