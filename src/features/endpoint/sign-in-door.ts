// The page where an address is let in: a link with a code in its fragment, or a user's password, once. No cookie, no
// session: what the sign-in leaves behind is the address it came from.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault } from '../../core/fault.ts';
import type { Authenticator, Claim, Conn, Log, Principal } from '../../core/parts.ts';
import { addressKey } from '../../wire/cidr.ts';
import type { EndpointService } from './deps.ts';
import type { Endpoint } from './endpoint.ts';
import { answerOf, readJson, sendJson } from './http.ts';
import type { Door } from './napter-door.ts';
import type { CountingGate } from './refusals.ts';
import { signInPage } from './sign-in-page.ts';

export interface SignInDeps {
  readonly service: EndpointService;
  readonly gate: CountingGate;
  readonly authenticator: Authenticator;
  /** Whether a password alone is not enough for somebody; default: it is. */
  readonly wantsMore?: (who: Principal) => Promise<boolean>;
  readonly log: Log;
}

const path = /^\/endpoint\/([a-z0-9]{4,64})$/;
const patience = 10_000;
const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export function signInDoor(deps: SignInDeps): Door {
  const answer = async (request: IncomingMessage, response: ServerResponse, conn: Conn): Promise<void> => {
    try {
      const [, id = ''] = path.exec(request.url ?? '') ?? [];
      if (id === '') throw new Fault('missing', 'there is no such page');
      if (request.method === 'GET' || request.method === 'HEAD') return sendPage(response);
      if (request.method !== 'POST') throw new Fault('missing', 'this page is read, or posted to');
      checkSameOrigin(request);
      sendJson(response, 200, await letIn(id, await readJson(request), conn, deps));
    } catch (error) {
      const { fault, status, text } = answerOf(error);
      if (fault.code === 'bug') deps.log.error({ error }, 'a sign-in failed');
      if (response.headersSent) response.destroy();
      else sendJson(response, status, { error: { code: fault.code, message: text } }, { connection: 'close' });
    }
  };
  return {
    name: 'endpoint sign-in',
    claims: ({ url = '' }) => url.startsWith('/endpoint/'),
    answer: (request, response, conn) => void answer(request, response, conn),
  };
}

function sendPage(response: ServerResponse): void {
  const nonce = randomBytes(16).toString('base64');
  const text = signInPage(nonce);
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'`,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  });
  response.end(text);
}

/** A page elsewhere may not sign its visitors in: JSON needs a preflight, which nobody answers, and Origin is ours. */
function checkSameOrigin({ headers }: IncomingMessage): void {
  const { origin, host = '', 'content-type': type = '', 'sec-fetch-site': site } = headers;
  if (!/^application\/json(;|$)/i.test(type)) throw new Fault('invalid', 'the body must be JSON');
  const foreign = origin !== undefined && origin.toLowerCase() !== `https://${host}`.toLowerCase();
  if (foreign || (site !== undefined && site !== 'same-origin' && site !== 'none')) {
    throw new Fault('denied', 'pages of other sites may not do this');
  }
}

async function letIn(id: string, body: unknown, conn: Conn, deps: SignInDeps) {
  const { service, gate, authenticator, wantsMore } = deps;
  const from = conn.peer;
  const resource = `endpoint/${id}`;
  const refuse = (who: Principal, reason: string): void =>
    gate.refuse({ who, action: 'endpoint.unlock', resource, from, opened: resource }, reason);
  // Proven first: whether there is such an endpoint is for those to know who may use it.
  const who = await authenticator
    .prove(claimOf(id, body, conn), AbortSignal.timeout(patience))
    .catch((error: unknown) => {
      if (error instanceof Fault) refuse(nobody, error.code);
      throw error;
    });
  const isByCode = who.credential.startsWith('code:');
  if (!isByCode && (await wantsMore?.(who))) {
    refuse(who, 'a second factor is needed');
    throw new Fault('denied', 'a password alone is not enough for you; open a one-time link of this endpoint');
  }
  const endpoint = await service.get(id).catch(() => undefined);
  if (endpoint?.id !== id || !(isByCode || mayBy(who, endpoint))) {
    refuse(who, 'the sign-in is not for this endpoint');
    throw new Fault('denied', 'not allowed');
  }
  await using session = await gate.admit({ who, action: 'endpoint.unlock', resource, from, opened: resource });
  const { until, port, name } = await service.unlock(id, who.id, from);
  const address = 'host' in from ? addressKey(from.host) : '';
  session.note('address', address);
  return {
    id,
    address,
    until: new Date(until).toISOString(),
    ...(typeof port === 'number' ? { port } : {}),
    ...(name ? { name } : {}),
  };
}

const mayBy = ({ id }: Principal, { owner, limits }: Endpoint): boolean =>
  limits.users.length > 0 ? limits.users.includes(id) : id !== '' && id === owner.id;

/** @throws Fault `invalid` */
function claimOf(id: string, body: unknown, { peer: from }: Conn): Claim {
  const { code, user, password } = (body ?? {}) as Record<string, unknown>;
  if (typeof code === 'string' && code.length <= 256) return { kind: 'code', purpose: `endpoint:${id}`, code, from };
  if (typeof user === 'string' && typeof password === 'string' && user.length <= 256 && password.length <= 1024) {
    return { kind: 'password', user, password, from };
  }
  throw new Fault('invalid', 'a code, or user and password');
}
