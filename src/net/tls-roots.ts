// The CAs that are trusted where the configuration names none: the system's, and Node's own list where it has none.
import type { X509Certificate } from 'node:crypto';
// The whole module: the agent's file runs on Node 18 too, which lacks two of these, and a named import would not load.
import * as tls from 'node:tls';
import { parseCertificates } from './tls-verify.ts';

let pems: readonly string[] | undefined;
let parsed: readonly X509Certificate[] | undefined;

/** Makes OpenSSL contexts without CAs of their own use the system's; the store is then shared by all of them. */
export function trustSystem(): void {
  if (pems) return;
  const { getCACertificates, setDefaultCACertificates } = tls as Partial<typeof tls>;
  const system = [...new Set(getCACertificates?.('system') ?? [])];
  if (system.length > 0) setDefaultCACertificates?.(system);
  pems = system.length > 0 ? system : tls.rootCertificates;
}

/** The same CAs, to be looked at. */
export function systemRoots(): readonly X509Certificate[] {
  trustSystem();
  parsed ??= parseCertificates(pems ?? [], 'the CAs of the system');
  return parsed;
}
