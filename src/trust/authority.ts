// The gate's own CA: issues, lists and revokes.
import { createPrivateKey } from 'node:crypto';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import { type CaFiles, type CaOptions, issuerOf, openCaFiles, type RootCa } from './ca-files.ts';
import { formerOf, type RotationStage, type RotationStep, rotateCa, stageOf } from './ca-rotation.ts';
import { parseCertificate, usageOids } from './certificate.ts';
import { type CertificateRecord, openCertificateRecords } from './certificate-records.ts';
import { createNotices } from './notices.ts';
import { answerOcsp } from './ocsp.ts';
import {
  type Bound,
  backdate,
  type ClientRequest,
  type Lifetimes,
  lifetimeOf,
  type Order,
  orderFor,
  type ServerRequest,
  serverNames,
} from './orders.ts';
import { derBlocks, toPem } from './pem.ts';
import type { Reason } from './pki-crl.ts';
import { certificateCredential } from './principal.ts';
import { checkRenewable, revokedMeanwhile } from './renewable.ts';
import { openOwnCrls } from './revocation.ts';
import { createStaples, type Staple } from './staples.ts';

export interface AuthorityOptions {
  readonly store: Store;
  /** The data directory; keys go to `<dir>/ca`. */
  readonly dir: string;
  readonly clock?: Clock;
  readonly log: Log;
  /** What the CA calls itself when it is made; default `Sekisho`. */
  readonly name?: string;
  /** The CA's own keys when it is made; `rsa` for clients that cannot verify ECDSA. */
  readonly key?: 'ecdsa' | 'rsa';
  /** How long what it issues lives, milliseconds; default 90 and 365 days. */
  readonly lifetimes?: Lifetimes;
  /** Written into certificates as their CRL distribution point, when there is one. */
  readonly crlUrl?: string;
  /** `http://gate.example.com`: where the gate answers OCSP and, without a `crlUrl`, hands out each CA's list. */
  readonly httpUrl?: string;
}

/** `cert`, `chain` and `key` are PEM; the key is kept nowhere else. */
export interface Issued {
  readonly serial: string;
  readonly fingerprint: string;
  readonly cert: string;
  /** The issuing CA; the root is `Authority.root()`. */
  readonly chain: readonly string[];
  readonly key: string;
  readonly notAfter: Date;
}
export type Signed = Omit<Issued, 'key'>;

export interface P12Options {
  /** What the importing program shows; default: the user's name. */
  readonly name?: string;
  /** 3DES and SHA-1, for importers that know nothing else. */
  readonly legacy?: boolean;
}

export interface Root {
  /** PEM. */
  readonly cert: string;
  readonly fingerprint: string;
  readonly number: number;
  readonly notAfter: Date;
}

/** Where the CA stands on its way to the next root. */
export interface Rotation {
  readonly stage: RotationStage;
  /** Fingerprint of the root that issues. */
  readonly root: string;
  /** Whether the newest root is certified by the one before it. */
  readonly hasCross: boolean;
  /** Whether the root that issues can certify the next one; false while its key is offline. */
  readonly hasRootKey: boolean;
  readonly ends: { readonly root: Date; readonly issuing: Date };
  /** Certificates that still count, have no successor, and would no longer count were the former root retired. */
  readonly former: readonly CertificateRecord[];
}

