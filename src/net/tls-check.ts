// The client's verdict on a server's certificate: trusted, for this name, short enough a chain, a pinned key.
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { TlsFacts } from '../core/parts.ts';
import { systemRoots } from './tls-roots.ts';
import { chainOf, depthOf, pinOf, verifyText } from './tls-verify.ts';

export interface Verify {
  /** PEM; absent = the system's CAs. */
  readonly ca?: readonly string[];
  /** The DNS name or IP address that the certificate must carry. */
  readonly name: string;
  /** SHA-256 of SubjectPublicKeyInfo, base64, with or without `sha256/`; one of them must be in the chain. */
  readonly pins?: readonly string[];
  /** Intermediates, at most. */
  readonly depth?: number;
  /** PEM. Every CA of the chain needs one. */
  readonly crls?: readonly string[];
}

/** `trusted` absent = the system's CAs. @throws Fault `unreachable`, which says what is wrong and what to do */
export function checkServer(
  tls: TLSSocket,
  { name, depth, pins }: Verify,
  trusted: readonly X509Certificate[] | undefined,
  where: string,
): Pick<TlsFacts, 'leaf' | 'chain'> {
  const refuse = (text: string, cause?: unknown): never => {
    throw new Fault('unreachable', `the certificate of ${where} ${text}`, cause === undefined ? {} : { cause });
  };
  if (!tls.authorized) refuse(verifyText(reasonOf(tls)), tls.authorizationError);
  const leaf = tls.getPeerX509Certificate();
  if (!leaf) return refuse('was not shown');
  if (!carries(leaf, name)) {
    refuse(`is not for ${name}: ${namesOf(leaf)}; dial it by a name it carries, or set the name to verify`);
  }
  const looked = trusted !== undefined || depth !== undefined || pins !== undefined;
  const chain = looked ? chainOf(leaf, trusted ?? systemRoots()) : undefined;
  if (depth !== undefined && (!chain || depthOf(chain) > depth)) {
    refuse(`has ${chain ? depthOf(chain) : 'too many'} intermediates above it; ${depth} are allowed (depth)`);
  }
  if (pins && ![leaf, ...(chain ?? [])].some(one => isPinned(one, pins))) {
    refuse(`does not have a pinned key; its own is sha256/${pinOf(leaf)}`);
  }
  return { leaf: leaf.raw, ...(chain ? { chain: chain.map(one => one.raw) } : {}) };
}

/** Node's types say Error; it is OpenSSL's code as a string, or an Error that carries one. */
function reasonOf({ authorizationError }: TLSSocket): string {
  const error = authorizationError as unknown as string | NodeJS.ErrnoException;
  return typeof error === 'string' ? error : (error?.code ?? String(error));
}

/** RFC 6125, as OpenSSL does it: the subject's CN counts only where there is no subjectAltName of that kind. */
const carries = (leaf: X509Certificate, name: string): boolean =>
  (isIP(name) === 0 ? leaf.checkHost(name, { partialWildcards: false }) : leaf.checkIP(name)) !== undefined;

const isPinned = (certificate: X509Certificate, pins: readonly string[]): boolean => {
  const own = pinOf(certificate);
  return pins.some(pin => pin.replace(/^sha256\//, '') === own);
};

const namesOf = (leaf: X509Certificate): string => {
  const names = leaf.subjectAltName?.replaceAll('IP Address:', '').replaceAll('DNS:', '');
  return names ? `it carries ${names.slice(0, 200)}` : 'it carries no names at all (subjectAltName)';
};
