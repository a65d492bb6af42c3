// EST (RFC 7030, RFC 8951): programs fetch their certificate with a link's code, and renew it with the certificate itself.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault, faults, isWeather } from '../core/fault.ts';
import type { Conn } from '../core/parts.ts';
import {
  anonymous,
  type CertificateRecord,
  certsOnly,
  checkSameNames,
  derBlocks,
  type Signed,
} from '../trust/index.ts';
import type { ApiDeps } from './deps.ts';
import { proven, redeem } from './enrolment.ts';
import { asFault } from './faults.ts';
import { checkHost } from './guard.ts';
import type { HttpDoor } from './http-server.ts';
import { act } from './verbs.ts';

const prefix = '/.well-known/est/';
/** Bytes of a body; a request for the longest key that is accepted is a tenth of it. */
const longestBody = 32 * 1024;
const certificates = 'application/pkcs7-mime; smime-type=certs-only';

interface Reply {
  readonly status: number;
  readonly type?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Operation {
  readonly method: 'GET' | 'POST';
  readonly run: (request: IncomingMessage, conn: Conn, deps: ApiDeps) => Promise<Reply>;
}

const operations: Readonly<Record<string, Operation>> = {
  cacerts: {
    method: 'GET',
    // §4.1.3: what leads from one root to the next comes along.
    run: async (_request, _conn, { authority }) => inPkcs7([...authority.trust().cas, ...authority.crosses()]),
  },
  // §4.5.2: nothing is asked of a request but a key that is strong enough.
  csrattrs: { method: 'GET', run: async () => ({ status: 204 }) },
  simpleenroll: { method: 'POST', run: enroll },
  simplereenroll: { method: 'POST', run: reenroll },
  serverkeygen: { method: 'POST', run: notDone('keys are made where they are used, not by this gate') },
  fullcmc: { method: 'POST', run: notDone('CMC is not spoken; use simpleenroll') },
};

export function estDoor(deps: ApiDeps): HttpDoor {
  return {
    name: 'est',
    claims: ({ url }) => deps.est?.() === true && url?.startsWith(prefix) === true,
    answer(request, response, conn) {
      void serve(request, response, conn, deps);
    },
  };
}

async function serve(request: IncomingMessage, response: ServerResponse, conn: Conn, deps: ApiDeps): Promise<void> {
  const name = (request.url ?? '').slice(prefix.length).split('?', 1)[0] ?? '';
  try {
    deps.metrics.count('est_requests_total', { operation: Object.hasOwn(operations, name) ? name : 'unknown' });
    send(response, await answer(name, request, conn, deps));
  } catch (error) {
    if (isWeather(error) || response.destroyed) return void request.destroy();
    const fault = asFault(error);
    const { http, log } = faults[fault.code];
    const facts = { operation: name.slice(0, 100), from: conn.peer, code: fault.code, ...fault.facts };
    deps.log[log](fault.code === 'bug' ? { ...facts, cause: fault.cause } : facts, fault.message);
    const status = Number(fault.facts['status'] ?? http);
    send(response, {
      status,
      type: 'text/plain; charset=utf-8',
      body: `${fault.message}\n`,
      headers: headersOf(fault),
    });
  }
}

async function answer(name: string, request: IncomingMessage, conn: Conn, deps: ApiDeps): Promise<Reply> {
  // A client certificate is what a browser adds to whatever a page makes it send. So no page sends anything here: browsers
  // say who asks, and a form or a simple request cannot have the content type below.
  const { origin } = request.headers;
  if (origin !== undefined || Object.keys(request.headers).some(field => field.startsWith('sec-fetch-')))
    throw new Fault('denied', 'EST is for programs; browsers use an enrolment link');
  if (!conn.tls) throw new Fault('denied', 'EST is spoken over TLS only'); // §3.3
  checkHost(request.headers, conn, deps.house.names());
  const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
  if (!operation) throw new Fault('missing', `EST has no operation ${JSON.stringify(name.slice(0, 100))} here`);
  if (request.method !== operation.method)
    throw new Fault('invalid', `${name} is asked by ${operation.method}`, {
      facts: { status: 405, allow: operation.method },
    });
  return operation.run(request, conn, deps);
}

/** §4.2.1, with the name and the one-time code of an enrolment link as HTTP Basic (§3.2.3). */
async function enroll(request: IncomingMessage, conn: Conn, deps: ApiDeps): Promise<Reply> {
  const from = conn.peer;
  const { name, code } = basicOf(request);
  // Before the body is read: who has no code gets none of our memory.
  const link = await proven(deps.gate, from, deps.enrolments.look(code, from));
  if (link.user !== name.normalize('NFC')) throw await refused(deps, conn);
  const csr = await requestOf(request);
  return inPkcs7([(await redeem(deps, code, from, order => deps.authority.signCsr({ ...order, csr }))).cert]);
}

/** §4.2.2: the present certificate proves who asks, for this one act and nothing else. */
async function reenroll(request: IncomingMessage, conn: Conn, deps: ApiDeps): Promise<Reply> {
  const { authority, gate } = deps;
  const from = conn.peer;
  const { who, before } = await holderOf(conn, deps).catch(error => {
    if (error instanceof Fault && error.code === 'denied')
      gate.refuse({ who: anonymous, action: 'cert.renew', resource: 'cert/*', from }, error.message);
    throw error;
  });
  const csr = await requestOf(request);
  checkSameNames(csr, derBlocks(before.cert, 'CERTIFICATE')[0] ?? new Uint8Array());
  const asked = { who, action: 'cert.renew', resource: `cert/${before.serial}`, from, opened: 'trust.est' } as const;
  const made = await act(gate, asked, async note => {
    const { subject, serial: replaces, name } = before;
    const holder = before.kind === 'device' ? { device: name } : { user: name };
    const signed: Signed = await authority.signCsr({ ...subject, ...holder, replaces, csr });
    note({ serial: signed.serial, fingerprint: signed.fingerprint, replaces });
    return signed;
  });
  return inPkcs7([made.cert]);
}

/** Whose certificate of ours was shown, and which. @throws Fault `denied`, `protocol` */
async function holderOf(conn: Conn, { authenticator, authority }: ApiDeps) {
  const { leaf, chain, refused: why } = conn.tls ?? {};
  if (!leaf) {
    const text = why === undefined ? 'no client certificate was shown' : 'the client certificate does not count';
    throw new Fault('denied', `${text}; renewing needs the certificate that is renewed`, { facts: { refused: why } });
  }
  const claim = { kind: 'certificate', leaf, from: conn.peer, ...(chain ? { chain } : {}) } as const;
  const who = await authenticator.prove(claim, AbortSignal.timeout(10_000)).catch((cause: unknown) => {
    if (!(cause instanceof Fault) || cause.code !== 'unknown-caller') throw cause;
    throw new Fault('denied', 'the client certificate does not count; ask for an enrolment link', { cause });
  });
  const before: CertificateRecord | undefined = authority.record(who.credential);
  if (!before || who.id === '' || before.kind === 'server')
    throw new Fault('denied', 'the client certificate is not one that this gate renews');
  return { who, before };
}

/** RFC 7617. @throws Fault `unknown-caller` */
function basicOf({ headers: { authorization = '' } }: IncomingMessage): { name: string; code: string } {
  const text = /^basic +([A-Za-z0-9+/]{1,1024}={0,2})$/i.exec(authorization)?.[1];
  const pair = text === undefined ? '' : Buffer.from(text, 'base64').toString('utf8');
  const at = pair.indexOf(':');
  if (at < 0) throw new Fault('unknown-caller', 'send your name and the code of your enrolment link (HTTP Basic)');
  return { name: pair.slice(0, at), code: pair.slice(at + 1) };
}

/** The code is right and the name is not: said like any other, and counted. */
async function refused(deps: ApiDeps, { peer: from }: Conn): Promise<unknown> {
  return proven(deps.gate, from, deps.enrolments.look('', from)).catch((error: unknown) => error);
}

/** §4.2.1 with RFC 8951 §3.1: base64 of the DER, with or without line ends. @throws Fault `invalid` */
async function requestOf(request: IncomingMessage): Promise<Uint8Array> {
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'application/pkcs10')
    throw new Fault('invalid', 'the body is a signing request, application/pkcs10', { facts: { status: 415 } });
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > longestBody) throw new Fault('invalid', 'the body is longer than 32 KiB', { facts: { status: 413 } });
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('latin1').replace(/\s+/g, '');
  const der = /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined;
  if (der?.[0] === 0x30) return der;
  throw new Fault('invalid', 'the body is not base64 of a signing request in DER (without BEGIN and END lines)');
}

