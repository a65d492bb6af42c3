// Identify for TLS doors: dates, revocation lists and ownership are checked on every connection, resumed ones too.
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Identify, Principal } from '../core/parts.ts';
import { type CertificateFacts, fingerprintOf, parseCertificate } from './certificate.ts';
import { type ClientTrust, type CompiledTrust, compileTrust, type TrustedCa } from './client-trust.ts';
import { isOurs, principalFor } from './principal.ts';

export const anonymous: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** What is the same every time a certificate comes: worth remembering, since signatures cost more than all the rest. */
interface Known {
  readonly facts: CertificateFacts;
  readonly principal: Principal;
  /** The trusted CA whose key signed it, if it is one of those. */
  readonly issuer: TrustedCa | undefined;
}

/** Certificates remembered per trust. */
const remembered = 1024;

export interface CertificateChecker {
  /** @throws Fault `unknown-caller`, `protocol` */
  check(leaf: Uint8Array, chain: readonly Uint8Array[] | undefined): Principal;
}

/**
 * Anonymous when nothing was shown and the mode is optional. @throws Fault `invalid` at once when the trust cannot be
 * used; the Identify throws `unknown-caller` or `protocol`.
 */
export function identifyByCertificate(trust: ClientTrust, clock: Clock = systemClock): Identify {
  const checker = certificateChecker(trust, clock);
  return async conn => {
    const leaf = conn.tls?.leaf;
    if (leaf) return checker.check(leaf, conn.tls?.chain);
    if (trust.mode === 'optional') return anonymous;
    throw new Fault('unknown-caller', 'a client certificate is required');
  };
}

/** The checks without the connection, for a certificate that arrived some other way. @throws Fault `invalid` */
export function certificateChecker(trust: ClientTrust, clock: Clock = systemClock): CertificateChecker {
  const compiled = compileTrust(trust);
  const known = new Recent<Known>(remembered);
  // A resumed session brings no chain: what stood above the leaf in its full handshake is remembered, so that a revoked
  // intermediate is noticed there as well.
  const chains = new Recent<readonly Uint8Array[]>(remembered);

  const know = (der: Uint8Array): Known => {
    const fingerprint = fingerprintOf(der);
    return known.get(fingerprint) ?? known.set(fingerprint, study(parseCertificate(der), compiled));
  };
  return {
    check(leaf, chain) {
      const now = clock.now();
      const first = know(leaf);
      const above = chain ?? chains.get(first.facts.fingerprint) ?? [];
      if (chain && chain.length > 0) chains.set(first.facts.fingerprint, chain);
      // A root is trusted by being listed; nobody revokes it but its owner.
      for (const one of [first, ...above.map(know).filter(each => !isRoot(each.facts, compiled))]) {
        inTime(one.facts, now);
        notRevoked(one, trust, now);
      }
      return first.principal;
    },
  };
}

function study(facts: CertificateFacts, compiled: CompiledTrust): Known {
  return { facts, principal: principalFor(facts, isOurs(facts, compiled)), issuer: issuerOf(facts, compiled) };
}

/** Two CAs may share a name (a renewed key): the signature decides. */
function issuerOf(facts: CertificateFacts, compiled: CompiledTrust): TrustedCa | undefined {
  return compiled.cas.find(ca => ca.facts.subject.canonical === facts.issuer.canonical && ca.hasIssued(facts.der));
}

function isRoot(facts: CertificateFacts, { cas }: CompiledTrust): boolean {
  if (facts.subject.canonical !== facts.issuer.canonical) return false;
  return cas.some(ca => ca.facts.fingerprint === facts.fingerprint);
}

function inTime(facts: CertificateFacts, now: Date): void {
  if (now < facts.notBefore) {
    throw new Fault('unknown-caller', 'the client certificate is not valid yet; is the clock right?', at(facts));
  }
  if (now > facts.notAfter)
    throw new Fault('unknown-caller', 'the client certificate has expired; issue a new one', at(facts));
}

/**
 * Where lists are given, every foreign CA of a chain needs one (OpenSSL's CRL_CHECK_ALL, as nginx and HAProxy set it): a
 * forgotten list must not pass for a clean one. Our own certificates need none, their revocation is known at once.
 */
function notRevoked({ facts, issuer }: Known, trust: ClientTrust, now: Date): void {
  if (trust.crls.length === 0 || issuer?.isBuiltin) return;
  if (!issuer || issuer.lists.length === 0) {
    throw new Fault('unknown-caller', 'the client certificate cannot be checked: its CA has no revocation list here', {
      facts: { ...at(facts).facts, fix: 'add the list of every CA in the chain to crl, and each such CA to clients' },
    });
  }
  if (issuer.lists.some(list => list.revoked.has(facts.serial))) {
    throw new Fault('unknown-caller', 'the client certificate has been revoked', at(facts));
  }
  const newest = Math.max(...issuer.lists.map(list => list.nextUpdate.getTime()));
  if (now.getTime() > newest + trust.crlGrace) {
    throw new Fault(
      'unknown-caller',
      'the client certificate cannot be checked: its CA’s revocation list is out of date',
      {
        facts: {
          fingerprint: facts.fingerprint,
          nextUpdate: new Date(newest).toISOString(),
          fix: 'fetch a new list, or set crl-grace',
        },
      },
    );
  }
}

const at = (facts: CertificateFacts): { facts: Record<string, unknown> } => ({
  facts: { fingerprint: facts.fingerprint, serial: facts.serial },
});

/** The most recently used entries, a fixed number of them. */
class Recent<T> {
  readonly #entries = new Map<string, T>();
  readonly #limit: number;
  constructor(limit: number) {
    this.#limit = limit;
  }
  get(key: string): T | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }
  set(key: string, value: T): T {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    const oldest = this.#entries.keys().next();
    if (this.#entries.size > this.#limit && !oldest.done) this.#entries.delete(oldest.value);
    return value;
  }
}
