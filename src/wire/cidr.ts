// IP networks: parsing, matching, allow/deny rules, and the key that per-address limits count by.
import { Fault } from '../core/fault.ts';
import { formatIPv4, parseIp } from './ip.ts';

/** A network of either family. `bits` are those of its own family: 0–32 or 0–128. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly network: bigint;
  readonly bits: number;
}
export type AddressRule = { readonly allow: string } | { readonly deny: string };

/** Parses `203.0.113.0/24`, `2001:db8::/32` or one address. v4-mapped networks become IPv4. @throws Fault `invalid` */
export function parseCidr(text: string): Cidr {
  const [address = '', prefix, ...rest] = text.split('/');
  const parsed = rest.length === 0 && !address.includes('%') ? parseIp(address) : undefined;
  const written = prefix === undefined ? undefined : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (!parsed)
    throw new Fault('invalid', `"${text}" is not a network; write for example 203.0.113.0/24 or 2001:db8::/32`);
  const width = parsed.family === 4 ? 32 : 128;
  const mapped = parsed.family === 4 && address.includes(':');
  const bits = written === undefined ? width : mapped ? written - 96 : written;
  if (!(bits >= 0 && bits <= width)) {
    throw new Fault('invalid', `"${text}": the prefix of an IPv${parsed.family} network is 0 to ${width} bits`);
  }
  return { family: parsed.family, network: parsed.value >> BigInt(width - bits), bits };
}

/** Whether the host (an IP literal; zone ids are ignored) lies in the network. Names and unix peers never do. */
export function matchCidr(cidr: Cidr, host: string): boolean {
  const address = parseIp(host);
  if (!address || address.family !== cidr.family) return false;
  return address.value >> BigInt((address.family === 4 ? 32 : 128) - cidr.bits) === cidr.network;
}

/** What per-address limits count by: an IPv4 address, or the /64 that an IPv6 address lies in. */
export function addressKey(host: string): string {
  const address = parseIp(host);
  if (!address) return host;
  if (address.family === 4) return formatIPv4(address.value);
  const top = address.value >> 64n;
  const groups = [48n, 32n, 16n, 0n].map(shift => ((top >> shift) & 0xffffn).toString(16));
  return `${groups.join(':')}::/64`;
}

/** IPv4 out of its v4-mapped form, IPv6 in lower case without brackets; anything else as it is. */
export function normalizeHost(host: string): string {
  if (!host.includes(':')) return host;
  const bare = host.replace(/^\[|\]$/g, '');
  const address = parseIp(bare);
  return address?.family === 4 ? formatIPv4(address.value) : bare.toLowerCase();
}

/**
 * Rules in order, the first match wins, `all` matches everybody; where rules are written and none matches, the answer
 * is no. Without rules everybody passes. A unix peer (no host) matches only `all`. @throws Fault `invalid`
 */
export function compileRules(rules: readonly AddressRule[]): (host: string | undefined) => boolean {
  if (rules.length === 0) return () => true;
  const table = rules.map(rule => {
    const [allow, text] = 'allow' in rule ? [true, rule.allow] : [false, rule.deny];
    return { allow, cidr: text === 'all' ? undefined : parseCidr(text) };
  });
  return host => {
    const address = host === undefined ? undefined : parseIp(host);
    for (const { allow, cidr } of table) {
      if (!cidr) return allow;
      if (!address || address.family !== cidr.family) continue;
      if (address.value >> BigInt((cidr.family === 4 ? 32 : 128) - cidr.bits) === cidr.network) return allow;
    }
    return false;
  };
}
