// The gate's secrets in one file under a passphrase: CA keys and secrets.key, to be kept where the gate is not.
//
//   SEKISHO-KEYS | 1 | salt (16) | nonce (12) | tag (16) | AES-256-GCM of JSON { path: base64 }
//
// The key comes from the passphrase by scrypt, N = 2^17, r = 8, p = 1 (128 MiB): a stolen bundle is slow to guess at.
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { readSecretFile, writeFolder, writeNew } from './key-files.ts';

const magic = Buffer.from('SEKISHO-KEYS\x01');
const longest = 1024 * 1024;
const kept = /^(ca\/[a-z0-9.-]+|secrets\.key)$/;

/**
 * Paths, relative to the data directory, of everything of trust's that a backup needs beside the database. Certificates
 * from ACME and automatic ones are left out: they are made again.
 */
export async function keyFiles(dir: string): Promise<readonly string[]> {
  const ca = await readdir(join(dir, 'ca')).catch(() => []);
  const others = (await readdir(dir).catch(() => [])).filter(name => name === 'secrets.key');
  return [...ca.map(name => `ca/${name}`), ...others].filter(path => kept.test(path)).sort();
}

/** @throws Fault `invalid` for a short passphrase */
export async function exportKeys(dir: string, passphrase: string): Promise<Uint8Array> {
  if ([...passphrase].length < 12)
    throw new Fault('invalid', 'the passphrase of a key bundle has at least 12 characters');
  const files: Record<string, string> = {};
  for (const path of await keyFiles(dir)) {
    const from = join(dir, path);
    const file = path.endsWith('.key') ? await readSecretFile(from) : await readFile(from);
    if (file) files[path] = file.toString('base64');
  }
  const [salt, nonce] = [randomBytes(16), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', await derive(passphrase, salt), nonce).setAAD(magic);
  const body = Buffer.concat([cipher.update(JSON.stringify(files)), cipher.final()]);
  return Buffer.concat([magic, salt, nonce, cipher.getAuthTag(), body]);
}

/** Puts the files where there are none; nothing is overwritten. @throws Fault `invalid`, `conflict` */
export async function importKeys(dir: string, bundle: Uint8Array, passphrase: string): Promise<void> {
  const files = await open(Buffer.from(bundle), passphrase);
  const ca = Object.fromEntries(
    Object.entries(files).flatMap(([path, bytes]) => (path.startsWith('ca/') ? [[path.slice(3), bytes]] : [])),
  );
  const there = await keyFiles(dir);
  if (there.length > 0)
    throw new Fault('conflict', `${dir} already holds keys (${there[0]}); restore into an empty data directory`);
  if (Object.keys(ca).length > 0 && !(await writeFolder(join(dir, 'ca'), ca))) {
    throw new Fault('conflict', `${join(dir, 'ca')} is not empty; restore into an empty data directory`);
  }
  const secrets = files['secrets.key'];
  if (secrets) await writeNew(join(dir, 'secrets.key'), secrets);
}

async function open(bundle: Buffer, passphrase: string): Promise<Record<string, Buffer>> {
  if (!bundle.subarray(0, magic.length).equals(magic) || bundle.length > longest) {
    throw new Fault('invalid', 'this is not a key bundle of Sekisho, or one of a newer version');
  }
  const rest = bundle.subarray(magic.length);
  const [salt, nonce, tag, body] = [
    rest.subarray(0, 16),
    rest.subarray(16, 28),
    rest.subarray(28, 44),
    rest.subarray(44),
  ];
  try {
    const decipher = createDecipheriv('aes-256-gcm', await derive(passphrase, salt), nonce, { authTagLength: 16 });
    decipher.setAAD(magic).setAuthTag(tag);
    const text = decipher.update(body, undefined, 'utf8') + decipher.final('utf8');
    const files = Object.entries(JSON.parse(text) as Record<string, string>);
    return Object.fromEntries(
      files.filter(([path]) => kept.test(path)).map(([path, file]) => [path, Buffer.from(file, 'base64')]),
    );
  } catch (cause) {
    throw new Fault('invalid', 'the passphrase is wrong, or the key bundle is damaged', { cause });
  }
}

const derive = (passphrase: string, salt: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const cost = { N: 2 ** 17, r: 8, p: 1, maxmem: 160 * 1024 * 1024 };
    scrypt(passphrase.normalize('NFC'), salt, 32, cost, (error, key) => (error ? reject(error) : resolve(key)));
  });
