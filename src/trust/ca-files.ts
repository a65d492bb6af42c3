// The gate's own CA on disk: a root and the intermediates under it. Keys never enter the database.
//
//   <dir>/ca/root.crt  root.key            10 years; root.key may be taken away (offline root)
//   <dir>/ca/issuing-1.crt  issuing-1.key  issues; a new one follows when less than a year is left
//   <dir>/ca/root-2.crt  root-2.key        the root that follows, trusted beside the first (ca-rotation.ts)
//   <dir>/ca/cross-2.crt                   that root's key, certified by the one before: for who knows only that one
//   <dir>/ca/active                        the number of the root that issues; absent = 1
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { type CertificateFacts, parseCertificate } from './certificate.ts';
import { readSecretFile, writeFolder, writeNew } from './key-files.ts';
import { derBlocks, toPem } from './pem.ts';
import type { Subject } from './pki.ts';

export interface CaOptions {
  readonly dir: string;
  readonly now: Date;
  readonly log: Log;
  /** The O of both names, and the first word of their CN. */
  readonly name: string;
  /** Keys of root and intermediate: ECDSA (P-384, P-256) unless clients exist that can only verify RSA. */
  readonly key: 'ecdsa' | 'rsa';
}

export interface IssuingCa {
  readonly facts: CertificateFacts;
  readonly pem: string;
  readonly key: KeyObject;
  /** In the name of its files. */
  readonly number: number;
  /** The number of the root above it. */
  readonly root: number;
}

export interface RootCa {
  readonly number: number;
  readonly facts: CertificateFacts;
  readonly pem: string;
  /** Absent where it is kept offline. */
  readonly key?: KeyObject;
  /** PEM: this root's name and key, certified by the root before it. */
  readonly cross?: string;
}

export interface CaFiles {
  /** The one under which is issued. */
  readonly root: RootCa;
  /** All that count, that one included; in order. */
  readonly roots: readonly RootCa[];
  /** Under all of them, newest last; those of other roots still count until they end. */
  readonly issuing: readonly IssuingCa[];
}

/** The one that issues. */
export const issuerOf = ({ root, issuing }: CaFiles): IssuingCa | undefined =>
  issuing.findLast(one => one.root === root.number);

const day = 86_400_000;
const years = 365.25 * day;

/** Loads the CA, or makes it when there is none. @throws Fault `invalid` */
export async function openCaFiles(options: CaOptions): Promise<CaFiles> {
  const folder = join(options.dir, 'ca');
  const found = (await loadCa(folder)) ?? (await createCa(folder, options));
  const newest = issuerOf(found);
  if (newest && newest.facts.notAfter.getTime() - options.now.getTime() > years) return found;
  if (!found.root.key) {
    options.log.warn(
      { ends: newest?.facts.notAfter },
      'the issuing CA ends within a year and ca/root.key is offline; put it back so that a new one can be made',
    );
    if (newest) return found;
    throw new Fault(
      'invalid',
      `${folder} has no issuing CA and no root.key to make one; restore the folder from a backup`,
    );
  }
  return addIssuing(folder, found, options);
}

async function createCa(folder: string, options: CaOptions): Promise<CaFiles> {
  const { der: root, key: rootKey } = await makeRoot(1, options);
  const issuing = await makeIssuing(1, { der: root, key: rootKey }, options);
  const files: Record<string, string> = {
    'root.crt': toPem('CERTIFICATE', root),
    'root.key': pemOf(rootKey),
    'issuing-1.crt': issuing.pem,
    'issuing-1.key': pemOf(issuing.key),
  };
  const made = await writeFolder(folder, files);
  if (made) options.log.info({ folder }, 'made a CA of our own; its root key is ca/root.key');
  const loaded = await loadCa(folder);
  if (!loaded) throw new Fault('invalid', `${folder} vanished while it was being made`);
  return loaded;
}

/** The number keeps the names apart: whoever looks for an issuer by its name must not find another's key. */
export const rootSubject = (number: number, name: string): Subject => ({
  cn: number === 1 ? `${name} Root CA` : `${name} Root CA ${number}`,
  o: name,
});

export async function makeRoot(
  number: number,
  { now, key, name }: CaOptions,
): Promise<{ readonly der: Uint8Array; readonly key: KeyObject }> {
  const { newKey, publicKeyOf, signCertificate } = await import('./pki.ts');
  const own = await newKey(key === 'rsa' ? 'rsa' : 'ecdsa-p384');
  const der = await signCertificate(
    {
      subject: rootSubject(number, name),
      names: [],
      publicKey: publicKeyOf(own),
      notBefore: new Date(now.getTime() - 300_000),
      notAfter: new Date(now.getTime() + 10 * years),
      use: { ca: true },
    },
    { key: own },
  );
  return { der, key: own };
}

async function addIssuing(folder: string, found: CaFiles, options: CaOptions): Promise<CaFiles> {
  const { root, issuing } = found;
  if (!root.key) return found;
  // Nothing may outlive the root: when it is about to end itself, a new CA has to be rolled out by people.
  if (root.facts.notAfter.getTime() - options.now.getTime() < 1.5 * years) {
    options.log.warn(
      { ends: root.facts.notAfter },
      'the root CA is about to end; begin to roll the next one out: sekisho cert rotate',
    );
    if (issuing.some(one => one.root === root.number)) return found;
  }
  const number = await nextNumber(folder, /^issuing-(\d+)\./);
  const next = await makeIssuing(number, { der: root.facts.der, key: root.key }, options);
  // The key first: a certificate without its key would be taken for the newest issuer.
  await writeNew(join(folder, `issuing-${number}.key`), pemOf(next.key));
  await writeNew(join(folder, `issuing-${number}.crt`), next.pem);
  options.log.info({ number, ends: next.facts.notAfter }, 'made a new issuing CA');
  return (await loadCa(folder)) ?? found;
}

