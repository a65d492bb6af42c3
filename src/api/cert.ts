// cert: certificates of the gate's own CA.
import { X509Certificate } from 'node:crypto';
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import { type Authority, type CertificateRecord, expiringWithin, type Issued, type Signed } from '../trust/index.ts';
import type { CertificateAnswer } from './contract/cert.ts';
import type { ParsedOf } from './contract/routes.ts';
import { noteCuts } from './cut.ts';
import type { ApiDeps } from './deps.ts';
import { searching } from './search.ts';
import type { Handlers } from './verbs.ts';

type Order = ParsedOf<'cert.issue'>['body'];

export function certHandlers(
  deps: ApiDeps,
): Pick<Handlers, 'cert.ca' | 'cert.issue' | 'cert.list' | 'cert.show' | 'cert.revoke' | 'cert.crl'> {
  const { authority, clock } = deps;
  return {
    'cert.ca': async () => {
      const { cert, fingerprint } = authority.root();
      return {
        cert,
        chain: [...authority.chain()],
        roots: authority.roots().map(root => root.cert),
        fingerprint,
        notAfter: new Date(new X509Certificate(cert).validTo).toISOString(),
      };
    },
    'cert.issue': async ({ body, note }) => {
      const issued = await issue(authority, body);
      note({ serial: issued.serial, fingerprint: issued.fingerprint, kind: body.kind, name: body.name });
      const { serial, fingerprint, cert, chain } = issued;
      const common = {
        ...{ serial, fingerprint, cert, chain: [...chain] },
        ca: authority.root().cert,
        notAfter: issued.notAfter.toISOString(),
      };
      if (!('key' in issued)) return common;
      if (body.format === 'pem') return { ...common, key: issued.key };
      const legacy = body.format === 'p12-legacy';
      const p12 = await authority.exportP12(issued, body.password ?? '', { name: body.name, legacy });
      return { ...common, p12: Buffer.from(p12).toString('base64') };
    },
    'cert.list': async ({ query }) => {
      const { expiring, user, state, offset, limit } = query;
      const now = clock.now();
      const all = authority.list();
      const records =
        expiring === undefined
          ? [...all].sort((a, b) => b.notBefore.getTime() - a.notBefore.getTime())
          : expiringWithin(all, now, parseDuration(expiring));
      const isWanted = searching(query.search, textsOf);
      const found = records.filter(
        record =>
          (user === undefined || record.name === user) &&
          (state === undefined || stateOf(record, now) === state) &&
          isWanted(record),
      );
      const page = found.slice(offset, offset + limit);
      return { certs: page.map(record => toCertificate(record, now)), total: found.length };
    },
    'cert.show': async ({ params }) => {
      const record = authority.show(params.serial);
      return { ...toCertificate(record, clock.now()), cert: record.cert };
    },
    'cert.revoke': async ({ params, body, note }) => {
      const line = authority.lineOf(params.serial).map(({ fingerprint }) => `cert:${fingerprint}`);
      noteCuts(deps.sessions, ({ credential }) => line.includes(credential), note);
      const record = await authority.revoke(params.serial, body.reason);
      note({ fingerprint: record.fingerprint, name: record.name, reason: body.reason });
      return { serial: record.serial, revoked: true };
    },
    'cert.crl': async () => ({ crl: (await authority.crl()).pem }),
  };
}

/** One row a way of issuing; the first that fits. What does not go together is refused, never ignored. */
async function issue(authority: Authority, order: Order): Promise<Issued | Signed> {
  const { name, kind, cn, ou, o, names, days, key, csr, format, password } = order;
  const refuse = (text: string): never => {
    throw new Fault('invalid', text);
  };
  if (format !== 'pem' && password === undefined) refuse('a PKCS#12 file needs a password');
  if (format !== 'pem' && csr !== undefined)
    refuse('with a signing request there is no key to put into PKCS#12; ask for pem');
  if (kind === 'client' && names.length > 0)
    refuse('a client certificate has no further names; they belong to kind "server"');
  if (csr !== undefined && key !== undefined) refuse('a signing request brings its own key; leave "key" out');
  const life = days === undefined ? {} : { days };
  const made = key === undefined ? {} : { key };
  if (kind === 'server') {
    if (csr !== undefined)
      refuse('signing requests are for client certificates; a server certificate is issued with its key');
    if (cn !== undefined || ou.length > 0 || o !== undefined)
      refuse('a server certificate carries names only, no cn, ou or o');
    return authority.issueServer({ names: [name, ...names], ...life, ...made });
  }
  const bound = { user: name, ...definedOf({ cn, o }), ...(ou.length === 0 ? {} : { ou }), ...life };
  return csr === undefined ? authority.issueClient({ ...bound, ...made }) : authority.signCsr({ ...bound, csr });
}

/** Everything that a certificate is found by; people paste serials with colons. */
const textsOf = ({ name, names, serial, subject: { cn = '', ou = [], o = '' } }: CertificateRecord): string[] => [
  ...[name, cn, o, ...ou, ...names, serial, (serial.match(/../g) ?? []).join(':')],
];

const stateOf = ({ revoked, notAfter }: CertificateRecord, now: Date): CertificateAnswer['state'] =>
  revoked ? 'revoked' : notAfter <= now ? 'expired' : 'valid';

function toCertificate(record: CertificateRecord, now: Date): CertificateAnswer {
  const { serial, fingerprint, kind, name, names, subject, notBefore, notAfter, revoked, replaces } = record;
  return {
    serial,
    kind,
    name: name || ((names.find(text => text.startsWith('DNS:')) ?? names[0])?.replace(/^\w+:/, '') ?? ''),
    subject: kind === 'server' ? names.map(text => text.replace(/^\w+:/, '')).join(', ') : subjectText(subject),
    fingerprint,
    notBefore: notBefore.toISOString(),
    notAfter: notAfter.toISOString(),
    state: stateOf(record, now),
    ...definedOf({ replaces }),
    ...(revoked ? { revoked: { at: revoked.at.toISOString(), reason: revoked.reason } } : {}),
  };
}

/** `cn=staff01, ou=…, o=…` */
export const subjectText = ({ cn, ou = [], o }: CertificateRecord['subject']): string =>
  [`cn=${cn ?? ''}`, ...ou.map(text => `ou=${text}`), ...(o ? [`o=${o}`] : [])].join(', ');

type Defined<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };
/** Without what is undefined: an optional property is absent, never undefined. */
export const definedOf = <T extends object>(values: T): Defined<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
