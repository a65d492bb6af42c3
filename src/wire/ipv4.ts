// IPv4 packets (RFC 791).
//
//    0          1     2              4      6                  8     9          10         12       16       20
//   | 4 | words | DSCP | total length | id | flags 3 offset 13 | TTL | protocol | checksum | source | target | options …
//                                             0 DF MF, units of 8 bytes
import { isIPv4 } from 'node:net';
import { Fault } from '../core/fault.ts';
import { putU16, putU32, u16, u32 } from './bytes.ts';
import { checksum } from './checksum.ts';

export const protocols: Readonly<Record<'icmp' | 'tcp' | 'udp' | 'icmpv6', number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  icmpv6: 58,
};

export interface Ipv4Packet {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
  readonly ttl: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** Bytes. */
  readonly fragmentOffset: number;
  readonly payload: Uint8Array;
}

/**
 * What lies behind the packet's total length (Ethernet pads to 60 bytes) is not part of it.
 * @throws Fault `protocol`: truncated, wrong lengths, wrong checksum
 */
export function decodeIpv4(bytes: Uint8Array): Ipv4Packet {
  if (bytes.length < 20) throw wrong('is truncated');
  const head = (bytes[0]! & 15) * 4;
  const total = u16(bytes, 2);
  if (bytes[0]! >> 4 !== 4 || head < 20) throw wrong('has a wrong version or header length');
  if (total < head || total > bytes.length) throw wrong('has a wrong total length');
  if (checksum(bytes, 0, head) !== 0) throw wrong('has a wrong checksum');
  const flags = u16(bytes, 6);
  return {
    source: u32(bytes, 12),
    target: u32(bytes, 16),
    protocol: bytes[9]!,
    ttl: bytes[8]!,
    id: u16(bytes, 4),
    dontFragment: (flags & 0x4000) !== 0,
    moreFragments: (flags & 0x2000) !== 0,
    fragmentOffset: (flags & 0x1fff) * 8,
    payload: bytes.subarray(head, total),
  };
}

export function encodeIpv4(packet: Ipv4Packet): Uint8Array {
  const bytes = new Uint8Array(20 + packet.payload.length);
  const flags = (packet.dontFragment ? 0x4000 : 0) | (packet.moreFragments ? 0x2000 : 0) | (packet.fragmentOffset >> 3);
  writeIpv4(bytes, 0, { ...packet, flags, length: bytes.length });
  bytes.set(packet.payload, 20);
  return bytes;
}

export interface Ipv4Head {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
  readonly ttl: number;
  readonly id: number;
  /** The 16 bits of flags and fragment offset. */
  readonly flags: number;
  /** Header and payload. */
  readonly length: number;
}

/** Writes a header of 20 bytes with its checksum. */
export function writeIpv4(bytes: Uint8Array, at: number, head: Ipv4Head): void {
  bytes[at] = 0x45;
  bytes[at + 1] = 0;
  putU16(bytes, at + 2, head.length);
  putU16(bytes, at + 4, head.id);
  putU16(bytes, at + 6, head.flags);
  bytes[at + 8] = head.ttl;
  bytes[at + 9] = head.protocol;
  putU16(bytes, at + 10, 0);
  putU32(bytes, at + 12, head.source);
  putU32(bytes, at + 16, head.target);
  putU16(bytes, at + 10, checksum(bytes, at, at + 20));
}

/** 192.168.30.1 → a number. @throws Fault `invalid` */
export function parseIpv4(text: string): number {
  if (!isIPv4(text)) throw new Fault('invalid', `"${text}" is not an IPv4 address`);
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export const formatIpv4 = (address: number): string =>
  `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;

/** A network of IPv4 with numbers instead of text, for the hot path. */
export interface Ipv4Network {
  readonly address: number;
  readonly mask: number;
  readonly bits: number;
}

/** 10.0.1.0/24; a plain address is a /32. The host part is kept in `address`. @throws Fault `invalid` */
export function parseIpv4Network(text: string): Ipv4Network {
  const [host = '', prefix = '32', ...rest] = text.split('/');
  const bits = /^\d{1,2}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (rest.length > 0 || !(bits >= 0 && bits <= 32) || !isIPv4(host)) {
    throw new Fault('invalid', `"${text}" is not an IPv4 network; write for example 10.0.1.0/24`);
  }
  return { address: parseIpv4(host), mask: maskOf(bits), bits };
}

export const maskOf = (bits: number): number => (bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0);
/** A mask's length; undefined when its ones are not all in front. */
export function bitsOf(mask: number): number | undefined {
  const bits = Math.clz32(~mask);
  return maskOf(bits) === mask >>> 0 ? bits : undefined;
}
export const isInside = (network: Ipv4Network, address: number): boolean =>
  ((address ^ network.address) & network.mask) === 0;

const wrong = (what: string): Fault => new Fault('protocol', `the IPv4 packet ${what}`);
