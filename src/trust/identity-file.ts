// A certificate with its chain and key in one file, so that the two can never be of different ages.
import { X509Certificate } from 'node:crypto';
import { readSecretFile, replaceFile } from './key-files.ts';

/** PEM: the certificate with its chain, and its key. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export const writeIdentity = (path: string, { cert, key }: Identity): Promise<void> => replaceFile(path, key + cert);

/** `undefined` = not there, or not a pair: it will be made again. @throws Fault `invalid` when others can read it */
export async function readIdentity(path: string): Promise<Identity | undefined> {
  const text = (await readSecretFile(path))?.toString('latin1');
  const key = text?.match(/-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n/)?.[0];
  const cert = text?.match(/-----BEGIN CERTIFICATE-----[\s\S]+/)?.[0];
  return key && cert && isCertificate(cert) ? { cert, key } : undefined;
}

/** From when until when. */
export function lifeOf({ cert }: Identity): { readonly from: Date; readonly until: Date } {
  const { validFromDate, validToDate } = new X509Certificate(cert);
  return { from: validFromDate, until: validToDate };
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).validToDate !== undefined;
  } catch {
    return false;
  }
}
