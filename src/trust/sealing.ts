// Encrypts what the database must hold but must not show (access keys' secrets), with a key in a file beside it.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { readSecretFile, writeNew } from './key-files.ts';

export interface Sealer {
  /** `context` says what and whose it is; it opens under the same context only. */
  seal(text: string, context: string): string;
  /** @throws Fault `invalid` when it was sealed with another key or for another context */
  unseal(sealed: string, context: string): string;
  /** The same bytes for the same context every time: a key that needs no place of its own (RFC 5869). */
  derive(context: string, length: number): Buffer;
}

/** `<dir>/secrets.key`, 32 random bytes, made when missing, 0600, never overwritten. @throws Fault `invalid` */
export async function openSealer(dir: string): Promise<Sealer> {
  const path = join(dir, 'secrets.key');
  let key = await readSecretFile(path);
  if (!key) {
    await writeNew(path, randomBytes(32));
    key = await readSecretFile(path);
  }
  if (key?.length !== 32) throw new Fault('invalid', `${path} is not a key of 32 bytes; restore it from a backup`);
  return sealerWith(key);
}

/** `v1.` + base64url of nonce (12), tag (16), ciphertext; AES-256-GCM. */
export function sealerWith(key: Uint8Array): Sealer {
  return {
    seal(text, context) {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return `v1.${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url')}`;
    },
    derive: (context, length) => Buffer.from(hkdfSync('sha256', key, '', `derived:${context}`, length)),
    unseal(sealed, context) {
      try {
        if (!sealed.startsWith('v1.')) throw new Error('unknown form');
        const bytes = Buffer.from(sealed.slice(3), 'base64url');
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 });
        decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(12, 28));
        return decipher.update(bytes.subarray(28), undefined, 'utf8') + decipher.final('utf8');
      } catch (cause) {
        throw new Fault(
          'invalid',
          'a stored secret does not open with secrets.key; restore the key that belongs to this database',
          { cause },
        );
      }
    },
  };
}
