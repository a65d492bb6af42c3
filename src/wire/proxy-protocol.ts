// The PROXY protocol, v1 and v2: a balancer's first words about whom a connection really comes from.
//
//   v1  PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n              at most 107 bytes; PROXY UNKNOWN …\r\n
//   v2  0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a | 2c | ff | length 2 | addresses | TLVs
//       c: 0 local, 1 proxy   ff: 11 TCP4, 12 UDP4 (12 bytes), 21 TCP6, 22 UDP6 (36), 31 32 unix (216), 00 unknown
//       TLV: type 1 | length 2 | value; type 3 = CRC-32C of the whole header
import { isIPv4, isIPv6 } from 'node:net';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import { normalizeHost } from './cidr.ts';
import { formatIp, type Ip, ipBytes, parseIp } from './ip.ts';

export interface ProxyHeader {
  readonly command: 'proxy' | 'local';
  /** Absent when the sender does not know, or speaks for itself (`local`). */
  readonly source?: Address;
  readonly destination?: Address;
}

/** Bytes a header may take. */
export const proxyHeaderLimit: number = 16 + 4096;

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const v1Start = Buffer.from('PROXY ');
const v1Limit = 107;

/** Reads the header at the start of `bytes`; `more` = not all there yet. @throws Fault `protocol` */
export function readProxyHeader(bytes: Uint8Array): { header: ProxyHeader; length: number } | 'more' {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (startsWith(buffer, signature)) return buffer.length < 16 ? 'more' : readV2(buffer);
  if (startsWith(buffer, v1Start)) return readV1(buffer);
  throw wrong('is missing');
}

/** The header for a connection from `source` to `destination`; what a version cannot say is said as unknown. */
export function writeProxyHeader(
  version: 'v1' | 'v2',
  { source, destination }: { readonly source: Address; readonly destination: Address },
): Buffer {
  return version === 'v1' ? writeV1(source, destination) : writeV2(source, destination);
}

const startsWith = (buffer: Buffer, start: Buffer): boolean => {
  const length = Math.min(buffer.length, start.length);
  return buffer.subarray(0, length).equals(start.subarray(0, length));
};

function readV1(buffer: Buffer): { header: ProxyHeader; length: number } | 'more' {
  const end = buffer.subarray(0, v1Limit).indexOf('\r\n');
  if (end < 0) {
    if (buffer.length >= v1Limit) throw wrong('(v1) is longer than 107 bytes');
    return 'more';
  }
  const length = end + 2;
  const line = buffer.toString('latin1', 0, end);
  if (/^PROXY UNKNOWN( |$)/.test(line)) return { header: { command: 'proxy' }, length };
  const parts = /^PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/.exec(line);
  const [, family, from = '', to = '', fromPort, toPort] = parts ?? [];
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  if (!parts || !isAddress(from) || !isAddress(to) || Number(fromPort) > 65535 || Number(toPort) > 65535) {
    throw wrong('(v1) is malformed');
  }
  const source = { host: normalizeHost(from), port: Number(fromPort) };
  return {
    header: { command: 'proxy', source, destination: { host: normalizeHost(to), port: Number(toPort) } },
    length,
  };
}

/** Bytes of the address block by the family byte's upper half. */
const blockSizes: Record<number, number> = { 0: 0, 1: 12, 2: 36, 3: 216 };

function readV2(buffer: Buffer): { header: ProxyHeader; length: number } | 'more' {
  const [versionCommand = 0, family = 0] = [buffer[12], buffer[13]];
  const command = versionCommand & 15;
  if (versionCommand >> 4 !== 2 || command > 1) throw wrong('(v2) has an unknown version or command');
  const size = buffer.readUInt16BE(14);
  if (size > 4096) throw wrong('(v2) is longer than 4 KiB');
  const length = 16 + size;
  if (buffer.length < length) return 'more';
  const block = blockSizes[family >> 4];
  if (block === undefined || (family & 15) > 2) throw wrong('(v2) has an unknown address family');
  // A local connection (a health check) may carry anything; it is skipped, as the specification asks.
  if (command === 0) return { header: { command: 'local' }, length };
  if (size < block) throw wrong('(v2) is too short for its addresses');
  checkTlvs(buffer.subarray(0, length), 16 + block);
  const addresses = family >> 4 === 0 ? {} : addressesOf(family >> 4, buffer.subarray(16, 16 + block));
  return { header: { command: 'proxy', ...addresses }, length };
}

