// IPv6 packets (RFC 8200): the fixed header, and the walk over extension headers to the upper layer.
//
//    0                              4                8                24               40
//   | 6 | traffic class | flow label | length 2 | next 1 | hop limit 1 | source 16 | target 16 | payload …
//
//   extension header:  | next 1 | length 1, units of 8 bytes beyond the first 8 | …      0, 43, 60, 135
//   fragment (44):     | next 1 | 0 | offset 13, 2, more 1 | id 4 |                      8 bytes
//   authentication(51):| next 1 | length 1, units of 4 bytes minus 2 | …
import { Fault } from '../core/fault.ts';
import { putU16, u16 } from './bytes.ts';

export interface Ipv6Packet {
  readonly source: Uint8Array;
  readonly target: Uint8Array;
  readonly next: number;
  readonly hopLimit: number;
  readonly payload: Uint8Array;
}

/** @throws Fault `protocol` */
export function decodeIpv6(bytes: Uint8Array): Ipv6Packet {
  if (bytes.length < 40 || bytes[0]! >> 4 !== 6) throw wrong('is truncated or of another version');
  const length = u16(bytes, 4);
  if (40 + length > bytes.length) throw wrong('has a wrong length');
  return {
    source: bytes.subarray(8, 24),
    target: bytes.subarray(24, 40),
    next: bytes[6]!,
    hopLimit: bytes[7]!,
    payload: bytes.subarray(40, 40 + length),
  };
}

export function encodeIpv6({ source, target, next, hopLimit, payload }: Ipv6Packet): Uint8Array {
  const bytes = new Uint8Array(40 + payload.length);
  bytes[0] = 0x60;
  putU16(bytes, 4, payload.length);
  bytes[6] = next;
  bytes[7] = hopLimit;
  bytes.set(source, 8);
  bytes.set(target, 24);
  bytes.set(payload, 40);
  return bytes;
}

/** Extension headers that are walked at most: a packet with more of them has something to hide. */
const mostExtensions = 8;

/**
 * Where the upper layer begins in a packet at `at`, and which it is: -1 for a later fragment, -2 when the headers are
 * broken or too many. Answers as one number, protocol × 65536 + offset, so that the hot path allocates nothing.
 */
export function upperLayer6(bytes: Uint8Array, at: number, end: number): number {
  let next = bytes[at + 6]!;
  let here = at + 40;
  for (let count = 0; count <= mostExtensions; count++) {
    if (next !== 0 && next !== 43 && next !== 60 && next !== 135 && next !== 44 && next !== 51)
      return next * 65536 + here;
    if (here + 8 > end) return -2;
    if (next === 44 && (u16(bytes, here + 2) & 0xfff8) !== 0) return -1;
    const size = next === 44 ? 8 : next === 51 ? (bytes[here + 1]! + 2) * 4 : (bytes[here + 1]! + 1) * 8;
    next = bytes[here]!;
    here += size;
    if (here > end) return -2;
  }
  return -2;
}

const wrong = (what: string): Fault => new Fault('protocol', `the IPv6 packet ${what}`);
