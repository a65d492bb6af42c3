// Where people sign in on top of their certificate: one page, a password and a code or a passkey, and afterwards the certificate is
// enough for the sites that ask for more. Nothing is kept in the browser.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault, faults, toFault } from '../../core/fault.ts';
import type { Authenticator, Conn, Gate, Identify, Log, Principal } from '../../core/parts.ts';
import { sameSite, signInPage } from './sign-in-page.ts';
import type { SignIns } from './sign-ins.ts';

/** Something on the API's HTTP server; see its HttpDoor. */
export interface Door {
  readonly name: string;
  claims(request: IncomingMessage): boolean;
  answer(request: IncomingMessage, response: ServerResponse, conn: Conn): void;
}

export interface SignInDoorDeps {
  readonly identify: Identify;
  readonly gate: Gate;
  readonly authenticator: Authenticator;
  /** The second factor. @throws Fault `unknown-caller`, `limit` */
  readonly proveCode: (user: string, code: string, from: Conn['peer']) => Promise<void>;
  /** What a passkey of this user is asked to sign for this purpose; undefined where they have none. */
  readonly askPasskey?: (user: string, purpose: string) => Promise<object | undefined>;
  readonly signIns: SignIns;
  /** This page's own address. */
  readonly url: () => string;
  /** Whether somebody may be sent on to there: a site of the map, or a renamed one. */
  readonly mayReturnTo: (url: URL) => boolean;
  /** For renamed sites: the address that carries the sign-in over to it; undefined where it is not one, or wants a newer. */
  readonly carryOver?: (credential: string, back: URL) => string | undefined;
  readonly log: Log;
}

const longestBody = 32_768;
const patience = 10_000;

