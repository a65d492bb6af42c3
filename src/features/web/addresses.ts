// Which addresses a name may not lead to, whatever DNS says: ours, the machine's own, link-local, metadata services.
import { networkInterfaces } from 'node:os';
import type { Address } from '../../core/parts.ts';
import { type Cidr, matchCidr, normalizeHost, parseCidr } from '../../wire/cidr.ts';
import { specialNetworks } from '../../wire/special-networks.ts';

const forbidden = specialNetworks.map(([network, what]) => [parseCidr(network), what] as const);

/** Forms of IPv6 that carry an IPv4 address which a translator on the way would reach, and where its four bytes are. */
const translated: readonly (readonly [network: Cidr, bits: readonly number[]])[] = [
  [parseCidr('64:ff9b::/96'), [24, 16, 8, 0]], // RFC 6052
  [parseCidr('64:ff9b:1::/48'), [24, 16, 8, 0]], // RFC 8215, as prefixes of 96 bits are laid out
  [parseCidr('64:ff9b:1::/48'), [72, 64, 48, 40]], // the same, as one of 48 bits is (RFC 6052 §2.2)
  [parseCidr('::ffff:0:0:0/96'), [24, 16, 8, 0]], // RFC 2765 §2.1
  [parseCidr('2002::/16'), [104, 96, 88, 80]], // RFC 3056
  [parseCidr('::/96'), [24, 16, 8, 0]], // RFC 4291 §2.5.5.1, deprecated
];

/** What is wrong with an address that a name resolved to, as the end of a sentence; undefined when nothing is. */
export function addressFault(address: string): string | undefined {
  const host = normalizeHost(address.replace(/%.*$/, ''));
  for (const [network, what] of forbidden) if (matchCidr(network, host)) return what;
  for (const inner of carried(host)) {
    const fault = addressFault(inner);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** IPv4 addresses within an IPv6 one. */
function carried(host: string): string[] {
  return translated
    .filter(([network]) => matchCidr(network, host))
    .map(([, bits]) => bits.map(at => (numberOf(host) >> BigInt(at)) & 0xffn).join('.'));
}

const numberOf = (host: string): bigint => parseCidr(host).network;

/** Whether `host:port` reaches one of these listeners; one on every address is reached by each address of this machine. */
export function isOwnListener(host: string, port: number, listeners: readonly Address[]): boolean {
  const address = normalizeHost(host);
  if (carried(address).some(inner => isOwnListener(inner, port, listeners))) return true;
  return listeners.some(listener => {
    if (!('port' in listener) || listener.port !== port) return false;
    const bound = normalizeHost(listener.host);
    if (bound === address) return true;
    // Whoever dials "no address" reaches loopback.
    if (addressFault(address) === 'means this machine') return isOwnAddress(bound) || isAny(bound);
    return isAny(bound) && isOwnAddress(address);
  });
}

const isAny = (bound: string): boolean => bound === '' || bound === '0.0.0.0' || bound === '::';

/** Milliseconds for which the answer counts: asking takes a tenth of one, and members of a hub ask by the thousand. */
const fresh = 1000;
let known: { readonly at: number; readonly addresses: ReadonlySet<string> } = { at: -fresh, addresses: new Set() };
function interfaces(): ReadonlySet<string> {
  const now = performance.now();
  if (now - known.at >= fresh) {
    const list = Object.values(networkInterfaces()).flatMap(one => one ?? []);
    known = { at: now, addresses: new Set(list.map(one => normalizeHost(one.address.replace(/%.*$/, '')))) };
  }
  return known.addresses;
}
function isOwnAddress(address: string): boolean {
  const what = addressFault(address);
  if (what === 'is loopback' || what === 'means this machine') return true;
  return interfaces().has(address);
}
