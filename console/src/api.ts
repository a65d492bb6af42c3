// Calls of the API, typed by its own contract. The browser adds the sign-in cookie, we the key that it counts beside.
import type { AnswerOf, InputOf, VerbName } from '../../src/api/contract/routes.ts';

export type { AnswerOf } from '../../src/api/contract/routes.ts';

/** The verbs that the console calls. test/e2e compares them with the contract. */
export const calls = {
  'auth.sign-in': 'POST /v1/sign-in',
  'auth.ways': 'GET /v1/sign-in',
  'auth.oidc': 'POST /v1/sign-in/oidc',
  'auth.passkey-ask': 'POST /v1/sign-in/passkey',
  'auth.prove': 'POST /v1/prove',
  'auth.list': 'GET /v1/sign-ins',
  'auth.end': 'DELETE /v1/sign-ins/:id',
  'auth.logout': 'POST /v1/logout',
  'auth.whoami': 'GET /v1/whoami',
  'status.show': 'GET /v1/status',
  'session.list': 'GET /v1/sessions',
  'session.cut': 'POST /v1/sessions/:id/cut',
  'proxy.list': 'GET /v1/proxy',
  'cert.ca': 'GET /v1/certs/ca',
  'cert.list': 'GET /v1/certs',
  'cert.issue': 'POST /v1/certs',
  'cert.revoke': 'POST /v1/certs/:serial/revoke',
  'cert.enroll': 'POST /v1/certs/enrolments',
  'cert.renew': 'POST /v1/certs/:serial/renewal',
  'cert.enrolments': 'GET /v1/certs/enrolments',
  'cert.unlink': 'DELETE /v1/certs/enrolments/:id',
  'cert.link': 'POST /v1/certs/enrolment',
  'cert.fetch': 'POST /v1/certs/enrolment/certificate',
  'user.list': 'GET /v1/users',
  'user.add': 'POST /v1/users',
  'user.remove': 'DELETE /v1/users/:name',
  'user.role': 'PUT /v1/users/:name/roles',
  'user.passwd': 'PUT /v1/users/:name/password',
  'user.link': 'POST /v1/users/:name/link',
  'group.list': 'GET /v1/groups',
  'group.add': 'PUT /v1/groups/:name/members/:user',
  'group.remove': 'DELETE /v1/groups/:name/members/:user',
  'user.totp': 'POST /v1/users/:name/totp',
  'user.totp-remove': 'DELETE /v1/users/:name/totp',
  'user.passkey-list': 'GET /v1/users/:name/passkeys',
  'user.passkey-ask': 'POST /v1/users/:name/passkeys/ask',
  'user.passkey': 'POST /v1/users/:name/passkeys',
  'user.passkey-remove': 'DELETE /v1/users/:name/passkeys/:id',
  'approval.list': 'GET /v1/approvals',
  'approval.approve': 'POST /v1/approvals/:id/approve',
  'approval.refuse': 'POST /v1/approvals/:id/refuse',
  'audit.search': 'GET /v1/audit',
  'audit.verify': 'POST /v1/audit/verify',
  'audit.head': 'GET /v1/audit/head',
  'audit.recording-list': 'GET /v1/audit/recordings',
  'device.list': 'GET /v1/devices',
  'device.enroll': 'POST /v1/devices',
  'device.revoke': 'POST /v1/devices/:name/revoke',
  'device.show': 'GET /v1/devices/:name',
  'device.host-keys': 'GET /v1/devices/:name/host-keys',
  'device.host-key-remove': 'DELETE /v1/devices/:name/host-keys/:service',
  'endpoint.open': 'POST /v1/endpoints',
  'endpoint.list': 'GET /v1/endpoints',
  'endpoint.show': 'GET /v1/endpoints/:id',
  'endpoint.extend': 'POST /v1/endpoints/:id/extend',
  'endpoint.close': 'DELETE /v1/endpoints/:id',
  'endpoint.approve': 'POST /v1/endpoints/:id/approve',
  'tunnel.list': 'GET /v1/tunnels',
  'tunnel.open': 'POST /v1/tunnels',
  'tunnel.close': 'POST /v1/tunnels/:id/close',
  'web.list': 'GET /v1/web',
  'web.pac': 'GET /v1/web/pac',
  'web.check': 'GET /v1/web/check',
  'vpn.hub-list': 'GET /v1/vpn/hubs',
  'vpn.hub-create': 'POST /v1/vpn/hubs',
  'vpn.user-list': 'GET /v1/vpn/hubs/:hub/users',
  'vpn.user-remove': 'DELETE /v1/vpn/hubs/:hub/users/:user',
  'vpn.user-add': 'POST /v1/vpn/hubs/:hub/users',
  'vpn.session-list': 'GET /v1/vpn/sessions',
  'vpn.session-cut': 'DELETE /v1/vpn/hubs/:hub/sessions/:name',
  'vpn.tables': 'GET /v1/vpn/hubs/:hub/tables',
} as const satisfies Partial<Record<VerbName, string>>;
export type Called = keyof typeof calls;

