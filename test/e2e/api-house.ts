// A house for the API to stand in: real store, trust and access; a unix socket (administrator) and a TCP port.
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Audit,
  accessConfig,
  createApprovals,
  createGate,
  createPolicy,
  createSessions,
  openAudit,
} from '../../src/access/index.ts';
import { type Api, type ApiDeps, createApi } from '../../src/api/index.ts';
import { TestClock } from '../../src/core/clock.ts';
import type { Listener } from '../../src/core/parts.ts';
import { listenTcp } from '../../src/net/tcp.ts';
import { type ServerTls, upgradeTls } from '../../src/net/tls.ts';
import { listenUnix } from '../../src/net/unix.ts';
import { openStore } from '../../src/store/index.ts';
import {
  type Authority,
  type ClientTrust,
  certificateChecker,
  createAuthenticator,
  createDirectory,
  createLimiter,
  openAuthority,
  openEnrolments,
  type Role,
  trustConfig,
} from '../../src/trust/index.ts';
import { fakeHouse, noMetrics, silentLog } from './api-fakes.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever came
  readonly body: any;
}
export interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

export interface HouseOptions {
  readonly limits?: ApiDeps['limits'];
  /** Also a TLS port, for localhost. */
  readonly tls?: boolean;
  /** What the clock says at first. */
  readonly now?: Date;
  readonly access?: readonly object[];
  /** Stands in for the audit, to make it fail or to slow it down. */
  readonly audit?: (real: Audit) => Audit;
}

export async function openHouse(t: { after(call: () => unknown): void }, options: HouseOptions = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'sekisho-api-'));
  const clock = new TestClock(options.now ?? '2026-11-22T09:00:00Z');
  const [log, metrics] = [silentLog, noMetrics];
  const store = await openStore({ url: `sqlite:${join(dir, 'sekisho.db')}`, log, clock });
  const authority = await openAuthority({ store, dir, log, clock });
  const directory = await createDirectory({ store, dir, authority, log, clock });
  const trust: ClientTrust = { mode: 'optional', ...authority.trust(), crls: [], crlGrace: 0, depth: 3 };
  const checker = certificateChecker(trust, clock);
  const limiter = createLimiter(trustConfig.parse({})['rate-limit']);
  const real = await openAudit({ store, keyFile: join(dir, 'audit.key'), clock, log, metrics });
  const audit = options.audit?.(real) ?? real;
  const sessions = createSessions();
  const approvals = createApprovals({ store, audit, clock, log });
  const policy = createPolicy(accessConfig.parse(options.access ?? []));
  const { standing } = directory;
  const gate = createGate({ policy: () => policy, audit, sessions, standing, approvals, clock, log, metrics });
  directory.onRevoked(credential => void sessions.cutBy(view => view.who.credential === credential));
  const house = fakeHouse();
  const authenticator = createAuthenticator({ directory, limiter, certificates: () => checker, log });
  const enrolments = openEnrolments({ store, clock, limiter, find: directory.find });
  const rooms = { enrolments, gate, authenticator, authority, directory, audit, sessions, approvals, standing, house };
  const api = await createApi({
    ...rooms,
    ...{ policy: () => policy, clock, log, metrics },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const socket = join(dir, 'sekisho.sock');
  const unix = await listenUnix({ path: socket, log, metrics });
  const tcp = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  const port = 'port' in tcp.address ? tcp.address.port : 0;
  const tls = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  const tlsPort = 'port' in tls.address ? tls.address.port : 0;
  const serving = [serveOn(unix, api, 'local'), serveOn(tcp, api)];
  if (options.tls) serving.push(serveTls(tls, await serverTls(authority), api));
  t.after(async () => {
    await Promise.all([unix, tcp, tls].map(listener => listener[Symbol.asyncDispose]()));
    await api[Symbol.asyncDispose]();
    await Promise.all(serving);
    await gate.drain(AbortSignal.abort());
    await real[Symbol.asyncDispose]();
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });
  return {
    ...{ ...rooms, api, store, clock, dir, socket, port, tlsPort },
    /** Over the unix socket. */
    local: (path: string, ask?: Ask) => exchange({ socketPath: socket }, path, ask),
    /** Over TCP, as anybody. */
    remote: (path: string, ask?: Ask) => exchange({ host: '127.0.0.1', port }, path, ask),
    /** Over TCP, the answer unread. */
    open: (path: string, ask?: Ask) => send({ host: '127.0.0.1', port }, path, ask),
    /** A user with these roles, and a sign-in's token. */
    async signedIn(name: string, ...roles: readonly Role[]) {
      await directory.ensure({ name, roles });
      return (await directory.addToken({ user: name, kind: 'login', for: 3_600_000 })).token;
    },
    /** `event outcome` of each row so far, oldest first; what is coalesced is written first. */
    async told() {
      const { rows } = await audit.search({ limit: 1000 });
      return rows.toReversed().map(({ event, outcome }) => `${event} ${outcome}`);
    },
  };
}
export type OpenHouse = Awaited<ReturnType<typeof openHouse>>;

async function serveOn(listener: Listener, api: Api, door?: 'local'): Promise<void> {
  const open: Promise<void>[] = [];
  for await (const conn of listener) open.push(api.handle(conn, door));
  await Promise.all(open);
}

const serverTls = async (authority: Authority): Promise<ServerTls> => {
  const { cert, chain, key } = await authority.issueServer({ names: ['localhost', '127.0.0.1'] });
  return upgradeTls({
    identities: [{ cert: [cert, ...chain].join('\n'), key }],
    alpn: ['http/1.1'],
    session: { tickets: true, cache: 0, timeout: 300_000 },
    ...{ context: 'test', handshake: 10_000 },
  });
};

async function serveTls(listener: Listener, upgrade: ServerTls, api: Api): Promise<void> {
  const open: Promise<unknown>[] = [];
  for await (const conn of listener) {
    const upgraded = upgrade(conn, AbortSignal.timeout(1000));
    open.push(upgraded.then(secure => api.handle(secure)).catch(() => conn.stream.destroy()));
  }
  await Promise.all(open);
  upgrade[Symbol.dispose]();
}

type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export function send(where: Where, path: string, ask: Ask = {}): Promise<IncomingMessage> {
  const { method = ask.body === undefined ? 'GET' : 'POST', body, token, headers = {} } = ask;
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sending = request({
      ...where,
      ...{ path, method, agent: false },
      headers: {
        host: 'gate.example.com',
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
    sending.once('response', resolve).once('error', reject).end(text);
  });
}

async function exchange(where: Where, path: string, ask?: Ask): Promise<Answer> {
  const answer = await send(where, path, ask);
  const text = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString('utf8');
  const isJson = answer.headers['content-type']?.startsWith('application/json') ?? false;
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: isJson ? JSON.parse(text) : text };
}
