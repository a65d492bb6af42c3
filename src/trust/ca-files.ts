// The gate's own CA on disk: a root and the intermediates under it. Keys never enter the database.
//
//   <dir>/ca/root.crt  root.key            10 years; root.key may be taken away (offline root)
//   <dir>/ca/issuing-1.crt  issuing-1.key  issues; a new one follows when less than a year is left
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { type CertificateFacts, parseCertificate } from './certificate.ts';
import { readSecretFile, writeFolder, writeNew } from './key-files.ts';
import { derBlocks, toPem } from './pem.ts';

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
}

export interface CaFiles {
  readonly root: { readonly facts: CertificateFacts; readonly pem: string; readonly key?: KeyObject };
  /** Newest last; the last one issues, the others' certificates still count until they end. */
  readonly issuing: readonly IssuingCa[];
}

const day = 86_400_000;
const years = 365.25 * day;

/** Loads the CA, or makes it when there is none. @throws Fault `invalid` */
export async function openCaFiles(options: CaOptions): Promise<CaFiles> {
  const folder = join(options.dir, 'ca');
  const found = (await loadCa(folder)) ?? (await createCa(folder, options));
  const newest = found.issuing.at(-1);
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
  const { newKey, publicKeyOf, signCertificate } = await import('./pki.ts');
  const rootKey = await newKey(options.key === 'rsa' ? 'rsa' : 'ecdsa-p384');
  const root = await signCertificate(
    {
      subject: { cn: `${options.name} Root CA`, o: options.name },
      names: [],
      publicKey: publicKeyOf(rootKey),
      notBefore: new Date(options.now.getTime() - 300_000),
      notAfter: new Date(options.now.getTime() + 10 * years),
      use: { ca: true },
    },
    { key: rootKey },
  );
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

async function addIssuing(folder: string, found: CaFiles, options: CaOptions): Promise<CaFiles> {
  const { root, issuing } = found;
  if (!root.key) return found;
  // Nothing may outlive the root: when it is about to end itself, a new CA has to be rolled out by people.
  if (root.facts.notAfter.getTime() - options.now.getTime() < 1.5 * years) {
    options.log.warn(
      { ends: root.facts.notAfter },
      'the root CA is about to end; plan a new data directory and roll its ca.pem out',
    );
    if (issuing.length > 0) return found;
  }
  // Beyond every number that was ever begun: a key whose certificate was never written stays alone.
  const begun = (await filesIn(folder)).map(name => Number(/^issuing-(\d+)\./.exec(name)?.[1] ?? 0));
  const number = Math.max(0, ...begun) + 1;
  const next = await makeIssuing(number, { der: root.facts.der, key: root.key }, options);
  // The key first: a certificate without its key would be taken for the newest issuer.
  await writeNew(join(folder, `issuing-${number}.key`), pemOf(next.key));
  await writeNew(join(folder, `issuing-${number}.crt`), next.pem);
  options.log.info({ number, ends: next.facts.notAfter }, 'made a new issuing CA');
  return (await loadCa(folder)) ?? found;
}

async function makeIssuing(
  number: number,
  root: { der: Uint8Array; key: KeyObject },
  { now, key, name }: CaOptions,
): Promise<IssuingCa> {
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

async function loadCa(folder: string): Promise<CaFiles | undefined> {
  const names = await filesIn(folder);
  if (!names.includes('root.crt')) {
    if (names.length === 0) return undefined;
    throw new Fault('invalid', `${folder} holds files but no root.crt; restore the folder from a backup`);
  }
  const root = await loadCertificate(join(folder, 'root.crt'));
  const rootKey = await loadKey(join(folder, 'root.key'), root.pem);
  const numbers = names.flatMap(name => /^issuing-(\d+)\.crt$/.exec(name)?.[1] ?? []).map(Number);
  const issuing: IssuingCa[] = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const certificate = await loadCertificate(join(folder, `issuing-${number}.crt`));
    if (!new X509Certificate(certificate.pem).verify(new X509Certificate(root.pem).publicKey)) {
      throw new Fault(
        'invalid',
        `${folder}/issuing-${number}.crt is not signed by root.crt; restore the folder from a backup`,
      );
    }
    const key = await loadKey(join(folder, `issuing-${number}.key`), certificate.pem);
    if (!key) throw new Fault('invalid', `${folder}/issuing-${number}.key is missing; restore it from a backup`);
    issuing.push({ ...certificate, key });
  }
  return { root: { ...root, ...(rootKey ? { key: rootKey } : {}) }, issuing };
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

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;
