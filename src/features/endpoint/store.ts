// The rows of endpoints: what a restart must find again, and what has ended, for as long as it is kept.
import type { EndpointTable, Store } from '../../store/index.ts';
import type { Endpoint, EndpointLimits, NapterFacts, Unlock } from './endpoint.ts';

export interface EndpointStore {
  add(endpoint: Endpoint): Promise<void>;
  change(endpoint: Endpoint): Promise<void>;
  /** What waits or is open. */
  live(): Promise<Endpoint[]>;
  get(id: string): Promise<Endpoint | undefined>;
  /** Newest first; `before` is the last one of the page before. */
  ended(filter: { readonly limit: number; readonly owner?: string }): Promise<Endpoint[]>;
  /** Ports of endpoints that ended after this time, with whose they were; the newest last. */
  portsSince(time: number): Promise<{ readonly port: number; readonly owner: string; readonly ended: number }[]>;
  unlocks(): Promise<Unlock[]>;
  unlock(unlock: Unlock): Promise<void>;
  /** Forgets what ended before this time. */
  prune(before: number): Promise<void>;
}

export function endpointStore({ db }: Pick<Store, 'db'>): EndpointStore {
  return {
    async add(endpoint) {
      await db.insertInto('endpoint').values(toRow(endpoint)).execute();
    },
    async change(endpoint) {
      const { id, ...row } = toRow(endpoint);
      await db.updateTable('endpoint').set(row).where('id', '=', id).execute();
    },
    async live() {
      const rows = await db
        .selectFrom('endpoint')
        .selectAll()
        .where('state', 'in', ['waiting', 'open'])
        .orderBy('created')
        .execute();
      return rows.map(fromRow);
    },
    async get(id) {
      const row = await db.selectFrom('endpoint').selectAll().where('id', '=', id).executeTakeFirst();
      return row && fromRow(row);
    },
    async ended({ limit, owner }) {
      let query = db.selectFrom('endpoint').selectAll().where('state', '=', 'closed');
      if (owner !== undefined) query = query.where('owner_id', '=', owner);
      const rows = await query.orderBy('ended', 'desc').orderBy('id').limit(limit).execute();
      return rows.map(fromRow);
    },
    async portsSince(time) {
      const rows = await db
        .selectFrom('endpoint')
        .select(['port', 'owner_id', 'ended'])
        .where('state', '=', 'closed')
        .where('ended', '>', text(time))
        .where('port', '>', 0)
        .orderBy('ended')
        .execute();
      return rows.map(({ port, owner_id, ended }) => ({
        port: port ?? 0,
        owner: owner_id,
        ended: Date.parse(ended ?? ''),
      }));
    },
    async unlocks() {
      const rows = await db.selectFrom('endpoint_unlock').selectAll().orderBy('at').execute();
      return rows.map(row => ({ ...row, at: Date.parse(row.at) }));
    },
    async unlock(unlock) {
      const row = { ...unlock, at: text(unlock.at) };
      await db
        .insertInto('endpoint_unlock')
        .values(row)
        .onConflict(conflict => conflict.columns(['endpoint', 'address']).doUpdateSet({ who: row.who, at: row.at }))
        .execute();
    },
    async prune(before) {
      const over = db
        .selectFrom('endpoint')
        .select('id')
        .where('state', '=', 'closed')
        .where('ended', '<', text(before));
      await db.deleteFrom('endpoint_unlock').where('endpoint', 'in', over).execute();
      await db.deleteFrom('endpoint').where('state', '=', 'closed').where('ended', '<', text(before)).execute();
    },
  };
}

const text = (time: number): string => new Date(time).toISOString();
const textOr = (time: number | undefined): string | null => (time === undefined ? null : text(time));
const timeOr = (time: string | null): number | undefined => (time === null ? undefined : Date.parse(time));

function toRow(endpoint: Endpoint): EndpointTable {
  const { owner, limits, port, napter, used } = endpoint;
  return {
    id: endpoint.id,
    state: endpoint.state,
    created: text(endpoint.created),
    opened: textOr(endpoint.opened),
    until: text(endpoint.until),
    ended: textOr(endpoint.ended),
    cause: endpoint.cause ?? null,
    owner_kind: owner.kind,
    owner_id: owner.id,
    credential: owner.credential,
    owner_groups: JSON.stringify(owner.groups),
    from: owner.from,
    target: endpoint.target,
    resource: endpoint.resource,
    wanted: endpoint.wanted,
    reason: endpoint.reason,
    tls: endpoint.tls,
    port: port === 'wanted' ? 0 : (port ?? null),
    name: endpoint.name ?? null,
    limits: JSON.stringify(limits),
    latched: endpoint.latched ?? null,
    used: used ? 1 : 0,
    approval: endpoint.approval ?? null,
    session: endpoint.session ?? null,
    napter: napter === undefined ? null : JSON.stringify(napter),
  };
}

function fromRow(row: EndpointTable): Endpoint {
  return {
    id: row.id,
    state: row.state,
    created: Date.parse(row.created),
    opened: timeOr(row.opened),
    until: Date.parse(row.until),
    ended: timeOr(row.ended),
    cause: (row.cause ?? undefined) as Endpoint['cause'],
    owner: {
      kind: row.owner_kind as Endpoint['owner']['kind'],
      id: row.owner_id,
      credential: row.credential,
      groups: JSON.parse(row.owner_groups) as string[],
      from: row.from,
    },
    target: row.target,
    resource: row.resource,
    wanted: row.wanted,
    reason: row.reason,
    tls: row.tls,
    port: row.port === null ? undefined : row.port === 0 ? 'wanted' : row.port,
    name: row.name ?? undefined,
    limits: JSON.parse(row.limits) as EndpointLimits,
    latched: row.latched ?? undefined,
    used: row.used === 1,
    approval: row.approval ?? undefined,
    session: row.session ?? undefined,
    napter: row.napter === null ? undefined : (JSON.parse(row.napter) as NapterFacts),
  };
}
