// TCP segments (RFC 9293 §3.1), their options (MSS, window scale), and arithmetic on sequence numbers.
//
//    0             2             4          8                  12      13      14       16         18       20
//   | source port | target port | sequence | acknowledgement | words 4 | flags | window | checksum | urgent | options …
//   flags: 80 CWR, 40 ECE, 20 URG, 10 ACK, 08 PSH, 04 RST, 02 SYN, 01 FIN
//   options: 00 end | 01 no-op | 02 04 MSS 2 | 03 03 shift 1 | 04 02 SACK permitted | 05 len blocks | kind len …
import { Fault } from '../core/fault.ts';
import { putU16, putU32, u16, u32 } from './bytes.ts';
import { addSum, foldSum, pseudoSum4 } from './checksum.ts';
import { protocols } from './ipv4.ts';

export const tcpFlags: Readonly<Record<'fin' | 'syn' | 'rst' | 'psh' | 'ack' | 'urg', number>> = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
};

export interface TcpOptions {
  readonly mss?: number;
  /** Bits to shift, at most 14 (RFC 7323 §2.3). */
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  /** Ranges beyond a gap (RFC 2018 §3), four at most; read by `readSack`. */
  readonly sack?: readonly (readonly [from: number, to: number])[];
}
export interface TcpSegment {
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  readonly options: TcpOptions;
  readonly payload: Uint8Array;
}

/** @throws Fault `protocol`: truncated, wrong header length or, between these addresses, a wrong checksum */
export function decodeTcp(bytes: Uint8Array, source: number, target: number): TcpSegment {
  const head = bytes.length < 20 ? 0 : (bytes[12]! >> 4) * 4;
  if (head < 20 || head > bytes.length) throw new Fault('protocol', 'the TCP segment has a wrong header length');
  if (!isTcpSumRight(bytes, 0, bytes.length, source, target)) {
    throw new Fault('protocol', 'the TCP segment has a wrong checksum');
  }
  return {
    sourcePort: u16(bytes, 0),
    targetPort: u16(bytes, 2),
    sequence: u32(bytes, 4),
    acknowledgement: u32(bytes, 8),
    flags: bytes[13]!,
    window: u16(bytes, 14),
    options: readTcpOptions(bytes, 20, head),
    payload: bytes.subarray(head),
  };
}

export function encodeTcp(segment: TcpSegment, source: number, target: number): Uint8Array {
  const options = encodeTcpOptions(segment.options);
  const head = 20 + options.length;
  const bytes = new Uint8Array(head + segment.payload.length);
  putU16(bytes, 0, segment.sourcePort);
  putU16(bytes, 2, segment.targetPort);
  putU32(bytes, 4, segment.sequence);
  putU32(bytes, 8, segment.acknowledgement);
  bytes[12] = (head / 4) << 4;
  bytes[13] = segment.flags;
  putU16(bytes, 14, segment.window);
  bytes.set(options, 20);
  bytes.set(segment.payload, head);
  writeTcpSum(bytes, 0, bytes.length, source, target);
  return bytes;
}

export const isTcpSumRight = (bytes: Uint8Array, from: number, to: number, source: number, target: number): boolean =>
  foldSum(addSum(bytes, from, to, pseudoSum4(source, target, protocols.tcp, to - from))) === 0;

export function writeTcpSum(bytes: Uint8Array, from: number, to: number, source: number, target: number): void {
  putU16(bytes, from + 16, 0);
  putU16(bytes, from + 16, foldSum(addSum(bytes, from, to, pseudoSum4(source, target, protocols.tcp, to - from))));
}

/** Options in `bytes[at, end)`. A broken list ends where it breaks; what stood before it counts (as in every stack). */
export function readTcpOptions(bytes: Uint8Array, at: number, end: number): TcpOptions {
  const options: { mss?: number; windowScale?: number; sackPermitted?: boolean } = {};
  for (let here = at; here < end; ) {
    const kind = bytes[here]!;
    if (kind === 0) break;
    if (kind === 1) {
      here++;
      continue;
    }
    const length = here + 1 < end ? bytes[here + 1]! : 0;
    if (length < 2 || here + length > end) break;
    if (kind === 2 && length === 4) options.mss = u16(bytes, here + 2);
    if (kind === 3 && length === 3) options.windowScale = Math.min(14, bytes[here + 2]!);
    if (kind === 4 && length === 2) options.sackPermitted = true;
    here += length;
  }
  return options;
}

/** The ranges in the options `bytes[at, end)` of a segment, each handed to `add`. @returns whether one was news */
export function readSack(
  bytes: Uint8Array,
  at: number,
  end: number,
  add: (from: number, to: number) => boolean,
): boolean {
  let isNews = false;
  for (let here = at; here < end; ) {
    const kind = bytes[here]!;
    if (kind === 0) break;
    if (kind === 1) {
      here++;
      continue;
    }
    const length = here + 1 < end ? bytes[here + 1]! : 0;
    if (length < 2 || here + length > end) break;
    if (kind === 5)
      for (let block = here + 2; block + 8 <= here + length; block += 8)
        if (add(u32(bytes, block), u32(bytes, block + 4))) isNews = true;
    here += length;
  }
  return isNews;
}

/** Padded with no-ops to whole words. */
export function encodeTcpOptions({ mss, windowScale, sackPermitted, sack = [] }: TcpOptions): Uint8Array {
  const bytes: number[] = [];
  if (mss !== undefined) bytes.push(2, 4, mss >> 8, mss & 255);
  if (windowScale !== undefined) bytes.push(1, 3, 3, windowScale);
  if (sackPermitted) bytes.push(1, 1, 4, 2);
  if (sack.length > 0) bytes.push(1, 1, 5, 2 + sack.length * 8);
  for (const edge of sack.flat()) bytes.push(edge >>> 24, (edge >>> 16) & 255, (edge >>> 8) & 255, edge & 255);
  return Uint8Array.from(bytes);
}

// RFC 9293 §3.4: comparisons modulo 2^32. `a` before `b` when the way from a to b is shorter than half of the ring.
export const isBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0;
export const isAtMost = (a: number, b: number): boolean => ((a - b) | 0) <= 0;
/** Bytes from `a` on to `b`, which may be negative. */
export const distance = (a: number, b: number): number => (b - a) | 0;
export const advance = (a: number, by: number): number => (a + by) >>> 0;
