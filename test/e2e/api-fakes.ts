// Rooms that the API talks to, in memory: what they were asked can be read, what they answer can be set.

import type {
  Approval,
  Approvals,
  Audit,
  AuditEvent,
  AuditRow,
  House,
  Rights,
  Sessions,
  SessionView,
} from '../../src/api/index.ts';
import { TestClock } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import type { AccessRequest, Action, EndReason, Gate, Log, Metrics, Principal, Session } from '../../src/core/parts.ts';

export const silentLog: Log = { child: () => silentLog, debug() {}, info() {}, warn() {}, error() {} };
export const noMetrics: Metrics = { count() {}, gauge() {}, observe() {} };

export class FakeAudit implements Audit {
  readonly rows: AuditRow[] = [];
  readonly publicKey = '-----BEGIN PUBLIC KEY-----\nfake\n-----END PUBLIC KEY-----\n';
  full = false;
  #wake: (() => void)[] = [];
  async append(event: AuditEvent): Promise<AuditRow> {
    if (this.full) throw new Fault('unreachable', 'the audit cannot be written: the disk is full');
    const { from, session = null, rule = null, who, ...rest } = event;
    const seq = this.rows.length + 1;
    const address = from === undefined ? null : 'path' in from ? from.path : `${from.host}:${from.port}`;
    const row: AuditRow = {
      ...rest,
      ...{ seq, session, rule, from: address, at: '2026-11-22T09:00:00.000Z', facts: { ...rest.facts } },
      who: { kind: who.kind, id: who.id, credential: who.credential },
      prev: String(seq - 1).padStart(64, '0'),
      hash: String(seq).padStart(64, '0'),
    };
    this.rows.push(row);
    for (const wake of this.#wake.splice(0)) wake();
    return row;
  }
  async *tail(after = this.rows.length, signal?: AbortSignal): AsyncIterable<AuditRow> {
    for (let at = after; !signal?.aborted; ) {
      const row = this.rows[at];
      if (row) {
        at++;
        yield row;
      } else {
        await new Promise<void>(resolve => {
          this.#wake.push(resolve);
          signal?.addEventListener('abort', () => resolve(), { once: true });
        });
      }
    }
  }
  async search(filter: Record<string, unknown>) {
    const rows = this.rows.filter(row => filter['event'] === undefined || row.event === filter['event']);
    return { rows: rows.toReversed() };
  }
  async verify() {
    return { ok: true, rows: this.rows.length, heads: 1, problems: [], notes: [] };
  }
  async *export() {
    for (const row of this.rows) yield `${JSON.stringify(row)}\n`;
  }
  head() {
    return { seq: this.rows.length, hash: 'h', at: '2026-11-22T09:00:00.000Z', key: 'k', signature: 's' };
  }
  /** `event outcome` of each row. */
  told(): string[] {
    return this.rows.map(({ event, outcome }) => `${event} ${outcome}`);
  }
}

export class FakeGate implements Gate {
  readonly admitted: AccessRequest[] = [];
  readonly refused: { request: AccessRequest; reason: string }[] = [];
  readonly open: { end(reason: EndReason): void }[] = [];
  closed = 0;
  async admit(request: AccessRequest): Promise<Session> {
    this.admitted.push(request);
    const ending = new AbortController();
    this.open.push({ end: reason => ending.abort(reason) });
    const session = {
      id: `s${this.admitted.length}`,
      request,
      signal: ending.signal,
      log: silentLog,
      count() {},
      note() {},
      [Symbol.asyncDispose]: async () => {
        this.closed++;
      },
    };
    return session as unknown as Session;
  }
  refuse(request: AccessRequest, reason: string): void {
    this.refused.push({ request, reason });
  }
}

export class FakeSessions implements Sessions {
  views: SessionView[] = [];
  readonly #calls = { opened: new Set<(view: SessionView) => void>(), ended: new Set<(view: SessionView) => void>() };
  list = (): SessionView[] => this.views;
  get = (id: string): SessionView | undefined => this.views.find(view => view.id === id);
  cut(id: string): boolean {
    const before = this.views.length;
    this.views = this.views.filter(view => view.id !== id);
    return this.views.length < before;
  }
  on(event: 'opened' | 'ended', call: (view: SessionView) => void): () => void {
    this.#calls[event].add(call);
    return () => this.#calls[event].delete(call);
  }
  tell(event: 'opened' | 'ended', view: SessionView): void {
    for (const call of this.#calls[event]) call(view);
  }
  get listeners(): number {
    return this.#calls.opened.size + this.#calls.ended.size;
  }
}

export const aSession: SessionView = {
  id: '01J9ZK3V',
  action: 'proxy.connect',
  resource: 'proxy/db',
  who: { kind: 'user', id: 'staff01', credential: 'cert:aa' },
  from: { host: '203.0.113.7', port: 40_000 },
  rule: 'proxy/db',
  since: new Date('2026-11-22T08:55:00Z'),
  until: new Date('2026-11-22T09:30:00Z'),
  bytes: { up: 1536, down: 12 },
  notes: { target: 'tcp://10.0.0.5:5432' },
};

export class FakeApprovals implements Approvals {
  items: Approval[] = [];
  async list() {
    return this.items;
  }
  async approve(id: string, by: Principal) {
    return this.#vote(id, by, 'approve');
  }
  async refuse(id: string, by: Principal) {
    return this.#vote(id, by, 'refuse');
  }
  #vote(id: string, by: Principal, vote: 'approve' | 'refuse'): Approval {
    const found = this.items.find(item => item.id === id);
    if (!found) throw new Fault('missing', `no request ${id}`);
    const votes = [...found.votes, { voter: by.id || 'local', at: new Date('2026-11-22T09:00:00Z'), vote }];
    const next: Approval = {
      ...found,
      votes,
      state: vote === 'refuse' ? 'refused' : votes.length >= found.count ? 'approved' : 'waiting',
    };
    this.items = this.items.map(item => (item.id === id ? next : item));
    return next;
  }
}

/** What the roles grant here; the real table is access/'s. */
const grants: Record<string, readonly string[]> = {
  admin: ['*'],
  operator: ['api.status', 'session.list', 'session.cut', 'proxy.list', 'cert.list'],
  auditor: ['audit.read', 'audit.verify', 'audit.export'],
};

export function fakeRights(who: Principal): Rights {
  const roles = (who.attributes.get('role') ?? []) as Rights['roles'];
  const scope = who.kind === 'token' ? who.attributes.get('scope') : undefined;
  const covers = (patterns: readonly string[], action: Action): boolean =>
    patterns.some(pattern => pattern === '*' || pattern === action || pattern === `${action.split('.')[0]}.*`);
  return {
    roles,
    ...(scope === undefined ? {} : { scope }),
    grants: action => {
      if (scope !== undefined && !covers(scope, action)) return undefined;
      const role = roles.find(name => covers(grants[name] ?? [], action));
      return role === undefined ? undefined : `role/${role}`;
    },
  };
}

export function fakeHouse(): House & { reloads: number; healthy: ReturnType<House['health']> } {
  return {
    version: '0.1.0',
    since: new Date('2026-11-22T08:00:00Z'),
    reloads: 0,
    healthy: 'ok',
    names: () => ['gate.example.com'],
    health() {
      return this.healthy;
    },
    listeners: () => [{ name: 'gate', listen: 'tls://127.0.0.1:8443' }],
    routes: () => [
      {
        name: 'db',
        listens: [{ written: 'tls://0.0.0.0:6432', address: { host: '0.0.0.0', port: 6432 } }],
        live: 1,
        draining: 0,
        upstreams: [
          { url: 'tcp://10.0.0.5:5432', address: '10.0.0.5', state: 'up', backup: false, live: 1, fails: 0 },
          { url: 'tcp://10.0.0.6:5432', address: '10.0.0.6', state: 'failed', backup: true, live: 0, fails: 3 },
        ],
        warnings: ['the target is not verified (verify: off)'],
      },
    ],
    warnings: () => ['the certificate of gate.example.com ends in 3 days'],
    check: async () => ({ ok: true, opens: ['tls://127.0.0.1:8443'], findings: [] }),
    async reload() {
      this.reloads++;
      return { added: ['web'], changed: [], removed: [], kept: ['db'], warnings: [] };
    },
    backup: async () =>
      (async function* () {
        yield Buffer.from('sealed');
      })(),
  };
}

export const testClock = (): TestClock => new TestClock('2026-11-22T09:00:00Z');
