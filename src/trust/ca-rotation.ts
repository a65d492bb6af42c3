// The CA's root gives way to the next one, in steps that each can be waited after; the files say where it stands.
//
//   prepare   root N+1, an issuing CA under it, and root N+1's key certified by root N; both roots count, N issues
//   switch    N+1 issues; servers show the certificate by root N as well, so who knows only N still verifies
//   retire    N no longer counts; its files go to ca/retired
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import {
  activeFile,
  type CaFiles,
  type CaOptions,
  loadCa,
  makeIssuing,
  makeRoot,
  nextNumber,
  pemOf,
  type RootCa,
  retiredFolder,
  rootFile,
  rootSubject,
} from './ca-files.ts';
import { parseCertificate } from './certificate.ts';
import type { CertificateRecord } from './certificate-records.ts';
import { replaceFile, writeNew } from './key-files.ts';
import { toPem } from './pem.ts';

export type RotationStep = 'prepare' | 'switch' | 'retire' | 'abandon';
export type RotationStage = 'steady' | 'prepared' | 'switched';

/** A root newer than the one that issues is the next, one older a former; without an issuing CA it was never finished. */
export function stageOf({ root, roots, issuing }: CaFiles): RotationStage {
  const complete = roots.filter(one => issuing.some(ca => ca.root === one.number));
  if (complete.some(({ number }) => number > root.number)) return 'prepared';
  return complete.some(({ number }) => number < root.number) ? 'switched' : 'steady';
}

/** What may follow, the way back last. */
export const stepsAfter: Readonly<Record<RotationStage, readonly RotationStep[]>> = {
  steady: ['prepare'],
  prepared: ['switch', 'abandon'],
  switched: ['retire'],
};

/** @throws Fault `conflict` when it is not this step's turn */
export async function rotateCa(step: RotationStep, files: CaFiles, options: CaOptions): Promise<CaFiles> {
  const stage = stageOf(files);
  if (!stepsAfter[stage].includes(step)) {
    throw new Fault('conflict', `the CA is ${stage}; what can follow is: ${stepsAfter[stage].join(', ')}`);
  }
  const folder = join(options.dir, 'ca');
  await steps[step](folder, files, options);
  const next = await loadCa(folder);
  if (!next) throw new Fault('invalid', `${folder} vanished while it was being changed`);
  return next;
}

const steps: Readonly<Record<RotationStep, (folder: string, files: CaFiles, options: CaOptions) => Promise<void>>> = {
  async prepare(folder, { root }, options) {
    const number = await nextNumber(folder, /^root-(\d+)\./);
    const own = Math.max(number, root.number + 1);
    const next = await makeRoot(own, options);
    const issuingNumber = await nextNumber(folder, /^issuing-(\d+)\./);
    const issuing = await makeIssuing(issuingNumber, next, options);
    const cross = root.key ? await certifyRoot(own, next.der, root, options) : undefined;
    if (!cross) {
      options.log.warn(
        {},
        'the root key is offline, so the next root is not certified by it; who knows only this root will refuse the next',
      );
    }
    const write = (name: string, text: string): Promise<boolean> => writeNew(join(folder, name), text);
    // Keys first, and the issuing CA's certificate last: until it is there the next root counts for nothing.
    await write(`${rootFile(own)}.key`, pemOf(next.key));
    await write(`issuing-${issuingNumber}.key`, pemOf(issuing.key));
    if (cross) await write(`cross-${own}.crt`, cross);
    await write(`${rootFile(own)}.crt`, toPem('CERTIFICATE', next.der));
    await write(`issuing-${issuingNumber}.crt`, issuing.pem);
  },
  async switch(folder, { root, roots, issuing }) {
    const next = roots.findLast(({ number }) => number > root.number && issuing.some(ca => ca.root === number));
    await replaceFile(join(folder, activeFile), `${next?.number ?? root.number}\n`);
  },
  async retire(folder, files) {
    for (const { number } of files.roots.filter(one => one.number < files.root.number))
      await shelve(folder, files, number);
  },
  async abandon(folder, files) {
    for (const { number } of files.roots.filter(one => one.number > files.root.number))
      await shelve(folder, files, number);
  },
};

/** Out of the way, not destroyed: what it signed may have to be looked at years later. */
async function shelve(folder: string, { issuing }: CaFiles, number: number): Promise<void> {
  const shelf = join(folder, retiredFolder);
  await mkdir(shelf, { recursive: true, mode: 0o700 });
  // The root last: an issuing CA whose root is gone would not load.
  const below = issuing.filter(ca => ca.root === number).map(ca => `issuing-${ca.number}`);
  const stems = [...below, `cross-${number}`, rootFile(number)];
  for (const stem of stems) {
    for (const end of ['crt', 'key']) {
      await rename(join(folder, `${stem}.${end}`), join(shelf, `${stem}.${end}`)).catch(error => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      });
    }
  }
}

/** The next root's name and key under this root: a way up for who knows this one only. It ends with this root. */
async function certifyRoot(number: number, der: Uint8Array, root: RootCa, { now, name }: CaOptions): Promise<string> {
  const { signCertificate } = await import('./pki.ts');
  const facts = parseCertificate(der);
  if (!root.key) throw new Fault('bug', 'a root without its key certifies nothing');
  const cross = await signCertificate(
    {
      subject: rootSubject(number, name),
      names: [],
      publicKey: facts.publicKey,
      notBefore: new Date(now.getTime() - 300_000),
      notAfter: new Date(Math.min(root.facts.notAfter.getTime(), facts.notAfter.getTime())),
      use: { ca: true },
    },
    { key: root.key, certificate: root.facts.der },
  );
  return toPem('CERTIFICATE', cross);
}

/** What still counts and has no successor under the root that issues: a device's and a server's by name, a person's by its renewal. */
export function formerOf(all: readonly CertificateRecord[], files: CaFiles, now: Date): readonly CertificateRecord[] {
  const rootOf = new Map(files.issuing.map(ca => [ca.facts.fingerprint, ca.root]));
  const alive = all.filter(record => !record.revoked && record.notAfter > now);
  const holder = ({ kind, name, names }: CertificateRecord): string => JSON.stringify([kind, name, [...names].sort()]);
  const present = alive.filter(record => rootOf.get(record.issuer) === files.root.number);
  const holders = new Set(present.map(holder));
  const replaced = new Set(present.map(({ replaces }) => replaces));
  return alive.filter(record => {
    if ((rootOf.get(record.issuer) ?? files.root.number) >= files.root.number) return false;
    return record.kind === 'user' ? !replaced.has(record.serial) : !holders.has(holder(record));
  });
}
