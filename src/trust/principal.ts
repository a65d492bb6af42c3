// A verified leaf certificate → who that is.
import type { Principal } from '../core/parts.ts';
import { type CertificateFacts, parseCertificate, usageOids } from './certificate.ts';
import { type ClientTrust, type CompiledTrust, compileTrust } from './client-trust.ts';
import { attributeOids, valuesOf } from './names.ts';

/** The URI that binds a certificate of ours to a user or a device: `sekisho:user/alice`. */
export const subjectUri = (kind: 'user' | 'device' | 'node', name: string): string =>
  `sekisho:${kind}/${encodeURIComponent(name)}`;

export const certificateCredential = (fingerprint: string): string => `cert:${fingerprint}`;

/**
 * Who a leaf is. The certificate must already have been verified by TLS; whether it is *ours* is decided here again, by
 * the signature, because a resumed session brings only the leaf and because any trusted CA can write any name.
 * A foreign certificate is kind `user` with id `''`: its attributes only.
 * @throws Fault `protocol` for DER that cannot be read, `invalid` for a trust that cannot be used
 */
export function principalOf(leaf: Uint8Array, trust: ClientTrust): Principal {
  const compiled = compiledOf(trust);
  const facts = parseCertificate(leaf);
  return principalFor(facts, isOurs(facts, compiled));
}

/** Has one of the gate's own issuing keys signed it? */
export function isOurs(facts: CertificateFacts, compiled: CompiledTrust): boolean {
  return compiled.cas.some(
    ca => ca.isBuiltin && ca.facts.subject.canonical === facts.issuer.canonical && ca.hasIssued(facts.der),
  );
}

export function principalFor(facts: CertificateFacts, ours: boolean): Principal {
  const attributes = new Map([
    ['cn', valuesOf(facts.subject, attributeOids.cn)],
    ['ou', valuesOf(facts.subject, attributeOids.ou)],
    ['o', valuesOf(facts.subject, attributeOids.o)],
    ['san', facts.alternativeNames],
    ['issuer', valuesOf(facts.issuer, attributeOids.cn)],
  ]);
  const bound = ours && facts.usages?.includes(usageOids.client) ? boundName(facts) : undefined;
  return {
    kind: bound?.kind ?? 'user',
    id: bound?.name ?? '',
    groups: [],
    attributes,
    credential: certificateCredential(facts.fingerprint),
  };
}

/** Exactly one binding counts; two would let one certificate be two people. */
function boundName(facts: CertificateFacts): { kind: 'user' | 'device' | 'node'; name: string } | undefined {
  const bindings = facts.alternativeNames.filter(name => name.startsWith('URI:sekisho:'));
  const [, kind, name] = /^URI:sekisho:(user|device|node)\/([^/?#]+)$/.exec(bindings[0] ?? '') ?? [];
  if (bindings.length !== 1 || !kind || !name) return undefined;
  try {
    return { kind: kind as 'user' | 'device' | 'node', name: decodeURIComponent(name).normalize('NFC') };
  } catch {
    return undefined; // a % that encodes nothing
  }
}

// A trust is plain data that is used for many certificates: parsed once per object.
const compiledTrusts = new WeakMap<ClientTrust, CompiledTrust>();
function compiledOf(trust: ClientTrust): CompiledTrust {
  const known = compiledTrusts.get(trust) ?? compileTrust(trust);
  compiledTrusts.set(trust, known);
  return known;
}
