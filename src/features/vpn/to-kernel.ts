// Frames for the kernel behind a TAP device: TCP segments that follow each other go as one large one, as a network card
// with receive offload would hand them over. The kernel cuts it again where it has to (GSO), so nobody sees a difference
// but in the cost. Only whole, right segments are joined: the kernel checks no sum of what comes this way.
//
//   for each:   | length 4 | virtio_net_hdr 10 | Ethernet frame |
//   virtio_net_hdr, little-endian (VIRTIO 1.2 §5.1.6): flags 1, gso_type 1, hdr_len 2, gso_size 2, csum_start 2, csum_offset 2
import { addSum, foldSum, pseudoSum4 } from '../../wire/checksum.ts';

/** Before each frame: its length, and what the kernel is to know about it. */
export const overhead = 14;
const [ethernet, ipv4] = [14, 20] as const;
const tcpAt = ethernet + ipv4;
/** Of one joined frame; an IPv4 packet ends at 65,535. */
const mostJoined = 60_000;
const flags = { psh: 0x08, ack: 0x10 } as const;

/** All frames in one buffer that `room` gives, with anything in it. */
export function encodeForKernel(frames: readonly Uint8Array[], room: (length: number) => Buffer): Buffer {
  let most = 0;
  for (const frame of frames) most += overhead + frame.length;
  const batch = room(most);
  let at = 0;
  for (let index = 0; index < frames.length; ) {
    const first = frames[index]!;
    const begin = at + overhead;
    batch.fill(0, at + 4, begin);
    batch.set(first, begin);
    let end = begin + first.length;
    let count = 1;
    // Only where there are two is it worth a look at sums.
    if (index + 1 < frames.length && follows(first, first, frames[index + 1]!, end - begin) && isRight(first)) {
      for (let last = first; index + count < frames.length; count++) {
        const next = frames[index + count]!;
        if (!follows(first, last, next, end - begin) || !isRight(next)) break;
        const header = headerOf(next);
        batch.set(header === 0 ? next : next.subarray(header), end);
        end += next.length - header;
        last = next;
      }
      if (count > 1) describe(batch, at, end, first, frames[index + count - 1]!);
    }
    batch.writeUInt32BE(end - begin, at);
    at = end;
    index += count;
  }
  return batch.subarray(0, at);
}

const headerOf = (frame: Uint8Array): number => tcpAt + ((frame[46]! >> 4) << 2);
const word = (frame: Uint8Array, at: number): number =>
  ((frame[at]! << 24) | (frame[at + 1]! << 16) | (frame[at + 2]! << 8) | frame[at + 3]!) >>> 0;

/** Whether `next` goes on where `last` ends, with all else alike; `length` is of what is joined so far. */
function follows(first: Uint8Array, last: Uint8Array, next: Uint8Array, length: number): boolean {
  if (next.length < tcpAt + 20 || next.length > last.length || length + next.length > mostJoined) return false;
  // IPv4 without options, TCP, not to be cut and not a piece.
  if (next[12] !== 8 || next[13] !== 0 || next[14] !== 0x45 || next[23] !== 6 || next[20] !== 0x40 || next[21] !== 0)
    return false;
  // A shorter segment is the last one, and one that pushes is to be seen at once.
  if (last.length !== first.length || (last[47]! & flags.psh) !== 0) return false;
  if ((next[47]! & ~flags.psh) !== flags.ack || (first[47]! & ~flags.psh) !== flags.ack) return false;
  const header = headerOf(next);
  if (header < tcpAt + 20 || next.length <= header || ((next[16]! << 8) | next[17]!) !== next.length - ethernet)
    return false;
  if (word(next, 38) !== (word(last, 38) + last.length - headerOf(last)) >>> 0) return false;
  // MACs, type and kind of service; time to live and protocol; addresses and ports; acknowledgement and data offset;
  // window; options (of them the time stamps).
  return (
    alike(first, next, 0, 16) &&
    alike(first, next, 20, 24) &&
    alike(first, next, 26, 38) &&
    alike(first, next, 42, 47) &&
    alike(first, next, 48, 50) &&
    alike(first, next, 52, header)
  );
}
function alike(one: Uint8Array, other: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (one[at] !== other[at]) return false;
  return true;
}

/** Whether both its sums are right, and its length is what it says: what is joined gets new sums. */
function isRight(frame: Uint8Array): boolean {
  const length = (frame[16]! << 8) | frame[17]!;
  if (length !== frame.length - ethernet || foldSum(addSum(frame, ethernet, tcpAt, 0)) !== 0) return false;
  const pseudo = pseudoSum4(word(frame, 26), word(frame, 30), 6, length - ipv4);
  return foldSum(addSum(frame, tcpAt, frame.length, pseudo)) === 0;
}

/** Writes what the kernel needs to cut it again, and the lengths, flags and sums of the whole. */
function describe(batch: Buffer, at: number, end: number, first: Uint8Array, last: Uint8Array): void {
  const begin = at + overhead;
  const header = headerOf(first);
  batch[at + 4] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
  batch[at + 5] = 1; // VIRTIO_NET_HDR_GSO_TCPV4
  batch.writeUInt16LE(header, at + 6);
  batch.writeUInt16LE(first.length - header, at + 8);
  batch.writeUInt16LE(tcpAt, at + 10);
  batch.writeUInt16LE(16, at + 12);
  const length = end - begin - ethernet;
  batch.writeUInt16BE(length, begin + 16);
  batch.writeUInt16BE(0, begin + 24);
  batch.writeUInt16BE(foldSum(addSum(batch, begin + ethernet, begin + tcpAt, 0)), begin + 24);
  batch[begin + 47] = first[47]! | (last[47]! & flags.psh);
  // The pseudo header's sum alone, not complemented: whoever finishes it adds the rest.
  const pseudo = pseudoSum4(word(first, 26), word(first, 30), 6, length - ipv4);
  batch.writeUInt16BE(~foldSum(pseudo) & 0xffff, begin + 50);
}