export interface Authority extends AsyncDisposable {
  root(): { readonly cert: string; readonly fingerprint: string };
  /** All roots that count: the one that issues first, then the next or the former one. */
  roots(): readonly Root[];
  /**
   * What a server shows above its chain: the root, for who pins it; nothing while the chain leads to the former root as
   * well, since OpenSSL would stop at the root that it does not know. PEM.
   */
  anchor(): string;
  /** PEM: the certificates by which one root certifies the next. */
  crosses(): readonly string[];
  /** PEM: the issuing CA, then the root. */
  chain(): readonly string[];
  /** For ClientTrust: what TLS builds chains with, and which of it names our own users. */
  trust(): { readonly cas: readonly string[]; readonly builtin: readonly string[] };
  issueServer(request: ServerRequest): Promise<Issued>;
  issueClient(request: ClientRequest): Promise<Issued>;
  /** Certifies the key of a signing request (PEM or DER) as a client; the names are those given here. */
  signCsr(request: Bound & { readonly csr: string | Uint8Array }): Promise<Signed>;
  list(filter?: {
    readonly user?: string;
    readonly device?: string;
    readonly revoked?: boolean;
  }): readonly CertificateRecord[];
  /** @throws Fault `missing` */
  show(serial: string): CertificateRecord;
  /**
   * Counts at once, and for the certificates that its holder renewed it into: whoever took the key may have renewed it as
   * well. Revoking again changes nothing. @throws Fault `missing`
   */
  revoke(serial: string, reason?: Reason): Promise<CertificateRecord>;
  /** A certificate and all that it was renewed into: what `revoke` ends. @throws Fault `missing` */
  lineOf(serial: string): readonly CertificateRecord[];
  /** `der` is of this issuing CA (its number; default the one that issues), `pem` of all. */
  crl(number?: number): Promise<{ readonly pem: string; readonly der: Uint8Array }>;
  /** One OCSP request, answered; DER both. Never throws. */
  ocsp(request: Uint8Array): Promise<Uint8Array>;
  /** What a server shows with its certificates, so that clients need not ask. */
  readonly staple: Staple;
  /** Is this the SHA-256 fingerprint (hex) of one of our own issuing CAs' certificates? */
  isBuiltin(fingerprintOfIssuer: string): boolean;
  /** A certificate of ours by its credential (`cert:…`). */
  record(credential: string): CertificateRecord | undefined;
  /** PKCS#12 with key, certificate, issuing CA and root. @throws Fault `invalid` for an empty password */
  exportP12(issued: Issued, password: string, options?: P12Options): Promise<Uint8Array>;
  onRevoked(call: (credential: string) => void): () => void;
  rotation(): Rotation;
  /** @throws Fault `conflict` when it is not this step's turn */
  rotate(step: RotationStep): Promise<void>;
  /** Told after each step: who counts, or who issues, is another. */
  onRotated(call: (step: RotationStep) => void): () => void;
  /** Whether this certificate (`cert:…`) comes from under a root that is about to be retired. */
  isFormer(credential: string): boolean;
}

const day = 86_400_000;
const usual: Lifetimes = { server: 90 * day, client: 365 * day };
/** Of one holder: a client that runs wild fills no disk. */
const renewalsADay = 10;