function addressesOf(family: number, block: Buffer): { source: Address; destination: Address } {
  if (family === 3) return { source: pathOf(block.subarray(0, 108)), destination: pathOf(block.subarray(108)) };
  const width = family === 1 ? 4 : 16;
  const host = (at: number): string => normalizeHost(formatIp(block.subarray(at, at + width)));
  return {
    source: { host: host(0), port: block.readUInt16BE(2 * width) },
    destination: { host: host(width), port: block.readUInt16BE(2 * width + 2) },
  };
}

const pathOf = (bytes: Buffer): Address => ({
  path: bytes.toString('utf8', 0, bytes.indexOf(0) < 0 ? 108 : bytes.indexOf(0)),
});

function checkTlvs(header: Buffer, start: number): void {
  for (let at = start; at < header.length; ) {
    if (at + 3 > header.length) throw wrong('(v2) has a broken TLV');
    const size = header.readUInt16BE(at + 1);
    if (at + 3 + size > header.length) throw wrong('(v2) has a broken TLV');
    if (header[at] === 3) {
      if (size !== 4) throw wrong('(v2) has a broken checksum');
      const zeroed = Buffer.from(header);
      zeroed.fill(0, at + 3, at + 7);
      if (crc32c(zeroed) !== header.readUInt32BE(at + 3)) throw wrong('(v2) has a wrong checksum');
    }
    at += 3 + size;
  }
}

function writeV1(source: Address, destination: Address): Buffer {
  const ends = ipEnds(source, destination);
  if (!ends) return Buffer.from('PROXY UNKNOWN\r\n');
  const { width, from, to } = ends;
  const [client, server] = [formatIp(ipBytes(from.ip, width)), formatIp(ipBytes(to.ip, width))];
  return Buffer.from(`PROXY TCP${width === 4 ? 4 : 6} ${client} ${server} ${from.port} ${to.port}\r\n`);
}

function writeV2(source: Address, destination: Address): Buffer {
  const ends = ipEnds(source, destination);
  if (ends) {
    const { width, from, to } = ends;
    const ports = Buffer.alloc(4);
    ports.writeUInt16BE(from.port, 0);
    ports.writeUInt16BE(to.port, 2);
    return v2(0x21, width === 4 ? 0x11 : 0x21, Buffer.concat([ipBytes(from.ip, width), ipBytes(to.ip, width), ports]));
  }
  if (!('path' in source && 'path' in destination)) return v2(0x21, 0x00, Buffer.alloc(0));
  const block = Buffer.alloc(216);
  block.write(source.path, 0, 108);
  block.write(destination.path, 108, 108);
  return v2(0x21, 0x31, block);
}

const v2 = (command: number, family: number, block: Buffer): Buffer =>
  Buffer.concat([signature, Buffer.from([command, family, block.length >> 8, block.length & 255]), block]);

interface IpEnds {
  readonly width: 4 | 16;
  readonly from: { readonly ip: Ip; readonly port: number };
  readonly to: { readonly ip: Ip; readonly port: number };
}
/** Both ends in one family: an IPv4 end beside an IPv6 one is written v4-mapped. Zones mean nothing elsewhere. */
function ipEnds(source: Address, destination: Address): IpEnds | undefined {
  if ('path' in source || 'path' in destination) return undefined;
  const [from, to] = [parseIp(source.host), parseIp(destination.host)];
  if (!from || !to) return undefined;
  const width = from.family === 4 && to.family === 4 ? 4 : 16;
  return { width, from: { ip: from, port: source.port }, to: { ip: to, port: destination.port } };
}

/** Castagnoli, bit by bit: a header is at most 4 KiB and comes once a connection. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const wrong = (what: string): Fault => new Fault('protocol', `the PROXY header ${what}`);
