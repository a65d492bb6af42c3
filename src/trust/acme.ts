// An ACME client (RFC 8555): an account, an order, its challenges, the certificate.
import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { answerFor, type Publish } from './acme-challenges.ts';
import { type AcmeAnswer, problemFault, problemOf, send } from './acme-http.ts';
import { bindExternal, type ExternalAccount, openAccountKey } from './acme-jws.ts';
import type { Identity } from './identity-file.ts';
import { derBlocks, toPem } from './pem.ts';

export const letsEncrypt = 'https://acme-v02.api.letsencrypt.org/directory';

export interface AcmeOptions {
  /** Default: Let's Encrypt. */
  readonly directory?: string;
  /** The account's key; made when missing. */
  readonly accountKeyFile: string;
  readonly email?: string;
  readonly externalAccount?: ExternalAccount;
  /** PEM: the CA of the directory's own certificate, when it is not a public one. */
  readonly ca?: string;
  readonly clock?: Clock;
  readonly log: Log;
}

export interface AcmeOrder {
  readonly names: readonly string[];
  readonly challenge: 'http-01' | 'tls-alpn-01';
  readonly publish: Publish;
  /** Default ecdsa. */
  readonly key?: 'rsa' | 'ecdsa';
}

export interface Acme {
  /** Proves the names and fetches a certificate. @throws Fault saying what the CA said and what to do */
  obtain(order: AcmeOrder, signal: AbortSignal): Promise<Identity>;
}

/** How long the CA may take over one step. */
const patience = 5 * 60_000;
const nonceTries = 8;

