// Whose client certificates count, as plain data that travels to workers, and the same thing parsed once.
import { X509Certificate } from 'node:crypto';
import { Fault } from '../core/fault.ts';
import { type CertificateFacts, parseCertificate } from './certificate.ts';
import { parseCrls, type RevocationList } from './crl.ts';
import { derBlocks, toPem } from './pem.ts';

/** JSON-serialisable. */
export interface ClientTrust {
  readonly mode: 'optional' | 'required';
  /** PEM; every CA that TLS may build a chain with. A string may hold several. */
  readonly cas: readonly string[];
  /** PEM; which of them issue for this gate's own users (see Authority.trust). Only their certificates name a user. */
  readonly builtin: readonly string[];
  /** PEM. */
  readonly crls: readonly string[];
  /** Milliseconds a list is still believed after its nextUpdate. */
  readonly crlGrace: number;
  /** Intermediates between the leaf and a trusted root, at most; TLS checks it. */
  readonly depth: number;
}

/** A CA with the lists that its own key has signed. */
export interface TrustedCa {
  readonly facts: CertificateFacts;
  readonly isBuiltin: boolean;
  readonly lists: readonly RevocationList[];
  /** Did this CA's key sign the certificate? */
  hasIssued(der: Uint8Array): boolean;
}

export interface CompiledTrust {
  readonly trust: ClientTrust;
  readonly cas: readonly TrustedCa[];
}

/**
 * Parses and checks everything once; what it throws is for whoever wrote the configuration.
 * @throws Fault `invalid`
 */
export function compileTrust(trust: ClientTrust): CompiledTrust {
  const builtin = new Set(trust.builtin.flatMap(parseCas).map(ca => ca.fingerprint));
  const facts = [...trust.cas, ...trust.builtin].flatMap(parseCas);
  const unique = [...new Map(facts.map(ca => [ca.fingerprint, ca])).values()];
  const lists = trust.crls.flatMap(file => readable('the revocation list', () => parseCrls(file)));
  const owned = new Map<CertificateFacts, RevocationList[]>();
  for (const list of lists) {
    const named = unique.filter(ca => ca.subject.canonical === list.issuer);
    const issuers = named.filter(ca => list.isFrom(ca));
    if (issuers.length === 0) {
      throw new Fault(
        'invalid',
        named.length === 0
          ? 'a revocation list (crl) is from a CA that is not among the trusted client CAs; add that CA to clients, or remove the list'
          : `a revocation list (crl) carries the name of ${nameOf(named[0])} but is not signed by its key; fetch the list again from that CA`,
      );
    }
    for (const ca of issuers) owned.set(ca, [...(owned.get(ca) ?? []), list]);
  }
  const cas = unique.map(ca => trustedCa(ca, builtin.has(ca.fingerprint), owned.get(ca) ?? []));
  return { trust, cas };
}

/** The certificates in a PEM text, each checked to be one. @throws Fault `invalid` */
export function parseCas(pem: string): readonly CertificateFacts[] {
  return readable('the CA certificate', () => derBlocks(pem, 'CERTIFICATE').map(parseCertificate));
}

function trustedCa(facts: CertificateFacts, isBuiltin: boolean, lists: readonly RevocationList[]): TrustedCa {
  const hasIssued = issuerCheck(facts.der);
  return { facts, isBuiltin, lists, hasIssued };
}

/** Says of a certificate whether this CA's key signed it; false for anything that cannot be read. */
export function issuerCheck(ca: Uint8Array): (der: Uint8Array) => boolean {
  const key = readable('the CA certificate', () => new X509Certificate(toPem('CERTIFICATE', ca)).publicKey);
  return der => {
    try {
      return new X509Certificate(der).verify(key);
    } catch {
      return false;
    }
  };
}

function readable<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new Fault('invalid', `${what} cannot be used: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

const nameOf = (ca: CertificateFacts | undefined): string =>
  `"${ca?.subject.attributes.map(attribute => attribute.value).join(', ') ?? ''}"`;
