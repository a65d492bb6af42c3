// What the tests of renamed sites share: a gate's TLS port that knows sites only, and clients of every kind.
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import type { LookupFunction } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import type { AccessRequest } from '../../../src/core/parts.ts';
import {
  openSites,
  planSites,
  type SitesService,
  type SitesWorld,
  type WebLine,
  webConfig,
} from '../../../src/features/web/index.ts';
import { listenTcp } from '../../../src/net/tcp.ts';
import { upgradeTls } from '../../../src/net/tls.ts';
import type { Issued } from '../../fixtures/certificates.ts';
import { type TestGate, testGate } from '../../fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../fixtures/quiet.ts';
import { ca, staff } from './rig.ts';
import { accessLines, byCommonName, decision, resolverOf, serveAll } from './rig-parts.ts';

export { ca, header, type Origin, openOrigin, staff } from './rig.ts';

const wildcard: Issued = ca.issue({ cn: 'sites', san: ['*.example.com', '*.example.org'] });

export interface SitesRig extends AsyncDisposable {
  readonly port: number;
  readonly sites: SitesService;
  readonly gate: TestGate;
  readonly lines: WebLine[];
  readonly log: ReturnType<typeof memoryLog>;
  /** Certificates (CN) that no longer count. */
  readonly revoked: Set<string>;
  /** The nth access line, when it comes. */
  line(index?: number): Promise<WebLine>;
  replace(web: object): Promise<void>;
  tls(name: string, options?: { readonly identity?: Issued | undefined; readonly alpn?: string }): Promise<TLSSocket>;
  /** Writes bytes as they are, answers everything that came back until it ended or `until` matched. */
  raw(
    name: string,
    text: string | Buffer,
    options?: { readonly identity?: Issued | undefined; readonly until?: RegExp },
  ): Promise<string>;
  /** One GET on a connection of its own: status, fields in lower case, body. */
  get(
    name: string,
    path?: string,
    fields?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly fields: Record<string, string[]>; readonly text: string }>;
  http2(name: string, identity?: Issued): Promise<ClientHttp2Session>;
}
export interface SitesRigOptions {
  /** `web:` without its domain. */
  readonly sites: object;
  readonly more?: object;
  readonly decide?: (request: AccessRequest) => string | undefined;
  readonly world?: Partial<SitesWorld>;
  readonly clock?: Clock;
  /** Names → addresses. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
}

const toLoopback = ((_: string, __: object, done: (error: null, found: object[]) => void) =>
  done(null, [{ address: '127.0.0.1', family: 4 }])) as unknown as LookupFunction;
const knownOnly = ({ who, opened }: AccessRequest): string | undefined =>
  who.kind === 'anonymous' && opened === undefined ? 'no rule is about this' : undefined;

export async function openSitesRig({
  sites: written,
  more = {},
  decide = knownOnly,
  world = {},
  clock = systemClock,
  names = {},
}: SitesRigOptions): Promise<SitesRig> {
  const [log, metrics, revoked] = [memoryLog(), memoryMetrics(), new Set<string>()];
  const { lines, line, accessLog } = accessLines();
  const gate = testGate({ decide, log });
  const plan = async (web: object) => {
    const planned = await planSites(
      webConfig.parse({ domain: 'example.com', ...web }),
      async reference => (await import('node:fs')).readFileSync(reference.replace(/^file:/, '')),
      { own: [], routes: [] },
    );
    if (!planned) throw new Error('no sites in the plan');
    return planned;
  };
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  const port = (listener.address as { port: number }).port;
  const sites = openSites(await plan({ sites: written, ...more }), {
    ...{ gate, clock, log, metrics },
    identify: byCommonName(revoked),
    decide: (who, resource, from) => decision(decide({ who, action: 'web.request', resource, from })),
    port: () => port,
    checkUrl: () => `https://gate.example.com:${port}/check`,
    names: () => ['gate.example.com'],
    isForwarded: () => false,
    listeners: () => [{ host: '127.0.0.1', port }],
    issuers: () => ['Staff CA'],
    accessLog,
    resolver: resolverOf(names),
    ...world,
  });
  const upgrade = upgradeTls({
    identities: [{ cert: wildcard.fullchain, key: wildcard.key }],
    alpn: ['h2', 'http/1.1'],
    clients: { mode: 'optional', ca: [ca.cert], depth: 3 },
    session: { tickets: true, cache: 0, timeout: 300_000 },
    ...{ context: 'test', handshake: 10_000 },
  });
  const pumping = serveAll(listener, upgrade, conn => sites.handle(conn));
  const tls: SitesRig['tls'] = async (name, options = {}) => {
    const { identity = 'identity' in options ? options.identity : staff, alpn = 'http/1.1' } = options;
    const socket = tlsConnect({
      ...{ host: '127.0.0.1', port, servername: name, ca: [ca.cert], ALPNProtocols: [alpn] },
      ...(identity ? { cert: identity.fullchain, key: identity.key } : {}),
    });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return socket;
  };
  const raw: SitesRig['raw'] = async (name, text, options = {}) => {
    const socket = await tls(name, options);
    socket.write(text);
    let got = '';
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      got += chunk.toString('latin1');
      if (options.until?.test(got)) break;
    }
    socket.destroy();
    return got;
  };
  return {
    ...{ port, sites, gate, lines, log, revoked, tls, raw },
    line,
    replace: async web => sites.replace(await plan(web)),
    async get(name, path = '/', fields = {}) {
      const more = Object.entries(fields).map(([key, value]) => `${key}: ${value}\r\n`);
      const text = await raw(name, `GET ${path} HTTP/1.0\r\nHost: ${name}:${port}\r\n${more.join('')}\r\n`);
      const [head = '', ...body] = text.split('\r\n\r\n');
      const [first = '', ...lines] = head.split('\r\n');
      const found: Record<string, string[]> = {};
      for (const line of lines) {
        const colon = line.indexOf(':');
        const key = line.slice(0, colon).toLowerCase();
        found[key] = [...(found[key] ?? []), line.slice(colon + 1).trim()];
      }
      return { status: Number(first.split(' ')[1]), fields: found, text: body.join('\r\n\r\n') };
    },
    async http2(name, identity = staff) {
      const session = connectHttp2(`https://${name}:${port}`, {
        ...{ ca: [ca.cert], servername: name, lookup: toLoopback },
        ...{ cert: identity.fullchain, key: identity.key },
      });
      session.on('error', () => {});
      await once(session, 'connect');
      return session;
    },
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      await sites[Symbol.asyncDispose]();
      await pumping;
    },
  };
}
