// IP addresses as numbers and bytes: text of either family in, text in RFC 5952's form out.
import { isIPv4, isIPv6 } from 'node:net';

export interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** Zone ids are ignored; v4-mapped addresses come out as IPv4, so that ::ffff:10.0.0.1 cannot slip past an IPv4 rule. */
export function parseIp(text: string): Ip | undefined {
  const host = text.replace(/%.*$/, '');
  if (isIPv4(host)) return { family: 4, value: parseIPv4(host) };
  if (!isIPv6(host)) return undefined;
  const value = parseIPv6(host);
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value };
}

export const formatIPv4 = (value: bigint): string =>
  [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 0xffn).join('.');

/** 4 or 16 bytes in network order; as 16, IPv4 is written v4-mapped. */
export function ipBytes({ family, value }: Ip, width: 4 | 16): Buffer {
  const wide = family === 4 && width === 16 ? value | (0xffffn << 32n) : value;
  return Buffer.from(wide.toString(16).padStart(width * 2, '0'), 'hex');
}

/** 4 or 16 bytes → text. */
export function formatIp(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  // The URL parser writes the shortest form.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

const parseIPv4 = (text: string): bigint => text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);

function parseIPv6(text: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const tail = dotted?.[2] === undefined ? undefined : parseIPv4(dotted[2]);
  const plain =
    tail === undefined ? text : `${dotted?.[1]}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  const [head = '', rest] = plain.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const before = groups(head);
  const after = groups(rest ?? '');
  const gap = rest === undefined ? [] : new Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...gap, ...after].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}
