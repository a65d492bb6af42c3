// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of all 16-bit words.
//
// A partial sum is kept as a plain number and folded at the end. RFC 1071 §2 (A): the sum may be gathered in any
// order and grouping, so parts (pseudo header, header, payload) are summed by themselves and added.

/**
 * Adds `bytes[from, to)` to a partial sum. `from` must be an even distance from the start of what is summed; an odd last
 * byte counts as the upper half of a word (RFC 1071 §4.1). The sum of 64 KiB is exact as a number.
 */
export function addSum(bytes: Uint8Array, from: number, to: number, sum: number): number {
  let total = sum;
  let at = from;
  if (to - from >= worthAView) {
    // Four bytes at a time: 2^16 ≡ 1 (mod 2^16 - 1), so a word of 32 bits counts as its halves do.
    const view = viewOf(bytes.buffer);
    const shift = bytes.byteOffset;
    for (const end = to - 15; at < end; at += 16) {
      const here = shift + at;
      total += view.getUint32(here) + view.getUint32(here + 4) + view.getUint32(here + 8) + view.getUint32(here + 12);
    }
  }
  for (; at < to - 1; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) total += bytes[at]! << 8;
  return total;
}
/** Below so many bytes a view costs more than it saves. */
const worthAView = 128;
let latest: DataView = new DataView(new ArrayBuffer(0));
/** Frames that come together lie in the same memory. */
function viewOf(memory: ArrayBufferLike): DataView {
  if (latest.buffer !== memory) latest = new DataView(memory);
  return latest;
}

/** The 16-bit field for a partial sum. Over data that includes a right checksum it is 0. */
export function foldSum(sum: number): number {
  let folded = (sum & 0xffff) + Math.floor(sum / 65536);
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}

export const checksum = (bytes: Uint8Array, from: number, to: number): number => foldSum(addSum(bytes, from, to, 0));

/** The sum of the pseudo header of IPv4 (RFC 9293 §3.1): addresses, protocol, length. */
export const pseudoSum4 = (source: number, target: number, protocol: number, length: number): number =>
  (source >>> 16) + (source & 0xffff) + (target >>> 16) + (target & 0xffff) + protocol + length;

/** The same of IPv6 (RFC 8200 §8.1), from the packet that begins at `at`. */
export const pseudoSum6 = (packet: Uint8Array, at: number, protocol: number, length: number): number =>
  addSum(packet, at + 8, at + 40, protocol + length);
