// Which addresses a name may not lead to, whatever DNS says: ours, the machine's own, link-local, metadata services.
import { networkInterfaces } from 'node:os';
import type { Address } from '../../core/parts.ts';
import { type Cidr, matchCidr, normalizeHost, parseCidr } from '../../wire/cidr.ts';

const forbidden: readonly (readonly [network: Cidr, what: string])[] = (
  [
    ['0.0.0.0/8', 'means this machine'],
    ['127.0.0.0/8', 'is loopback'],
    ['169.254.169.254/32', 'is a metadata service'],
    ['169.254.0.0/16', 'is link-local'],
    ['168.63.129.16/32', 'is a metadata service'], // Azure
    ['100.100.100.200/32', 'is a metadata service'], // Alibaba Cloud
    ['192.0.0.192/32', 'is a metadata service'], // Oracle Cloud, classic
    ['224.0.0.0/4', 'is multicast'],
    ['240.0.0.0/4', 'is reserved'], // broadcast too
    ['::/128', 'means this machine'],
    ['::1/128', 'is loopback'],
    ['fe80::/10', 'is link-local'],
    ['fd00:ec2::254/128', 'is a metadata service'],
    ['fd20:ce::254/128', 'is a metadata service'], // Google Cloud
    ['ff00::/8', 'is multicast'],
  ] as const
).map(([network, what]) => [parseCidr(network), what]);

/** Forms of IPv6 that carry an IPv4 address which a translator on the way would reach. */
const translated: readonly (readonly [network: Cidr, shift: number])[] = [
  [parseCidr('64:ff9b::/96'), 0], // RFC 6052
  [parseCidr('2002::/16'), 80], // RFC 3056
  [parseCidr('::/96'), 0], // RFC 4291 §2.5.5.1, deprecated
];

/** What is wrong with an address that a name resolved to, as the end of a sentence; undefined when nothing is. */
export function addressFault(address: string): string | undefined {
  const host = normalizeHost(address.replace(/%.*$/, ''));
  for (const [network, what] of forbidden) if (matchCidr(network, host)) return what;
  const inner = innerIPv4(host);
  return inner === undefined ? undefined : addressFault(inner);
}

function innerIPv4(host: string): string | undefined {
  for (const [network, shift] of translated) {
    if (!matchCidr(network, host)) continue;
    const value = numberOf(host) >> BigInt(shift);
    return [24n, 16n, 8n, 0n].map(bits => (value >> bits) & 0xffn).join('.');
  }
  return undefined;
}

const numberOf = (host: string): bigint => parseCidr(host).network;

/** Whether `host:port` reaches one of these listeners; one on every address is reached by each address of this machine. */
export function isOwnListener(host: string, port: number, listeners: readonly Address[]): boolean {
  const address = normalizeHost(host);
  return listeners.some(listener => {
    if (!('port' in listener) || listener.port !== port) return false;
    const bound = normalizeHost(listener.host);
    if (bound === address) return true;
    return (bound === '' || bound === '0.0.0.0' || bound === '::') && isOwnAddress(address);
  });
}

function isOwnAddress(address: string): boolean {
  const what = addressFault(address);
  if (what === 'is loopback' || what === 'means this machine') return true;
  return Object.values(networkInterfaces()).some(list =>
    list?.some(one => normalizeHost(one.address.replace(/%.*$/, '')) === address),
  );
}
