// What the CA is asked for, and what becomes of it: names as they stand in the certificate, and how long it may live.
import { Fault } from '../core/fault.ts';
import type { CertificateRecord } from './certificate-records.ts';
import type { AlternativeName, Subject } from './pki.ts';
import { subjectUri } from './principal.ts';
import { checkedName } from './users.ts';

export interface ServerRequest {
  /** Host names and IP addresses. */
  readonly names: readonly string[];
  /** Default `rsa`, which every client understands. */
  readonly key?: 'rsa' | 'ecdsa';
  readonly days?: number;
}

export interface ClientRequest extends Bound {
  readonly key?: 'rsa' | 'ecdsa';
}

/** Whom a certificate is for (exactly one of `user` and `device`), and what stands in its name. */
export interface Bound {
  readonly user?: string;
  readonly device?: string;
  /** Default: the user's or device's name. */
  readonly cn?: string;
  readonly ou?: readonly string[];
  readonly o?: string;
  readonly days?: number;
  /**
   * The serial of the certificate that is renewed: it must still count and be the same holder's with the same subject.
   * Without `days` the new one lives as long as that one was to live.
   */
  readonly replaces?: string;
}

/** What is to be signed. */
export interface Order {
  readonly kind: CertificateRecord['kind'];
  readonly name: string;
  readonly subject: Subject;
  readonly names: readonly AlternativeName[];
  readonly publicKey: Uint8Array;
  readonly days: number | undefined;
  readonly replaces?: string;
}

/** @throws Fault `invalid` */
export function orderFor(bound: Bound): Omit<Order, 'publicKey'> {
  const kind = bound.device === undefined ? 'user' : 'device';
  const given = bound.device ?? bound.user;
  if (given === undefined || (bound.device !== undefined && bound.user !== undefined)) {
    throw new Fault('invalid', 'a client certificate is for one user or for one device');
  }
  const name = checkedName(given, kind);
  const subject: Subject = {
    cn: bound.cn ?? name,
    ...(bound.ou === undefined ? {} : { ou: bound.ou }),
    ...(bound.o === undefined ? {} : { o: bound.o }),
  };
  return {
    kind,
    name,
    subject,
    names: [`URI:${subjectUri(kind, name)}`],
    days: bound.days,
    ...(bound.replaces === undefined ? {} : { replaces: bound.replaces }),
  };
}

/** @throws Fault `invalid` */
export async function serverNames(hosts: readonly string[]): Promise<{ names: AlternativeName[]; subject: Subject }> {
  const { alternativeName, hostName } = await import('./pki.ts');
  const { isIP } = await import('node:net');
  const names = [
    ...new Set(hosts.map(host => (isIP(host) === 0 ? alternativeName(hostName(host)) : alternativeName(host)))),
  ];
  const first = names[0]?.replace(/^\w+:/, '');
  if (!first) throw new Fault('invalid', 'a server certificate needs at least one name or address');
  // A CN holds 64 characters; the names that count are the alternative ones anyway.
  return { names, subject: first.length <= 64 ? { cn: first } : { cn: 'sekisho' } };
}

const day = 86_400_000;
/** Clocks of clients are a few minutes off. */
export const backdate = 300_000;
/** Days. Apple's TLS refuses servers' certificates that live longer, from private CAs too. */
const longestServer = 825;
const longestClient = 3650;

/** How long what is issued lives where nothing is asked for, milliseconds. */
export interface Lifetimes {
  readonly server: number;
  readonly client: number;
}

/** Without days, a renewed certificate lives as long as the one before was to live. @throws Fault `invalid` */
export function lifetimeOf({ kind, days }: Order, usual: Lifetimes, before?: CertificateRecord): number {
  if (days === undefined && before) return before.notAfter.getTime() - before.notBefore.getTime() - backdate;
  if (days === undefined) return kind === 'server' ? usual.server : usual.client;
  const most = kind === 'server' ? longestServer : longestClient;
  if (days > 0 && days <= most) return days * day;
  throw new Fault('invalid', `this certificate may live for up to ${most} days, not ${days}`);
}
