// Article 004 on loopback: an internal site that knows only its old name, reached with a certificate by its original
// address through the proxy, and under a new name.
import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import { systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Conn, Gate, Log, Metrics, Principal, Session } from '../core/parts.ts';
import { openSites, openWeb, planSites, planWeb, webConfig } from '../features/web/index.ts';
import { listenTcp } from '../net/tcp.ts';
import { upgradeTls } from '../net/tls.ts';
import type { Authority } from '../trust/index.ts';

export interface WebDemo {
  /** What the service sent, and what arrived. */
  readonly service: { readonly host: string; readonly location: string };
  readonly staff: { readonly status: number; readonly location: string };
  readonly stranger: number;
  /** Through the proxy, as typed. */
  readonly original: { readonly status: number; readonly location: string };
}

/** Asks the site as staff and as nobody. */
export async function playWeb(authority: Authority, log: Log, metrics: Metrics): Promise<WebDemo> {
  await using stack = new AsyncDisposableStack();
  let host = '';
  const location = 'http://server1:8081/login';
  const service = createServer((request, response) => {
    host = request.headers.host ?? '';
    response.writeHead(302, { location }).end();
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');
  stack.defer(() => {
    service.closeAllConnections();
    service.close();
  });
  const name = 'server1-8081.example.com';
  const inside = (service.address() as AddressInfo).port;
  const config = webConfig.parse({
    forward: { hosts: { 'server1:8081': `tcp://127.0.0.1:${inside}` } },
    domain: 'example.com',
    sites: { 'server1-8081': { to: 'http://server1:8081/', at: `tcp://127.0.0.1:${inside}` } },
  });
  const plan = await planSites(config, async () => Buffer.alloc(0), { own: [], routes: [] });
  const { forward } = planWeb(config);
  if (!plan || !forward) throw new Fault('bug', 'the demonstration has no sites');
  const listener = stack.use(await listenTcp({ host: '127.0.0.1', port: 0, log, metrics }));
  const { port } = listener.address as { port: number };
  const world = {
    ...{ clock: systemClock, log, metrics, gate: knownOnly(log) },
    identify: async (conn: Conn): Promise<Principal> =>
      conn.tls?.leaf ? { ...nobody, kind: 'user', id: 'staff01' } : nobody,
    decide: () => ({ allow: true, rule: 'demo' }) as const,
    listeners: () => [listener.address],
    issuers: () => [],
  };
  const sites = stack.use(
    openSites(plan, {
      ...{ ...world, port: () => port, names: () => [], isForwarded: () => false },
      checkUrl: () => 'https://gate.example.com/check',
    }),
  );
  const proxyName = 'gate.example.com';
  const web = stack.use(
    openWeb(forward, {
      ...{ ...world, pacToken: 'demo', names: () => [proxyName] },
      proxy: () => ({ host: proxyName, port }),
      origin: () => `https://${proxyName}:${port}`,
    }),
  );
  const server = await authority.issueServer({ names: ['*.example.com'], key: 'ecdsa' });
  const ca = authority.root().cert;
  const tls = upgradeTls({
    identities: [{ cert: server.cert + server.chain.join(''), key: server.key }],
    alpn: ['http/1.1'],
    clients: { mode: 'optional', ca: [ca, ...server.chain], depth: 3 },
    session: { tickets: false, cache: 0, timeout: 300_000 },
    ...{ context: 'demo', handshake: 10_000 },
  });
  const serve = async (raw: Conn): Promise<void> => {
    try {
      const conn = await tls(raw, AbortSignal.timeout(10_000));
      await (conn.tls?.sni === proxyName ? web : sites).handle(conn);
    } catch {
      raw.stream.destroy();
    }
  };
  void (async () => {
    for await (const raw of listener) void serve(raw);
  })();
  const staff = await authority.issueClient({ user: 'staff01', key: 'ecdsa' });
  const ask = async (identity: object): Promise<{ status: number; location: string }> => {
    const request = httpsRequest({
      ...{ host: '127.0.0.1', port, servername: name, ca, agent: false, headers: { host: name } },
      ...identity,
    }).end();
    const [answer] = await once(request, 'response');
    answer.resume();
    return { status: answer.statusCode, location: String(answer.headers.location ?? '') };
  };
  const identity = { cert: staff.cert + staff.chain.join(''), key: staff.key };
  const original = await askProxy({ host: '127.0.0.1', port, servername: proxyName, ca, ...identity });
  const known = await ask(identity);
  const { status } = await ask({});
  return { service: { host, location }, staff: known, stranger: status, original };
}

/** What a browser sends whose PAC file says `HTTPS gate:443`: the address as typed. */
async function askProxy(proxy: ConnectionOptions): Promise<{ status: number; location: string }> {
  const socket = tlsConnect(proxy);
  await once(socket, 'secureConnect');
  const asked = { path: 'http://server1:8081/', headers: { host: 'server1:8081' }, createConnection: () => socket };
  const [answer] = await once(httpRequest(asked).end(), 'response');
  answer.resume();
  await once(answer, 'end');
  socket.destroy();
  return { status: answer.statusCode, location: String(answer.headers.location ?? '') };
}

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** The gate of a demonstration: it lets in whoever is known, and writes nothing down. */
function knownOnly(log: Log): Gate {
  return {
    refuse() {},
    async admit(request) {
      if (request.who.kind === 'anonymous') throw new Fault('denied', 'not allowed', { facts: { rule: 'demo' } });
      const { signal } = new AbortController();
      const session = { id: 'demo', request, signal, log, count() {}, note() {}, async [Symbol.asyncDispose]() {} };
      return session as unknown as Session; // what the real gate mints, without its audit
    },
  };
}
