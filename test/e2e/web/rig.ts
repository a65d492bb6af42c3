// What the tests of the web gate share: a proxy on a real TLS port, origins behind it, and clients of every kind.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import type { AccessRequest, Address } from '../../../src/core/parts.ts';
import {
  openWeb,
  planWeb,
  type WebDeps,
  type WebLine,
  type WebService,
  webConfig,
} from '../../../src/features/web/index.ts';
import { listenTcp } from '../../../src/net/tcp.ts';
import { upgradeTls } from '../../../src/net/tls.ts';
import { type Ca, type Issued, makeCa } from '../../fixtures/certificates.ts';
import { type TestGate, testGate } from '../../fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../fixtures/quiet.ts';
import { accessLines, byCommonName, decision, resolverOf, serveAll } from './rig-parts.ts';

export const ca: Ca = makeCa('Staff CA');
export const serverCertificate: Issued = ca.issue({ cn: 'gate', san: ['localhost', '127.0.0.1'] });
export const staff: Issued = ca.issue({ cn: 'staff01', ou: '医療事業部', client: true });

export interface Rig extends AsyncDisposable {
  readonly port: number;
  readonly web: WebService;
  readonly gate: TestGate;
  readonly lines: WebLine[];
  readonly metrics: ReturnType<typeof memoryMetrics>;
  readonly log: ReturnType<typeof memoryLog>;
  /** Certificates (CN) that no longer count. */
  readonly revoked: Set<string>;
  /** The nth access line, when it comes. */
  line(index?: number): Promise<WebLine>;
  replace(forward: object): void;
  tls(options?: { readonly identity?: Issued | undefined; readonly alpn?: string }): Promise<TLSSocket>;
  /** Writes bytes as they are on one connection, answers everything that came back until it ended or `until` matched. */
  raw(
    text: string | Buffer,
    options?: { readonly identity?: Issued | undefined; readonly until?: RegExp },
  ): Promise<string>;
  http2(identity: Issued | undefined): Promise<ClientHttp2Session>;
}
export interface RigOptions {
  readonly forward: object;
  readonly decide?: (request: AccessRequest) => string | undefined;
  readonly deps?: Partial<WebDeps>;
  readonly clock?: Clock;
  /** Names → addresses. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
}

/** As `access` does: nobody gets in without being known. */
const knownOnly = ({ who }: AccessRequest): string | undefined =>
  who.kind === 'anonymous' ? 'no rule is about this' : undefined;

export async function openRig({
  forward,
  decide = knownOnly,
  deps = {},
  clock = systemClock,
  names = {},
}: RigOptions): Promise<Rig> {
  const [log, metrics, revoked] = [memoryLog(), memoryMetrics(), new Set<string>()];
  const { lines, line, accessLog } = accessLines();
  const gate = testGate({ decide, log });
  const plan = (config: object) => {
    const planned = planWeb(webConfig.parse({ forward: config })).forward;
    if (!planned) throw new Error('no forward in the plan');
    return planned;
  };
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  const port = (listener.address as { port: number }).port;
  const web = openWeb(plan(forward), {
    ...{ gate, clock, log, metrics, pacToken: 'token' },
    identify: byCommonName(revoked),
    decide: (who, resource, from) => decision(decide({ who, action: 'web.request', resource, from })),
    proxy: () => ({ host: 'localhost', port }),
    origin: () => `https://localhost:${port}`,
    names: () => ['localhost'],
    listeners: () => [{ host: '127.0.0.1', port }],
    issuers: () => ['Staff CA'],
    accessLog,
    resolver: resolverOf(names),
    ...deps,
  });
  const upgrade = upgradeTls({
    identities: [{ cert: serverCertificate.fullchain, key: serverCertificate.key }],
    alpn: ['h2', 'http/1.1'],
    clients: { mode: 'requested', ca: [ca.cert], depth: 3 },
    session: { tickets: true, cache: 0, timeout: 300_000 },
    ...{ context: 'test', handshake: 10_000 },
  });
  const pumping = serveAll(listener, upgrade, conn => web.handle(conn));
  const tls: Rig['tls'] = async ({ identity, alpn = 'http/1.1' } = {}) => {
    const socket = tlsConnect({
      ...{ host: '127.0.0.1', port, servername: 'localhost', ca: [ca.cert], ALPNProtocols: [alpn] },
      ...(identity ? { cert: identity.fullchain, key: identity.key } : {}),
    });
    await once(socket, 'secureConnect');
    socket.on('error', () => {});
    return socket;
  };
  return {
    ...{ port, web, gate, lines, metrics, log, revoked, tls },
    line,
    replace: config => web.replace(plan(config)),
    async raw(text, options = {}) {
      const { identity = 'identity' in options ? options.identity : staff, until } = options;
      const socket = await tls({ identity });
      socket.write(text);
      let got = '';
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        got += chunk.toString('latin1');
        if (until?.test(got)) break;
      }
      socket.destroy();
      return got;
    },
    async http2(identity) {
      const session = connectHttp2(`https://localhost:${port}`, {
        ...{ ca: [ca.cert], servername: 'localhost' },
        ...(identity ? { cert: identity.fullchain, key: identity.key } : {}),
      });
      session.on('error', () => {});
      await once(session, 'connect');
      return session;
    },
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      await web[Symbol.asyncDispose]();
      await pumping;
    },
  };
}

export interface Origin extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** Each request's head as it came. */
  readonly seen: {
    readonly method: string;
    readonly url: string;
    readonly headers: readonly string[];
    readonly address: Address;
  }[];
}

/** An internal service on loopback. */
export async function openOrigin(serve: RequestListener = hello): Promise<Origin> {
  const seen: { method: string; url: string; headers: string[]; address: Address }[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { remoteAddress = '', remotePort = 0 } = request.socket;
    seen.push({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.rawHeaders,
      address: { host: remoteAddress, port: remotePort },
    });
    serve(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    ...{ server, seen },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const hello: RequestListener = (request, response) => {
  request.resume();
  response.end(`hello from ${request.headers.host}${request.url}`);
};

export const header = (fields: readonly string[], name: string): string | undefined => {
  const at = fields.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === name);
  return at < 0 ? undefined : fields[at + 1];
};
