// What the page asks the gate, and the files it makes of the answer.
import type { AnswerOf } from '../../../src/api/contract/routes.ts';
import { call } from '../api.ts';
import { fromBase64, fromPem, toPem } from './der.ts';
import { makeProfile } from './mobileconfig.ts';
import { makeP12 } from './p12.ts';
import { makeRequest } from './request.ts';

export type Link = AnswerOf<'cert.link'>;
export interface Made {
  readonly p12: Uint8Array<ArrayBuffer>;
  readonly profile: string;
  /** PEM: the root. */
  readonly ca: string;
  /** PEM: certificate, issuer and key, in the clear; where the key was made here. */
  readonly pem?: string;
}

/** @throws Refusal */
export const lookAt = (code: string): Promise<Link> => call('cert.link', { body: { code } });

/** Key and password stay in this page; the gate sees the public half. @throws Refusal */
export async function fetchWithOwnKey(link: Link, code: string, password: string): Promise<Made> {
  const { key, csr } = await makeRequest(link.user);
  const { cert, chain, ca } = await call('cert.fetch', { body: { code, csr } });
  const certificates = [cert, ...chain, ca].flatMap(pem => fromPem(pem, 'CERTIFICATE'));
  const p12 = await makeP12({ key, certificates, name: link.user }, password);
  return { ...filesOf(link, p12, ca), pem: [cert, ...chain, toPem('PRIVATE KEY', key)].join('') };
}

/** No browser can make the old form: here the gate makes key and file. @throws Refusal */
export async function fetchLegacy(link: Link, code: string, password: string): Promise<Made> {
  const { p12 = '', ca } = await call('cert.fetch', { body: { code, format: 'p12-legacy', password } });
  return filesOf(link, fromBase64(p12), ca);
}

function filesOf({ user, gate }: Link, p12: Uint8Array<ArrayBuffer>, ca: string): Made {
  const [root = new Uint8Array()] = fromPem(ca, 'CERTIFICATE');
  return { p12, ca, profile: makeProfile({ gate, user, p12, root }) };
}
