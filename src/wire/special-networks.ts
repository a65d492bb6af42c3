// Networks that nobody means when they ask a gate for a service (RFC 6890, RFC 4291): whoever is led there was led astray.
// One table for names that are resolved and for what a member of a network sends.

/** The narrower first; each with what it is, as the end of a sentence. */
export const specialNetworks: readonly (readonly [network: string, what: string])[] = [
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
];