export function signInDoor(deps: SignInDoorDeps): Door {
  return {
    name: 'web sign-in',
    claims: ({ url = '' }) => url === '/sign-in' || url.startsWith('/sign-in?'),
    answer: (request, response, conn) => void answer(request, response, conn, deps),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  conn: Conn,
  deps: SignInDoorDeps,
): Promise<void> {
  try {
    const who = await whoOf(conn, deps);
    if (request.method === 'GET' || request.method === 'HEAD') return await show(request, response, who, deps);
    if (request.method !== 'POST') throw new Fault('missing', 'this page is read, or posted to');
    await signIn(request, response, conn, who, deps);
  } catch (error) {
    const fault = toFault(error);
    if (fault.code === 'bug') deps.log.error({ error }, 'a sign-in failed');
    const user = fault.facts['user'];
    const passkey = typeof user === 'string' ? await passkeyOf(conn, user, deps).catch(() => undefined) : undefined;
    if (response.headersSent) return void response.destroy();
    const what = fault.code === 'bug' ? 'something went wrong in the gate' : fault.message;
    const back = fault.facts['form'] === true ? String(fault.facts['back'] ?? '') : undefined;
    send(
      response,
      faults[fault.code].http,
      signInPage({ state: 'refused', what, form: back !== undefined, back: back ?? '', passkey }),
    );
  }
}

/** @throws Fault `denied` where there is nobody who could sign in */
async function whoOf(conn: Conn, { identify }: SignInDoorDeps): Promise<Principal> {
  const who = await identify(conn, AbortSignal.timeout(patience)).catch((error: unknown) => {
    const fault = toFault(error);
    throw new Fault('denied', `your client certificate was refused: ${fault.message}`);
  });
  if (who.kind === 'anonymous') {
    const why = conn.tls?.refused;
    throw new Fault(
      'denied',
      why
        ? `your client certificate was refused: ${why}`
        : 'a client certificate is needed to sign in; /check says which',
    );
  }
  if (who.kind !== 'user' || who.id === '')
    throw new Fault('denied', 'this certificate names no user of this gate, so there is no password to sign in with');
  return who;
}

async function show(
  request: IncomingMessage,
  response: ServerResponse,
  who: Principal,
  deps: SignInDoorDeps,
): Promise<void> {
  const back = backOf(new URLSearchParams(request.url?.split('?')[1] ?? '').get('back'), deps);
  const until = deps.signIns.until(who.credential, Number.MAX_SAFE_INTEGER);
  const onward = until && back ? deps.carryOver?.(who.credential, back) : undefined;
  if (onward) {
    // Only somebody who clicked: a frame or an image of another page carries nobody over.
    const mode = request.headers['sec-fetch-mode'];
    if (mode === undefined || mode === 'navigate') return redirect(response, onward);
  }
  const passkey = await deps.askPasskey?.(who.id, purposeOf(who));
  // Whoever comes from a site that wants a newer one is asked as if there was none.
  const facts = { user: who.id, back: back?.href ?? '', isSignedIn: until !== undefined && !back, passkey };
  send(response, 200, signInPage({ state: 'form', ...facts }));
}

/** A passkey counts for the certificate that was shown beside it, and no other. */
const purposeOf = ({ credential }: Principal): string => `web ${credential}`;

/** For the form once more, after a refusal. */
async function passkeyOf(conn: Conn, user: string, deps: SignInDoorDeps): Promise<object | undefined> {
  return deps.askPasskey?.(user, purposeOf(await whoOf(conn, deps)));
}

async function signIn(
  request: IncomingMessage,
  response: ServerResponse,
  conn: Conn,
  who: Principal,
  deps: SignInDoorDeps,
): Promise<void> {
  const { authenticator, proveCode, gate, signIns, url } = deps;
  if (!sameSite(request.headers, new URL(url()).origin))
    throw new Fault('denied', 'pages of other sites may not do this');
  const form = await readForm(request);
  const back = backOf(form.get('back'), deps);
  const from = conn.peer;
  try {
    const signed = form.get('passkey');
    if (signed) {
      // Both factors in one: the device, and its owner's finger or PIN.
      const claim = { kind: 'passkey', purpose: purposeOf(who), response: jsonOf(signed), from } as const;
      const proven = await authenticator.prove(claim, AbortSignal.timeout(patience));
      if (proven.id !== who.id) throw new Fault('unknown-caller', 'this passkey is somebody else’s');
    } else {
      const claim = { kind: 'password', user: who.id, password: form.get('password') ?? '', from } as const;
      await authenticator.prove(claim, AbortSignal.timeout(patience));
      await proveCode(who.id, (form.get('code') ?? '').replaceAll(/\s/g, ''), from);
    }
  } catch (error) {
    const fault = toFault(error);
    gate.refuse({ who, action: 'web.sign-in', resource: 'web/sign-in', from }, fault.code);
    if (fault.code !== 'unknown-caller') throw fault;
    const facts = { form: true, back: back?.href ?? '', user: who.id };
    throw new Fault(
      'denied',
      form.get('passkey') ? 'the passkey was not accepted' : 'the password or the code is wrong',
      {
        facts,
      },
    );
  }
  {
    await using session = await gate.admit({
      who,
      action: 'web.sign-in',
      resource: 'web/sign-in',
      from,
      opened: 'sign-in',
    });
    await signIns.grant(who.credential, who.id);
    session.note('credential', who.credential);
  }
  const onward = back && (deps.carryOver?.(who.credential, back) ?? back.href);
  if (onward) redirect(response, onward);
  else send(response, 200, signInPage({ state: 'done', user: who.id }));
}

/** Where somebody came from, if it is a place of ours: an open redirect is a phisher's gift. */
function backOf(text: string | null, { mayReturnTo }: SignInDoorDeps): URL | undefined {
  if (!text || text.length > 2000 || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isPlain = (url.protocol === 'http:' || url.protocol === 'https:') && url.username === '' && url.password === '';
  return isPlain && mayReturnTo(url) ? url : undefined;
}

/** @throws Fault `invalid` */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault('invalid', 'the passkey’s answer is not JSON');
  }
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  if (!/^application\/x-www-form-urlencoded(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new Fault('invalid', 'the form comes as application/x-www-form-urlencoded');
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > longestBody) throw new Fault('limit', 'the form is longer than 32 KiB');
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}

function redirect(response: ServerResponse, location: string): void {
  response.writeHead(303, {
    location,
    'content-length': 0,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
  });
  response.end();
}

function send(response: ServerResponse, status: number, page: ReturnType<typeof signInPage>): void {
  const bytes = Buffer.from(page.text);
  response.writeHead(status, { ...page.headers, 'content-type': page.type, 'content-length': bytes.length });
  response.end(bytes);
}
