// The way back from the OpenID provider: /oidc/callback. What it brings becomes a one-time code for the page that began it.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault, faults, toFault } from '../core/fault.ts';
import type { Conn } from '../core/parts.ts';
import { html, htmlPage } from '../features/web/index.ts';
import { anonymous } from '../trust/index.ts';
import type { ApiDeps } from './deps.ts';
import { checkHost } from './guard.ts';
import type { HttpDoor } from './http-server.ts';

export const oidcPath = '/oidc/callback';
const cookieName = '__Host-sekisho-oidc';
/** Lax: the way back comes from the provider's page, and Strict would leave the cookie at home. */
export const oidcCookie = (value: string): string =>
  `${cookieName}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${value === '' ? 0 : 600}`;

/** Milliseconds from the way back to the page that asks with the code. */
const codeLife = 60_000;
const longest = 8192;

export function oidcDoor(deps: ApiDeps): HttpDoor {
  return {
    name: 'oidc',
    claims: ({ url = '' }) => url === oidcPath || url.startsWith(`${oidcPath}?`),
    answer: (request, response, conn) => void answer(request, response, conn, deps),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, conn: Conn, deps: ApiDeps): Promise<void> {
  const { directory, gate, house, log } = deps;
  const headers = {
    'set-cookie': oidcCookie(''),
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
  try {
    checkHost(request.headers, conn, house.names());
    if (request.method !== 'GET' || (request.url ?? '').length > longest)
      throw new Fault('missing', 'this address is the way back from the OpenID provider');
    const provider = await deps.oidc?.();
    if (!provider) throw new Fault('missing', 'this gate knows no OpenID provider');
    const callback = new URL(request.url ?? '', house.origin());
    const { user, how, bound } = await provider.finish(callback, cookieOf(request));
    const { code } = await directory.addCode({ purpose: `${how} ${bound}`, name: user, for: codeLife });
    // In the fragment, as with one-time links: it stands in no log and goes to nobody as a referrer.
    response.writeHead(303, { ...headers, location: `/#${how}=${code}`, 'content-length': 0 }).end();
  } catch (error) {
    const fault = toFault(error);
    if (fault.code === 'bug') log.error({ error }, 'a sign-in by the OpenID provider failed');
    const who = { who: anonymous, action: 'user.login', resource: 'user/*', from: conn.peer } as const;
    gate.refuse(who, `oidc: ${fault.code}`);
    const text = fault.code === 'bug' ? 'something went wrong in the gate' : fault.message;
    const page = htmlPage(
      faults[fault.code].http,
      'Sekisho: sign in',
      `<h1>Sign in · サインイン</h1><p class="no">${html(text)}</p><p lang="ja">サインインできませんでした。もう一度やり直すか、別の方法でサインインしてください。</p><p><a href="/">${html(house.origin())}</a></p>`,
    );
    const bytes = Buffer.from(page.text);
    response
      .writeHead(page.status, {
        ...headers,
        ...page.headers,
        'content-type': page.type,
        'content-length': bytes.length,
      })
      .end(bytes);
  }
}

function cookieOf({ headers }: IncomingMessage): string | undefined {
  const values = (headers.cookie ?? '').split(/; */).filter(pair => pair.startsWith(`${cookieName}=`));
  return values.length === 1 ? values[0]?.slice(cookieName.length + 1) : undefined;
}
