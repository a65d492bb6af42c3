// A house for the API to stand in: real store, CA, users and sign-in; a unix socket (administrator) and a TCP port.
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Api, type ApiDeps, createApi } from '../../src/api/index.ts';
import { connOfSocket } from '../../src/net/conn.ts';
import { openStore } from '../../src/store/index.ts';
import {
  type Authority,
  type ClientTrust,
  certificateChecker,
  createAuthenticator,
  createDirectory,
  createLimiter,
  type Directory,
  openAuthority,
  trustConfig,
} from '../../src/trust/index.ts';
import {
  FakeApprovals,
  FakeAudit,
  FakeGate,
  FakeSessions,
  fakeHouse,
  fakeRights,
  noMetrics,
  silentLog,
  testClock,
} from './api-fakes.ts';

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

export async function openHouse(t: { after(call: () => unknown): void }, change: Partial<ApiDeps> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'sekisho-api-'));
  const clock = testClock();
  const log = silentLog;
  const store = await openStore({ url: 'sqlite::memory:', log, clock });
  const authority: Authority = await openAuthority({ store, dir, log, clock });
  const directory: Directory = await createDirectory({ store, dir, authority, log, clock });
  const trust: ClientTrust = { mode: 'optional', ...authority.trust(), crls: [], crlGrace: 0, depth: 3 };
  const checker = certificateChecker(trust, clock);
  const limiter = createLimiter(trustConfig.parse({})['rate-limit']);
  const fakes = {
    gate: new FakeGate(),
    audit: new FakeAudit(),
    sessions: new FakeSessions(),
    approvals: new FakeApprovals(),
    house: fakeHouse(),
  };
  const api: Api = await createApi({
    ...fakes,
    authority,
    directory,
    authenticator: createAuthenticator({ directory, limiter, certificates: () => checker, log }),
    rights: fakeRights,
    clock,
    log,
    metrics: noMetrics,
    ...change,
  });
  const socket = join(dir, 'sekisho.sock');
  const unix = await listen(api, 'local', { path: socket });
  const tcp = await listen(api, undefined, { host: '127.0.0.1', port: 0 });
  const port = (tcp.address() as AddressInfo).port;
  t.after(async () => {
    unix.close();
    tcp.close();
    await api[Symbol.asyncDispose]();
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });
  return {
    ...{ ...fakes, api, authority, directory, clock, dir, socket, port },
    /** Over the unix socket. */
    local: (path: string, ask?: Ask) => exchange({ socketPath: socket }, path, ask),
    /** Over TCP, as anybody. */
    remote: (path: string, ask?: Ask) => exchange({ host: '127.0.0.1', port }, path, ask),
    open: (path: string, ask?: Ask) => send({ host: '127.0.0.1', port }, path, ask),
    /** A user with these roles, and a sign-in's token. */
    async signedIn(name: string, ...roles: readonly ('admin' | 'operator' | 'auditor' | 'member')[]) {
      await directory.ensure({ name, roles });
      return (await directory.addToken({ user: name, kind: 'login', for: 3_600_000 })).token;
    },
  };
}
export type OpenHouse = Awaited<ReturnType<typeof openHouse>>;

async function listen(api: Api, door: 'local' | undefined, where: object): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    void api.handle(connOfSocket(socket, 'path' in where ? String(where.path) : undefined), door);
  });
  await new Promise<void>(resolve => server.listen(where, resolve));
  return server;
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