export async function openAcme(options: AcmeOptions): Promise<Acme> {
  const { directory = letsEncrypt, clock = systemClock, log } = options;
  const account = await openAccountKey(options.accountKeyFile);
  const http = options.ca === undefined ? {} : { ca: options.ca };
  const nonces: string[] = [];
  let urls: Readonly<Record<string, unknown>> | undefined;
  let kid: string | undefined;

  const keepNonce = (answer: AcmeAnswer): AcmeAnswer => {
    const nonce = answer.headers['replay-nonce'];
    if (typeof nonce === 'string' && nonces.length < 16) nonces.push(nonce);
    return answer;
  };
  const urlOf = async (name: string, signal: AbortSignal): Promise<string> => {
    if (!urls) {
      const answer = await send({ method: 'GET', url: directory }, http, signal);
      if (answer.status !== 200)
        throw new Fault(
          'unreachable',
          `${directory} is not an ACME directory (HTTP ${answer.status}); check acme.directory`,
        );
      urls = objectOf(answer);
    }
    return textOf(urls, name);
  };
  const nextNonce = async (signal: AbortSignal): Promise<string> => {
    if (nonces.length === 0)
      keepNonce(await send({ method: 'HEAD', url: await urlOf('newNonce', signal) }, http, signal));
    const nonce = nonces.pop();
    if (!nonce) throw new Fault('protocol', `the ACME server behind ${directory} gives no nonce`);
    return nonce;
  };
  /** Signed; `payload` undefined = POST-as-GET. A stale nonce is everyday life and tried again (§6.5). */
  const post = async (what: string, url: string, payload: unknown, signal: AbortSignal): Promise<AcmeAnswer> => {
    for (let tries = 1; ; tries += 1) {
      const head = { url, nonce: await nextNonce(signal), ...(kid === undefined ? {} : { kid }) };
      const body = account.request(head, payload);
      const answer = keepNonce(await send({ method: 'POST', url, body }, http, signal));
      if (answer.status < 400) return answer;
      const problem = problemOf(jsonOf(answer.body));
      if (problem.type !== 'badNonce' || tries === nonceTries) {
        throw problemFault(what, problem, { status: answer.status, url, retryAfter: answer.headers['retry-after'] });
      }
    }
  };
  const signIn = async (signal: AbortSignal): Promise<void> => {
    if (kid !== undefined) return;
    const url = await urlOf('newAccount', signal);
    const request = {
      termsOfServiceAgreed: true,
      ...(options.email === undefined ? {} : { contact: [`mailto:${options.email}`] }),
      ...(options.externalAccount
        ? { externalAccountBinding: bindExternal(options.externalAccount, account, url) }
        : {}),
    };
    // With a key that it knows the server answers with the account there is (§7.3.1).
    const answer = await post('the ACME account cannot be made', url, request, signal);
    const location = answer.headers['location'];
    if (typeof location !== 'string')
      throw new Fault('protocol', 'the ACME server made an account but does not say where');
    kid = location;
    log.info({ directory, account: kid }, 'signed in to the ACME server');
  };
  /** Asks until the state is one that is waited for, as often as the server likes (§7.5.1). */
  const poll = async (what: string, url: string, until: readonly string[], signal: AbortSignal): Promise<Resource> => {
    const end = AbortSignal.timeout(patience);
    for (let wait = 250; ; wait = Math.min(wait * 2, 10_000)) {
      const answer = await post(what, url, undefined, signal);
      const resource = objectOf(answer) as Resource;
      if (until.includes(resource.status ?? '')) return resource;
      if (resource.status === 'invalid') throw problemFault(what, problemOf(failureIn(resource)), { url });
      const asked = Number(answer.headers['retry-after']) * 1000;
      if (end.aborted)
        throw new Fault('timeout', `${what}: the CA has not decided after five minutes; it will be tried again`);
      await sleep(asked > 0 ? Math.min(asked, 60_000) : wait, undefined, { signal });
    }
  };
  const prove = async (url: string, { challenge: type, publish }: AcmeOrder, signal: AbortSignal): Promise<void> => {
    const authorization = objectOf(
      await post('the CA’s challenges cannot be read', url, undefined, signal),
    ) as Resource;
    const name = authorization.identifier?.value ?? '';
    if (authorization.status === 'valid') return; // proven not long ago
    const offered = authorization.challenges ?? [];
    const challenge = offered.find(one => one.type === type);
    if (!challenge?.url || !challenge.token || !/^[A-Za-z0-9_-]{1,256}$/.test(challenge.token)) {
      const kinds = offered.map(one => one.type).join(', ') || 'none';
      throw new Fault(
        'invalid',
        `${name}: the CA does not offer ${type} for this name (it offers: ${kinds}); set acme.challenge`,
      );
    }
    const answer = await answerFor(type, name, challenge.token, account.thumbprint, clock.now());
    using _shown = await publish(answer);
    await post(`${name} cannot be proven`, challenge.url, {}, signal);
    await poll(`${name} cannot be proven by ${type}`, url, ['valid'], signal);
  };

  return {
    async obtain(order, signal) {
      const { makeCsr } = await import('./pki-csr.ts');
      const { hostName, newKey } = await import('./pki.ts');
      const names = [...new Set(order.names.map(hostName))];
      await signIn(signal);
      const identifiers = names.map(value => ({ type: 'dns', value }));
      const placed = await post(
        `no certificate for ${names.join(', ')}`,
        await urlOf('newOrder', signal),
        { identifiers },
        signal,
      );
      const url = placed.headers['location'];
      if (typeof url !== 'string') throw new Fault('protocol', 'the ACME server took an order but does not say where');
      const { authorizations = [], finalize = '' } = objectOf(placed) as Resource;
      // One after the other: few names, and each failure then has its own sentence.
      for (const authorization of authorizations) await prove(authorization, order, signal);
      const ready = await poll('the order cannot be completed', url, ['ready', 'valid'], signal);
      const key = await newKey(order.key ?? 'ecdsa');
      const csr = Buffer.from(await makeCsr(names, key)).toString('base64url');
      if (ready.status === 'ready') await post('the CA refuses the signing request', finalize, { csr }, signal);
      const done = await poll('the certificate is not issued', url, ['valid'], signal);
      const chain = await post('the certificate cannot be fetched', done.certificate ?? '', undefined, signal);
      const identity = { cert: chainOf(chain.body), key: key.export({ type: 'pkcs8', format: 'pem' }) as string };
      if (!new X509Certificate(identity.cert).checkPrivateKey(key)) {
        throw new Fault('protocol', 'the ACME server gave a certificate for another key');
      }
      log.info({ names, notAfter: new X509Certificate(identity.cert).validToDate }, 'certificate obtained by ACME');
      return identity;
    },
  };
}

interface Resource {
  readonly status?: string;
  readonly identifier?: { readonly value?: string };
  readonly challenges?: readonly { type?: string; url?: string; token?: string; error?: unknown }[];
  readonly authorizations?: readonly string[];
  readonly finalize?: string;
  readonly certificate?: string;
  readonly error?: unknown;
}

const failureIn = (resource: Resource): unknown => resource.error ?? resource.challenges?.find(one => one.error)?.error;

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function objectOf(answer: AcmeAnswer): Readonly<Record<string, unknown>> {
  const value = jsonOf(answer.body);
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  throw new Fault('protocol', 'the ACME server answers with something that is not JSON');
}

function textOf(object: Readonly<Record<string, unknown>>, name: string): string {
  const value = object[name];
  if (typeof value === 'string') return value;
  throw new Fault('unreachable', `the ACME directory has no ${name}; is acme.directory the URL of a directory?`);
}

/** The downloaded chain, every block of it a certificate. */
const chainOf = (text: string): string =>
  derBlocks(text, 'CERTIFICATE')
    .map(der => toPem('CERTIFICATE', der))
    .join('');
