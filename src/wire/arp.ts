// ARP for IPv4 over Ethernet (RFC 826).
//
//    0         2         4    5    6           8            14           18           24
//   | 00 01    | 08 00   | 06 | 04 | operation | sender MAC | sender IP  | target MAC | target IP |   28 bytes
//     Ethernet   IPv4                1 request, 2 reply
import { Fault } from '../core/fault.ts';
import { putU16, putU32, u16, u32 } from './bytes.ts';
import { etherTypes, writeEthernet } from './ethernet.ts';

export interface ArpPacket {
  readonly operation: 'request' | 'reply';
  readonly senderMac: Uint8Array;
  readonly senderIp: number;
  readonly targetMac: Uint8Array;
  readonly targetIp: number;
}
export const arpLength = 28;

/** Whether ARP for IPv4 over Ethernet stands at `at`. Other operations (RARP, …) are none. */
export const isArp = (bytes: Uint8Array, at: number): boolean =>
  bytes.length >= at + arpLength &&
  u32(bytes, at) === 0x00010800 &&
  u16(bytes, at + 4) === 0x0604 &&
  (u16(bytes, at + 6) === 1 || u16(bytes, at + 6) === 2);

/** @throws Fault `protocol` */
export function decodeArp(bytes: Uint8Array): ArpPacket {
  if (!isArp(bytes, 0)) throw new Fault('protocol', 'the packet is not ARP for IPv4 over Ethernet');
  return {
    operation: bytes[7] === 1 ? 'request' : 'reply',
    senderMac: bytes.subarray(8, 14),
    senderIp: u32(bytes, 14),
    targetMac: bytes.subarray(18, 24),
    targetIp: u32(bytes, 24),
  };
}

export function encodeArp({ operation, senderMac, senderIp, targetMac, targetIp }: ArpPacket): Uint8Array {
  const bytes = new Uint8Array(arpLength);
  putU32(bytes, 0, 0x00010800);
  putU16(bytes, 4, 0x0604);
  putU16(bytes, 6, operation === 'request' ? 1 : 2);
  bytes.set(senderMac, 8);
  putU32(bytes, 14, senderIp);
  bytes.set(targetMac, 18);
  putU32(bytes, 24, targetIp);
  return bytes;
}

/** A whole frame from `packet.senderMac` to `to`. */
export function arpFrame(packet: ArpPacket, to: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + arpLength);
  writeEthernet(frame, to, packet.senderMac, etherTypes.arp);
  frame.set(encodeArp(packet), 14);
  return frame;
}