/** Opens the CA, making it when the directory has none. @throws Fault `invalid` */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { store, dir, log, clock = systemClock } = options;
  const caOptions = (): CaOptions => ({
    ...{ dir, log, now: clock.now(), name: options.name ?? 'Sekisho', key: options.key ?? 'ecdsa' },
  });
  let files = await openCaFiles(caOptions());
  const records = await openCertificateRecords(store);
  const crls = openOwnCrls({ store, issuing: () => files.issuing, records, clock, log });
  const revoked = createNotices<string>(log);
  const rotated = createNotices<RotationStep>(log);
  const staple = createStaples({ issuing: () => files.issuing, records, onRevoked: revoked.on, clock, log });
  const issuing = (): CaFiles['issuing'][number] => presentIssuer(files);
  /** The way up for who knows only the root before. */
  const cross = (): string[] => {
    const before = files.roots.some(({ number }) => number < files.root.number);
    return before && files.root.cross !== undefined ? [files.root.cross] : [];
  };

  /** Each issuing CA has a list of its own, and its certificates must lead to that one also when another issues. */
  const places = (number: number): { crl?: string; ocsp?: string } => {
    const { crlUrl, httpUrl } = options;
    const crl = crlUrl ?? (httpUrl === undefined ? undefined : `${httpUrl}/ca-${number}.crl`);
    return { ...(crl === undefined ? {} : { crl }), ...(httpUrl === undefined ? {} : { ocsp: `${httpUrl}/ocsp` }) };
  };
  const certify = async (order: Order): Promise<Signed> => {
    const { signCertificate } = await import('./pki.ts');
    const before = order.replaces === undefined ? undefined : renewable(order, order.replaces);
    const issuer = issuing();
    const now = clock.now().getTime();
    const notAfter = new Date(
      Math.min(now + lifetimeOf(order, options.lifetimes ?? usual, before), issuer.facts.notAfter.getTime()),
    );
    const der = await signCertificate(
      {
        subject: order.subject,
        names: order.names,
        publicKey: order.publicKey,
        notBefore: new Date(now - backdate),
        notAfter,
        use: { ca: false, usages: [order.kind === 'server' ? usageOids.server : usageOids.client] },
        ...places(issuer.number),
      },
      { key: issuer.key, certificate: issuer.facts.der },
    );
    const facts = parseCertificate(der);
    const { serial, fingerprint } = facts;
    const cert = toPem('CERTIFICATE', der);
    const { kind, name, names, subject } = order;
    await records.add({
      ...{ serial, fingerprint, kind, name, names, subject, cert },
      ...{ issuer: issuer.facts.fingerprint, notBefore: facts.notBefore, notAfter: facts.notAfter },
      ...(before === undefined ? {} : { replaces: before.serial }),
    });
    // It was revoked while this one was signed, and its line was looked up before this one stood in it.
    if (before !== undefined && records.bySerial(before.serial)?.revoked) {
      await authority.revoke(serial, 'superseded');
      throw revokedMeanwhile(before.serial);
    }
    log.info({ serial, kind, name, names, notAfter: facts.notAfter }, 'certificate issued');
    return { serial, fingerprint, cert, chain: [issuer.pem, ...cross()], notAfter: facts.notAfter };
  };
  /** What is to be renewed. @throws Fault `missing`, `conflict`, `limit` */
  const renewable = (order: Order, serial: string): CertificateRecord => {
    const before = found(records.bySerial(normalSerial(serial)), serial);
    checkRenewable(before, order, clock.now());
    const since = clock.now().getTime() - day;
    const sameDay = records
      .all()
      .filter(
        ({ replaces, kind, name, notBefore }) =>
          replaces !== undefined && kind === order.kind && name === order.name && notBefore.getTime() > since,
      );
    if (sameDay.length < renewalsADay) return before;
    throw new Fault('limit', `${order.kind} ${order.name} has renewed ${renewalsADay} certificates within a day`);
  };
  const issue = async (order: Omit<Order, 'publicKey'>, kind: 'rsa' | 'ecdsa'): Promise<Issued> => {
    const { newKey, publicKeyOf } = await import('./pki.ts');
    const key = await newKey(kind);
    const signed = await certify({ ...order, publicKey: publicKeyOf(key) });
    return { ...signed, key: key.export({ type: 'pkcs8', format: 'pem' }) as string };
  };

  /** A certificate and all that it was renewed into. */
  const lineOf = (first: string): CertificateRecord[] => {
    const line: CertificateRecord[] = [];
    const serials = [found(records.bySerial(normalSerial(first)), first).serial];
    for (const next of serials) {
      const record = records.bySerial(next);
      if (record) line.push(record);
      serials.push(...records.renewalsOf(next));
    }
    return line;
  };

  const authority: Authority = {
    root: () => ({ cert: files.root.pem, fingerprint: files.root.facts.fingerprint }),
    roots: () => [files.root, ...files.roots.filter(one => one !== files.root)].map(rootView),
    anchor: () => (cross().length > 0 ? '' : files.root.pem),
    crosses: () => files.roots.flatMap(one => one.cross ?? []),
    chain: () => [issuing().pem, files.root.pem],
    trust: () => {
      const all = files.issuing.map(ca => ca.pem);
      return { cas: [...files.roots.map(({ pem }) => pem), ...all], builtin: all };
    },
    async issueServer(request) {
      const order = { ...(await serverNames(request.names)), kind: 'server' as const, name: '', days: request.days };
      return issue(order, request.key ?? 'rsa');
    },
    async issueClient(request) {
      return issue(orderFor(request), request.key ?? 'rsa');
    },
    async signCsr(request) {
      const { keyOfCsr } = await import('./pki-csr.ts');
      return certify({ ...orderFor(request), publicKey: await keyOfCsr(request.csr) });
    },
    list: (filter = {}) =>
      records
        .all()
        .filter(
          record =>
            (filter.user === undefined || (record.kind === 'user' && record.name === filter.user)) &&
            (filter.device === undefined || (record.kind === 'device' && record.name === filter.device)) &&
            (filter.revoked === undefined || (record.revoked !== undefined) === filter.revoked),
        ),
    show: serial => found(records.bySerial(normalSerial(serial)), serial),
    async revoke(serial, reason = 'unspecified') {
      const first = found(records.bySerial(normalSerial(serial)), serial);
      let ended = 0;
      const line = [first.serial];
      for (const next of line) {
        const isNews = await records.revoke(next, clock.now(), reason);
        // Looked up once it counts no more: nothing can be renewed from it after that.
        line.push(...records.renewalsOf(next));
        const one = records.bySerial(next);
        if (!isNews || !one) continue;
        ended += 1;
        log.info({ serial: next, reason }, 'certificate revoked');
        revoked.tell(certificateCredential(one.fingerprint));
      }
      if (ended > 0) {
        // It already counts here; the list is for others, and is made anew when it is next asked for.
        await crls.refresh().catch((error: unknown) => log.error({ error }, 'the revocation list could not be made'));
      }
      return found(records.bySerial(first.serial), serial);
    },
    lineOf,
    crl: number => crls.current(number),
    ocsp: request => answerOcsp(request, { issuing: () => files.issuing, records, clock }),
    staple,
    isBuiltin: fingerprint =>
      files.issuing.some(ca => ca.facts.fingerprint === fingerprint.toLowerCase().replaceAll(':', '')),
    record: credential => (credential.startsWith('cert:') ? records.byFingerprint(credential.slice(5)) : undefined),
    async exportP12(issued, password, { name, legacy = false } = {}) {
      const [certificate = new Uint8Array(), ...chain] = [issued.cert, ...issued.chain, files.root.pem].flatMap(pem =>
        derBlocks(pem, 'CERTIFICATE'),
      );
      const label = name ?? records.bySerial(issued.serial)?.name ?? 'sekisho';
      const contents = { key: createPrivateKey(issued.key), certificate, chain, name: label };
      if (legacy) return (await import('./pki-p12-legacy.ts')).makeLegacyP12(contents, password);
      return (await import('./pki-p12.ts')).makeP12(contents, password);
    },
    onRevoked: revoked.on,
    rotation: () => ({
      stage: stageOf(files),
      root: files.root.facts.fingerprint,
      hasCross: files.roots.at(-1)?.cross !== undefined,
      hasRootKey: files.root.key !== undefined,
      ends: { root: files.root.facts.notAfter, issuing: issuing().facts.notAfter },
      former: formerOf(records.all(), files, clock.now()),
    }),
    async rotate(step) {
      files = await rotateCa(step, files, caOptions());
      log.info({ step, root: files.root.facts.fingerprint }, 'the CA has taken a step to its next root');
      await crls.refresh().catch((error: unknown) => log.error({ error }, 'the revocation list could not be made'));
      rotated.tell(step);
    },
    onRotated: rotated.on,
    isFormer: credential => {
      const record = records.byFingerprint(credential.slice(5));
      return files.issuing.some(ca => ca.facts.fingerprint === record?.issuer && ca.root < files.root.number);
    },
    [Symbol.asyncDispose]: () => crls[Symbol.asyncDispose](),
  };
  return authority;
}

function presentIssuer(files: CaFiles): CaFiles['issuing'][number] {
  const newest = issuerOf(files);
  if (!newest) throw new Fault('invalid', 'the CA folder has no issuing CA');
  return newest;
}

const rootView = ({ pem, facts, number }: RootCa): Root => ({
  ...{ cert: pem, fingerprint: facts.fingerprint, number, notAfter: facts.notAfter },
});

/** As openssl prints it (upper case, colons) or as we do. */
const normalSerial = (serial: string): string => serial.toLowerCase().replaceAll(':', '').replace(/^0x/, '');

function found(record: CertificateRecord | undefined, serial: string): CertificateRecord {
  if (record) return record;
  throw new Fault('missing', `no certificate has the serial number ${serial}; cert list shows them`);
}