/** What the gate said against it: `code` tells what to do, `message` is a sentence. */
export class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The cookie goes to every port of this host, an endpoint's too; what a page keeps stays with its origin. Neither is
 * worth anything without the other.
 */
const keyName = 'sekisho-key';
let key: string | null = null;
try {
  key = localStorage.getItem(keyName);
} catch {
  // a browser that keeps nothing: signed in until the page is loaded anew
}
export const keyHeader = (): Record<string, string> => (key === null ? {} : { [keyName]: key });
/** For WebSockets, which send no headers of ours: a subprotocol beside the real one. */
export const keyProtocol = (): string[] => (key === null ? [] : [`${keyName}.${key}`]);
export function keepKey(next: string): void {
  key = next;
  try {
    localStorage.setItem(keyName, next);
  } catch {
    // as above
  }
}

interface Parts {
  readonly params?: Record<string, string>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

/** @throws Refusal */
export async function call<N extends Called>(name: N, ...[input]: Args<InputOf<N>>): Promise<AnswerOf<N>> {
  const { params = {}, query = {}, body } = (input ?? {}) as Parts;
  const [method = 'GET', template = '/'] = calls[name].split(' ');
  const path = template.replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(params[key] ?? ''));
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') asked.set(key, String(value));
  }
  const url = asked.size > 0 ? `${path}?${asked}` : path;
  const sends = method !== 'GET' && method !== 'DELETE';
  const response = await fetch(url, {
    method,
    credentials: 'same-origin',
    headers: { ...keyHeader(), ...(sends ? { 'content-type': 'application/json' } : {}) },
    ...(sends ? { body: JSON.stringify(body ?? {}) } : {}),
  }).catch(() => {
    throw new Refusal('unreachable', 'the gate does not answer');
  });
  const answer = (await response.json().catch(() => undefined)) as { error?: { code: string; message: string } };
  if (response.ok) return answer as AnswerOf<N>;
  throw new Refusal(answer?.error?.code ?? 'bug', answer?.error?.message ?? `status ${response.status}`);
}

/** A file that the gate gives: a link of a page would bring the cookie without its key. @throws Refusal */
export async function fetchFile(path: string): Promise<Blob> {
  const response = await fetch(path, { credentials: 'same-origin', headers: keyHeader() }).catch(() => {
    throw new Refusal('unreachable', 'the gate does not answer');
  });
  if (response.ok) return response.blob();
  const answer = (await response.json().catch(() => undefined)) as { error?: { code: string; message: string } };
  throw new Refusal(answer?.error?.code ?? 'bug', answer?.error?.message ?? `status ${response.status}`);
}

type Args<I> = Record<never, never> extends I ? [input?: I] : [input: I];