/** Beyond every number that was ever begun: a key whose certificate was never written stays alone. */
export async function nextNumber(folder: string, pattern: RegExp): Promise<number> {
  const names = [...(await filesIn(folder)), ...(await filesIn(join(folder, retiredFolder)))];
  return Math.max(0, ...names.map(name => Number(pattern.exec(name)?.[1] ?? 0))) + 1;
}

export async function makeIssuing(
  number: number,
  root: { der: Uint8Array; key: KeyObject },
  { now, key, name }: CaOptions,
): Promise<Omit<IssuingCa, 'root' | 'number'>> {
  const { newKey, publicKeyOf, signCertificate } = await import('./pki.ts');
  const own = await newKey(key);
  const end = Math.min(now.getTime() + 5 * years, parseCertificate(root.der).notAfter.getTime());
  const der = await signCertificate(
    {
      // The number keeps the names apart: a CRL belongs to a name.
      subject: { cn: `${name} Issuing CA ${number}`, o: name },
      names: [],
      publicKey: publicKeyOf(own),
      notBefore: new Date(now.getTime() - 300_000),
      notAfter: new Date(end),
      use: { ca: true, path: 0 },
    },
    { key: root.key, certificate: root.der },
  );
  return { facts: parseCertificate(der), pem: toPem('CERTIFICATE', der), key: own };
}

export async function loadCa(folder: string): Promise<CaFiles | undefined> {
  const names = await filesIn(folder);
  const numbered = (pattern: RegExp): number[] =>
    names.flatMap(name => pattern.exec(name)?.slice(1, 2) ?? []).map(text => Number(text ?? 1));
  const rootNumbers = numbered(/^root(?:-(\d+))?\.crt$/).sort((a, b) => a - b);
  if (rootNumbers.length === 0) {
    if (names.length === 0) return undefined;
    throw new Fault('invalid', `${folder} holds files but no root.crt; restore the folder from a backup`);
  }
  const roots: RootCa[] = [];
  for (const number of rootNumbers) roots.push(await loadRoot(folder, number, names));
  const issuing: IssuingCa[] = [];
  for (const number of numbered(/^issuing-(\d+)\.crt$/).sort((a, b) => a - b)) {
    const certificate = await loadCertificate(join(folder, `issuing-${number}.crt`));
    const leaf = new X509Certificate(certificate.pem);
    const root = roots.find(one => leaf.verify(new X509Certificate(one.pem).publicKey));
    if (!root) {
      throw new Fault(
        'invalid',
        `${folder}/issuing-${number}.crt is not signed by root.crt; restore the folder from a backup`,
      );
    }
    const key = await loadKey(join(folder, `issuing-${number}.key`), certificate.pem);
    if (!key) throw new Fault('invalid', `${folder}/issuing-${number}.key is missing; restore it from a backup`);
    issuing.push({ ...certificate, key, number, root: root.number });
  }
  const active = names.includes(activeFile) ? Number(await readFile(join(folder, activeFile), 'utf8')) : rootNumbers[0];
  const root = roots.find(({ number }) => number === active);
  if (!root)
    throw new Fault('invalid', `${folder}/${activeFile} names no root that is there; restore it from a backup`);
  return { root, roots, issuing };
}

export const activeFile = 'active';
export const retiredFolder = 'retired';
export const rootFile = (number: number): string => (number === 1 ? 'root' : `root-${number}`);

async function loadRoot(folder: string, number: number, names: readonly string[]): Promise<RootCa> {
  const at = (name: string): string => join(folder, name);
  const root = await loadCertificate(at(`${rootFile(number)}.crt`));
  const key = await loadKey(at(`${rootFile(number)}.key`), root.pem);
  const cross = `cross-${number}.crt`;
  return {
    ...{ number, ...root },
    ...(key ? { key } : {}),
    ...(names.includes(cross) ? { cross: (await loadCertificate(at(cross))).pem } : {}),
  };
}

async function filesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new Fault('invalid', `${folder} cannot be read; run the gate as the user who owns it`, { cause });
  }
}

async function loadCertificate(path: string): Promise<{ facts: CertificateFacts; pem: string }> {
  try {
    const [der] = derBlocks(await readFile(path), 'CERTIFICATE');
    if (!der) throw new Error('empty');
    return { facts: parseCertificate(der), pem: toPem('CERTIFICATE', der) };
  } catch (cause) {
    throw new Fault('invalid', `${path} is not a certificate; restore it from a backup`, { cause });
  }
}

/** A key that must belong to the certificate. */
async function loadKey(path: string, certificate: string): Promise<KeyObject | undefined> {
  const text = await readSecretFile(path);
  if (!text) return undefined;
  try {
    const key = createPrivateKey(text);
    if (new X509Certificate(certificate).checkPrivateKey(key)) return key;
  } catch (cause) {
    throw new Fault('invalid', `${path} is not a private key; restore it from a backup`, { cause });
  }
  throw new Fault('invalid', `${path} does not belong to the certificate beside it; restore both from a backup`);
}

export const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;