const inPkcs7 = (pems: readonly string[]): Reply => ({
  status: 200,
  type: certificates,
  // Lines as openssl and coreutils read and write them.
  body: Buffer.from(certsOnly(pems))
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n'),
  // RFC 8951 §3.2.1 tells receivers to ignore it; older ones want to see it.
  headers: { 'content-transfer-encoding': 'base64' },
});

function notDone(why: string): Operation['run'] {
  return () => Promise.reject(new Fault('missing', why, { facts: { status: 501 } }));
}

function headersOf({ code, facts }: Fault): Record<string, string> {
  return {
    ...(code === 'unknown-caller' ? { 'www-authenticate': 'Basic realm="sekisho EST", charset="UTF-8"' } : {}),
    ...(facts['retryAfter'] === undefined ? {} : { 'retry-after': String(facts['retryAfter']) }),
    ...(facts['allow'] === undefined ? {} : { allow: String(facts['allow']) }),
  };
}

function send(response: ServerResponse, { status, type, body = '', headers = {} }: Reply): void {
  response.writeHead(status, {
    ...headers,
    ...(type === undefined ? {} : { 'content-type': type }),
    ...(status === 204 ? {} : { 'content-length': Buffer.byteLength(body) }),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // Of a refused request the body may still be on its way.
    ...(status >= 400 ? { connection: 'close' } : {}),
  });
  response.end(body);
}
