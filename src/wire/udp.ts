// UDP datagrams (RFC 768), and whole frames that carry one over IPv4.
//
//    0             2             4        6          8
//   | source port | target port | length | checksum | payload …       checksum 0 = none was made
import { Fault } from '../core/fault.ts';
import { putU16, u16 } from './bytes.ts';
import { addSum, foldSum, pseudoSum4 } from './checksum.ts';
import { etherTypes, writeEthernet } from './ethernet.ts';
import { protocols, writeIpv4 } from './ipv4.ts';

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly payload: Uint8Array;
}

/** @throws Fault `protocol`: truncated, wrong length or, between these addresses, a wrong checksum */
export function decodeUdp(bytes: Uint8Array, source: number, target: number): UdpDatagram {
  const length = bytes.length < 8 ? 0 : u16(bytes, 4);
  if (length < 8 || length > bytes.length) throw wrong('has a wrong length');
  const sum = addSum(bytes, 0, length, pseudoSum4(source, target, protocols.udp, length));
  if (u16(bytes, 6) !== 0 && foldSum(sum) !== 0) throw wrong('has a wrong checksum');
  return { sourcePort: u16(bytes, 0), targetPort: u16(bytes, 2), payload: bytes.subarray(8, length) };
}

export function encodeUdp(
  { sourcePort, targetPort, payload }: UdpDatagram,
  source: number,
  target: number,
): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  bytes.set(payload, 8);
  writeUdp(bytes, 0, sourcePort, targetPort, bytes.length, source, target);
  return bytes;
}

/** Writes the header before a payload that is already there. `length` counts both. */
function writeUdp(
  bytes: Uint8Array,
  at: number,
  sourcePort: number,
  targetPort: number,
  length: number,
  source: number,
  target: number,
): void {
  putU16(bytes, at, sourcePort);
  putU16(bytes, at + 2, targetPort);
  putU16(bytes, at + 4, length);
  putU16(bytes, at + 6, 0);
  const sum = foldSum(addSum(bytes, at, at + length, pseudoSum4(source, target, protocols.udp, length)));
  putU16(bytes, at + 6, sum === 0 ? 0xffff : sum); // 0 would say "no checksum"
}

export interface UdpFrame extends UdpDatagram {
  readonly toMac: Uint8Array;
  readonly fromMac: Uint8Array;
  readonly source: number;
  readonly target: number;
  readonly id?: number;
}

/** The frames of one datagram: one, or fragments where it is longer than `mtu` (RFC 791 §2.3). */
export function udpFrames(datagram: UdpFrame, mtu: number): Uint8Array[] {
  const { toMac, fromMac, source, target, id = 0 } = datagram;
  const body = encodeUdp(datagram, source, target);
  const step = (mtu - 20) & ~7;
  const frames: Uint8Array[] = [];
  for (let from = 0; from < body.length; from += step) {
    const part = body.length + 20 <= mtu ? body : body.subarray(from, from + step);
    const isLast = from + part.length >= body.length;
    const frame = new Uint8Array(34 + part.length);
    writeEthernet(frame, toMac, fromMac, etherTypes.ipv4);
    const flags = body.length + 20 <= mtu ? 0x4000 : (isLast ? 0 : 0x2000) | (from >> 3);
    writeIpv4(frame, 14, { source, target, protocol: protocols.udp, ttl: 64, id, flags, length: 20 + part.length });
    frame.set(part, 34);
    frames.push(frame);
    if (part === body) break;
  }
  return frames;
}

const wrong = (what: string): Fault => new Fault('protocol', `the UDP datagram ${what}`);
