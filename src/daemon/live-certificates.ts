// Who is connected by which client certificate, so that a changed CA file or revocation list also ends live sessions.
import { X509Certificate } from 'node:crypto';
import type { Identify } from '../core/parts.ts';
import type { RoutePlan, RouteTrust } from '../features/proxy/worker.ts';
import { type ClientTrust, certificateChecker, identifyByCertificate } from '../trust/worker.ts';

/** A credential that no longer passes on a route. */
export interface Lapsed {
  readonly route: string;
  readonly credential: string;
}

export interface LiveCertificates {
  /** Whose trust is whose: called with the plans before they are opened. */
  learn(plans: readonly RoutePlan[]): void;
  /** As trust's own, and remembers the certificate as long as its conn lives. */
  identify(trust: RouteTrust): Identify;
  /** Those of live conns that the trust of now would not let in. */
  lapsed(): Lapsed[];
}

interface Live extends Lapsed {
  readonly trust: RouteTrust;
  readonly leaf: Uint8Array;
  readonly chain: readonly Uint8Array[];
}

export function createLiveCertificates(): LiveCertificates {
  const live = new Set<Live>();
  const routeOf = new WeakMap<RouteTrust, string>();
  let current = new Map<string, RouteTrust | undefined>();
  return {
    learn(plans) {
      current = new Map(plans.map(({ name, clients }) => [name, clients]));
      for (const { name, clients } of plans) if (clients) routeOf.set(clients, name);
    },
    identify(trust) {
      const prove = identifyByCertificate(trust as ClientTrust);
      return async (conn, signal) => {
        const who = await prove(conn, signal);
        const route = routeOf.get(trust);
        const { leaf, chain = [] } = conn.tls ?? {};
        if (leaf && route !== undefined && !conn.stream.destroyed) {
          const one: Live = { route, credential: who.credential, trust, leaf, chain };
          live.add(one);
          conn.stream.once('close', () => live.delete(one));
        }
        return who;
      };
    },
    lapsed() {
      const judges = new Map<RouteTrust, (one: Live) => boolean>();
      return [...live].flatMap(one => {
        const trust = current.get(one.route);
        if (!trust || trust === one.trust) return []; // no certificate is asked for any more, or nothing has changed
        let passes = judges.get(trust);
        if (!passes) {
          passes = judgeOf(trust as ClientTrust);
          judges.set(trust, passes);
        }
        return passes(one) ? [] : [{ route: one.route, credential: one.credential }];
      });
    },
  };
}

function judgeOf(trust: ClientTrust): (one: Live) => boolean {
  const checker = certificateChecker(trust);
  const cas = trust.cas.map(pem => new X509Certificate(pem));
  return ({ leaf, chain }) => {
    if (!endsIn(leaf, chain, cas)) return false;
    try {
      checker.check(leaf, chain.length > 0 ? chain : undefined);
      return true;
    } catch {
      return false;
    }
  };
}

/** Whether the chain still leads to a CA that counts; TLS has checked everything else of it in the handshake. */
function endsIn(leaf: Uint8Array, chain: readonly Uint8Array[], cas: readonly X509Certificate[]): boolean {
  let at = new X509Certificate(leaf);
  for (const next of [...chain.map(der => new X509Certificate(der)), undefined]) {
    if (cas.some(ca => ca.fingerprint256 === at.fingerprint256 || (at.checkIssued(ca) && at.verify(ca.publicKey))))
      return true;
    if (!next) return false;
    at = next;
  }
  return false;
}
