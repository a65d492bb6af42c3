// Endpoints with a real store, gate, audit and approvals, a clock that is moved, sockets on loopback, and devices in memory.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import {
  type AuditRow,
  accessConfig,
  createApprovals,
  createGate,
  createPolicy,
  createSessions,
  openAudit,
} from '../../../src/access/index.ts';
import { TestClock } from '../../../src/core/clock.ts';
import type { Address, Conn, Dialer, Principal } from '../../../src/core/parts.ts';
import {
  type Endpoint,
  type EndpointDeps,
  type EndpointService,
  endpointConfig,
  endpointStore,
  type Notice,
  type OpenRequest,
  openEndpoints,
} from '../../../src/features/endpoint/index.ts';
import { addressFault } from '../../../src/features/web/index.ts';
import { memoryPair } from '../../../src/net/memory.ts';
import { createResolver } from '../../../src/net/resolve.ts';
import { openStore } from '../../../src/store/index.ts';
import { anonymous } from '../../../src/trust/index.ts';
import { temporaryFolder } from '../../fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../fixtures/quiet.ts';

export const user = (id: string, groups: readonly string[] = []): Principal => ({
  kind: 'user',
  id,
  groups,
  attributes: new Map(),
  credential: `token:${id}`,
});
export const operator = user('operator1');
export const home: Address = { host: '127.0.0.1', port: 40_000 };

export interface RigOptions {
  /** The `access:` slice; default: operator1 may open whatever it is. */
  readonly access?: unknown;
  readonly config?: Parameters<typeof endpointConfig.parse>[0];
  readonly deps?: Partial<EndpointDeps>;
}

export interface Rig {
  readonly clock: TestClock;
  service: EndpointService;
  readonly approvals: ReturnType<typeof createApprovals>;
  readonly sessions: ReturnType<typeof createSessions>;
  readonly notices: Notice[];
  /** Users that are gone. */
  readonly gone: Set<string>;
  /** How the device answers; default: it says back what it hears. */
  device: (conn: Conn) => void;
  /** Far ends of conns that devices were given. */
  readonly reached: Conn[];
  readonly audit: Awaited<ReturnType<typeof openAudit>>;
  open(more?: Partial<OpenRequest>, who?: Principal, from?: Address): Promise<Endpoint>;
  /** Connects to a pool port from this address; resolves when the other side has taken it or turned it away. */
  enter(endpoint: Pick<Endpoint, 'port'>, from?: string): Promise<Visitor>;
  rows(event: string): Promise<AuditRow[]>;
  /** Ends the service as a stopping gate does, and starts it anew on the same store. */
  restart(config?: RigOptions['config']): Promise<void>;
  setAccess(access: unknown): void;
}

export interface Visitor {
  readonly socket: Socket;
  /** `in` when the device answered, `out` when the connection ended first. */
  say(text: string): Promise<string | 'out'>;
  readonly over: Promise<void>;
}

export async function openRig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  const clock = new TestClock('2026-11-22T09:00:00Z');
  const log = memoryLog();
  const folder = temporaryFolder('endpoint');
  const store = await openStore({ url: 'sqlite::memory:', log, clock });
  const audit = await openAudit({ store, keyFile: join(folder, 'audit.key'), clock, log });
  const sessions = createSessions();
  const approvals = createApprovals({ store, audit, clock, log });
  const gone = new Set<string>();
  let policy = createPolicy(accessConfig.parse(options.access ?? [{ allow: 'endpoint.open' }]));
  const metrics = memoryMetrics();
  const gate = createGate({
    audit,
    sessions,
    approvals,
    clock,
    log,
    metrics,
    policy: () => policy,
    standing: who => who,
  });
  const notices: Notice[] = [];
  const reached: Conn[] = [];
  const dialer: Dialer = {
    async dial() {
      const [near, far] = memoryPair();
      reached.push(far);
      rig.device(far);
      return near;
    },
  };
  const start = (config: RigOptions['config']): Promise<EndpointService> =>
    openEndpoints(endpointConfig.parse(config ?? options.config ?? {}), {
      ...{ store: endpointStore(store), gate, clock, log, metrics },
      decide: request => policy.decide(request, clock.now()),
      owner: owner => (gone.has(owner.id) ? undefined : { ...user(owner.id), credential: owner.credential }),
      identify: async () => anonymous,
      approval: id => approvals.get(id),
      tls: { own: () => [], named: async () => [], clients: () => ({ cas: [], depth: 3 }) },
      reach: { device: dialer, resolver: createResolver(), isOwn: () => false, addressFault },
      findDevice: name =>
        ['pump-7', '440101234567890'].includes(name)
          ? {
              name: 'pump-7',
              imsi: '440101234567890',
              service: wanted => (['ssh', '22'].includes(wanted) ? 'ssh' : undefined),
              addressOf: service => (service === 'ssh' ? '127.0.0.1:22' : undefined),
            }
          : undefined,
      hosts: () => ['127.0.0.1'],
      domain: () => undefined,
      record: async event => void (await audit.append({ ...event })),
      notify: notice => void notices.push(notice),
      ...options.deps,
    });
  const rig: Rig = {
    ...{ clock, approvals, sessions, notices, gone, reached, audit },
    service: undefined as never,
    device: ({ stream }) => void stream.pipe(stream),
    open: (more = {}, who = operator, from = home) =>
      rig.service.open({ target: 'device://pump-7/ssh', from: ['127.0.0.0/8'], ...more }, { who, from }),
    enter: async ({ port }, from = '127.0.0.1') => visitor(t, Number(port), from),
    rows: async event => (await audit.search({ event, limit: 1000 })).rows.reverse(),
    async restart(config) {
      await rig.service[Symbol.asyncDispose]();
      rig.service = await start(config);
    },
    setAccess(access) {
      policy = createPolicy(accessConfig.parse(access));
    },
  };
  rig.service = await start(options.config);
  const stop = approvals.onChange(view => rig.service.decided(view));
  t.after(async () => {
    stop();
    await rig.service[Symbol.asyncDispose]();
    await gate.drain(AbortSignal.abort());
    await audit[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  });
  return rig;
}

async function visitor(t: TestContext, port: number, from: string): Promise<Visitor> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from, allowHalfOpen: true });
  t.after(() => socket.destroy());
  let heard = '';
  let wake = (): void => {};
  const over = new Promise<void>(resolve => socket.once('close', () => resolve()));
  socket.setEncoding('utf8').on('data', text => {
    heard += text;
    wake();
  });
  socket.on('error', () => {}).on('end', () => socket.end());
  await Promise.race([once(socket, 'connect').catch(() => {}), over]);
  return {
    socket,
    over,
    async say(text) {
      heard = '';
      if (socket.destroyed) return 'out';
      socket.write(text);
      const answered = new Promise<string>(resolve => {
        wake = () => {
          if (heard.length >= text.length) resolve(heard);
        };
      });
      return Promise.race([answered, over.then(() => 'out')]);
    },
  };
}

/** Tries until it is so. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const patience = AbortSignal.timeout(10_000);
  while (!(await isSo())) {
    if (patience.aborted) throw new Error(`waited in vain: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}
