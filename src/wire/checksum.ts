// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of all 16-bit words.
//
// A partial sum is kept as a plain number and folded at the end. RFC 1071 §2 (A): the sum may be gathered in any
// order and grouping, so parts (pseudo header, header, payload) are summed by themselves and added.

/**
 * Adds `bytes[from, to)` to a partial sum. `from` must be an even distance from the start of what is summed; an odd last
 * byte counts as the upper half of a word (RFC 1071 §4.1). Sums up to 64 KiB cannot overflow 32 bits.
 */
export function addSum(bytes: Uint8Array, from: number, to: number, sum: number): number {
  let total = sum;
  let at = from;
  for (const end = to - 7; at < end; at += 8) {
    total +=
      ((bytes[at]! + bytes[at + 2]! + bytes[at + 4]! + bytes[at + 6]!) << 8) +
      bytes[at + 1]! +
      bytes[at + 3]! +
      bytes[at + 5]! +
      bytes[at + 7]!;
  }
  for (; at < to - 1; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) total += bytes[at]! << 8;
  return total;
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
