// A profile for OpenVPN's clients, in one file: where the gate is, how it proves itself, which hub. Nothing secret of a
// member: whoever issues a certificate puts it in instead of the question for a password.
import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { dataCiphers } from './data-key.ts';

export interface Remote {
  readonly proto: 'udp' | 'tcp';
  readonly port: number;
}
export interface ProfileFacts {
  readonly hub: string;
  readonly host: string;
  /** In the order in which they are tried. */
  readonly remotes: readonly Remote[];
  readonly dev: 'tun' | 'tap';
  /** The gate's certificate and what is above it, PEM. */
  readonly certificate: string;
  /** The gate's own CA, PEM. */
  readonly root: string;
  readonly staticKey: string;
  readonly user?: string;
}

/** Seconds until the next way is tried: networks that let nothing but 443 out drop datagrams without a word. */
const patience = 10;

export function formatProfile(facts: ProfileFacts): string {
  const { hub, host, remotes, dev, certificate, root, staticKey, user } = facts;
  const leaf = new X509Certificate(certificate);
  const isNamed = leaf.subject.split('\n').includes(`CN=${host}`);
  const lines = [
    `# OpenVPN: the hub ${hub} on ${host}`,
    ...(user === undefined ? [] : [`# user name: ${user}`]),
    'client',
    `dev ${dev}`,
    ...remotes.map(({ proto, port }) => `remote ${host} ${port} ${proto}`),
    `connect-timeout ${patience}`,
    'nobind',
    'remote-cert-tls server',
    // OpenVPN compares the common name only; where it is another one, the CA has to do.
    ...(isNamed ? [`verify-x509-name ${host} name`] : []),
    `data-ciphers ${Object.keys(dataCiphers).join(':')}`,
    'auth-user-pass',
    // Which hub is told by what the client says of itself.
    'push-peer-info',
    `setenv UV_HUB ${hub}`,
    ...block('ca', trustedBy(certificate, root)),
    ...block('tls-crypt', staticKey),
  ];
  return `${lines.join('\n')}\n`;
}

const block = (name: string, text: string): string[] => [`<${name}>`, text.trim(), `</${name}>`];

/** The root that a certificate leads to: the gate's own, a public one, or itself. OpenVPN looks into no system store. */
export function trustedBy(certificate: string, own: string): string {
  const chain = (certificate.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []).map(
    pem => new X509Certificate(pem),
  );
  const top = chain.at(-1);
  if (!top) return own;
  const root = [own, ...rootCertificates].map(tryParse).find(one => one && issued(one, top));
  return (root ?? top).toString();
}
const issued = (root: X509Certificate, top: X509Certificate): boolean =>
  root.fingerprint256 === top.fingerprint256 || (top.checkIssued(root) && top.verify(root.publicKey));
function tryParse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}
