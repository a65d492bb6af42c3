// HTTPS to an ACME server: one request, one bounded answer, and its problem documents as Faults.
import { request } from 'node:https';
import { Fault } from '../core/fault.ts';

export interface AcmeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface AcmeHttpOptions {
  /** PEM: the CA of the server's own certificate, when it is not a public one. */
  readonly ca?: string;
}

export interface AcmeSend {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: string;
  readonly body?: string;
}

const patience = 30_000;
const longest = 1024 * 1024;

/** @throws Fault `unreachable`, `timeout`, `protocol`; `invalid` for a URL that is not https */
export async function send(
  { method, url, body }: AcmeSend,
  options: AcmeHttpOptions,
  signal: AbortSignal,
): Promise<AcmeAnswer> {
  const target = URL.parse(url);
  if (target?.protocol !== 'https:')
    throw new Fault('invalid', `the ACME server must be reached over https, not at ${url}`);
  const timeout = AbortSignal.timeout(patience);
  const { promise, resolve, reject } = Promise.withResolvers<AcmeAnswer>();
  const headers = {
    'user-agent': 'sekisho', // RFC 8555 §6.1 asks for one
    ...(body === undefined
      ? {}
      : { 'content-type': 'application/jose+json', 'content-length': Buffer.byteLength(body) }),
  };
  const outgoing = request(target, {
    ...{ method, headers, agent: false, signal: AbortSignal.any([signal, timeout]) },
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  });
  outgoing.on('error', reject).on('response', answer => {
    const chunks: Buffer[] = [];
    let length = 0;
    answer.on('data', (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > longest)
        answer.destroy(new Fault('protocol', `the ACME server at ${target.host} answers with more than 1 MiB`));
    });
    answer.on('error', reject).on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text });
    });
  });
  outgoing.end(body);
  return promise.catch((cause: unknown) => {
    if (signal.aborted) throw signal.reason;
    if (cause instanceof Fault) throw cause;
    if (timeout.aborted) throw new Fault('timeout', `the ACME server at ${target.host} does not answer`, { cause });
    const { code = '', message = '' } = cause as NodeJS.ErrnoException;
    const why = /CERT|SELF_SIGNED|UNABLE_TO/.test(code)
      ? `has a certificate that is not trusted (${code}); give its CA as acme.ca`
      : `cannot be reached (${code || message})`;
    throw new Fault('unreachable', `the ACME server at ${target.host} ${why}`, { cause });
  });
}

export interface Problem {
  readonly type: string;
  readonly detail: string;
  readonly subproblems: readonly { readonly name: string; readonly detail: string }[];
}

/** A problem document (RFC 7807, RFC 8555 §6.7), or what stands in place of one. */
export function problemOf(value: unknown): Problem {
  const { type, detail, subproblems } = (value ?? {}) as Record<string, unknown>;
  const list = Array.isArray(subproblems) ? (subproblems as Record<string, unknown>[]) : [];
  return {
    type: String(type ?? '').replace('urn:ietf:params:acme:error:', ''),
    detail: shown(detail),
    subproblems: list.slice(0, 100).map(one => ({
      name: shown((one['identifier'] as { value?: unknown } | undefined)?.value),
      detail: shown(one['detail']),
    })),
  };
}

/** What to do about each type; the code decides whether trying again makes sense. */
const advice: ReadonlyMap<string, { code: 'invalid' | 'limit' | 'unreachable'; text: string }> = new Map([
  ['rateLimited', { code: 'limit', text: 'wait, or use the CA’s staging directory while trying things out' }],
  ['rejectedIdentifier', { code: 'invalid', text: 'the CA does not certify this name; check acme.names' }],
  ['unsupportedIdentifier', { code: 'invalid', text: 'the CA does not certify this kind of name' }],
  ['caa', { code: 'invalid', text: 'a CAA record forbids this CA; change it, or use another CA' }],
  ['dns', { code: 'unreachable', text: 'the name must resolve to this gate' }],
  [
    'connection',
    { code: 'unreachable', text: 'the CA must reach this gate: port 80 for http-01, 443 for tls-alpn-01' },
  ],
  [
    'tls',
    { code: 'unreachable', text: 'port 443 of the name must be this gate, with nothing that ends TLS before it' },
  ],
  [
    'unauthorized',
    { code: 'unreachable', text: 'something else answered the challenge; does the name lead to this gate?' },
  ],
  [
    'incorrectResponse',
    { code: 'unreachable', text: 'something else answered the challenge; does the name lead to this gate?' },
  ],
  [
    'externalAccountRequired',
    { code: 'invalid', text: 'this CA wants an account that was made on its site (external account binding)' },
  ],
  ['userActionRequired', { code: 'invalid', text: 'the CA wants something done on its site first' }],
  ['invalidContact', { code: 'invalid', text: 'check acme.email' }],
  ['unsupportedContact', { code: 'invalid', text: 'check acme.email' }],
  ['accountDoesNotExist', { code: 'invalid', text: 'remove the account key file so that a new account is made' }],
]);

/** The problem as a sentence: what, why in the CA's words, what to do. */
export function problemFault(what: string, problem: Problem, facts: Record<string, unknown> = {}): Fault {
  const { code, text } = advice.get(problem.type) ?? { code: 'unreachable' as const, text: 'it will be tried again' };
  const parts = problem.subproblems.map(({ name, detail }) => `${name}: ${detail}`).join('; ');
  const said = [problem.detail || 'no reason given', parts].filter(Boolean).join(' — ');
  return new Fault(code, `${what}: the CA says "${said}" (${problem.type || 'no type'}); ${text}`, { facts });
}

const shown = (value: unknown): string =>
  String(value ?? '')
    .replace(/\p{Cc}+/gu, ' ')
    .slice(0, 1000);
