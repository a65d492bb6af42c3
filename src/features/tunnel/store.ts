// Tunnels in the database: read whole at the start, written as they change.
import type { Store, TunnelSideTable, TunnelTable } from '../../store/index.ts';
import type { SideRecord, Tag, TunnelRecord } from './record.ts';
import { type SideName, sideNames } from './token.ts';

export interface TunnelRows {
  /** Oldest first. Sides that were connected when the last gate ended may come back until `comeback`. */
  load(comeback: Date): Promise<TunnelRecord[]>;
  insert(record: TunnelRecord): Promise<void>;
  /** What may change of a tunnel itself: tags, services, thing, `updated`, `closed`. */
  update(record: TunnelRecord): Promise<void>;
  updateSide(record: TunnelRecord, side: SideName): Promise<void>;
  remove(id: string): Promise<void>;
}

export function openRows({ db }: Store): TunnelRows {
  return {
    async load(comeback) {
      const rows = await db.selectFrom('tunnel').selectAll().orderBy('created').orderBy('id').execute();
      const sides = await db.selectFrom('tunnel_side').selectAll().execute();
      const sideOf = new Map(sides.map(row => [`${row.tunnel} ${row.side}`, row]));
      return rows.flatMap(row => {
        const [source, destination] = sideNames.map(side => sideOf.get(`${row.id} ${side}`));
        return source && destination ? [recordOf(row, source, destination, comeback)] : [];
      });
    },
    async insert(record) {
      await db.transaction().execute(async transaction => {
        await transaction.insertInto('tunnel').values(rowOf(record)).execute();
        for (const side of sideNames)
          await transaction.insertInto('tunnel_side').values(sideRowOf(record, side)).execute();
      });
    },
    async update(record) {
      await db.updateTable('tunnel').set(rowOf(record)).where('id', '=', record.id).execute();
    },
    async updateSide(record, side) {
      await db
        .updateTable('tunnel_side')
        .set(sideRowOf(record, side))
        .where('tunnel', '=', record.id)
        .where('side', '=', side)
        .execute();
    },
    async remove(id) {
      await db.deleteFrom('tunnel').where('id', '=', id).execute();
    },
  };
}

const text = (date: Date | undefined): string | null => date?.toISOString() ?? null;
const date = (value: string | null): Date | undefined => (value === null ? undefined : new Date(value));

function rowOf(record: TunnelRecord): TunnelTable {
  const { id, thing, services, description, tags, lifetime, opener, created, updated, expires, closed } = record;
  return {
    ...{ id, lifetime, thing: thing ?? null, description: description ?? null },
    ...{ services: JSON.stringify(services), tags: JSON.stringify(tags) },
    ...{ opener_kind: opener.kind, opener_id: opener.id },
    ...{ created: created.toISOString(), updated: updated.toISOString(), expires: expires.toISOString() },
    closed: text(closed),
  };
}

function sideRowOf(record: TunnelRecord, side: SideName): TunnelSideTable {
  const { hash, spent, client, state, changed, from } = record.sides[side];
  return {
    ...{ tunnel: record.id, side, hash, state, client: client ?? null, from: from ?? null },
    ...{ spent: text(spent), changed: text(changed) },
  };
}

function recordOf(row: TunnelTable, source: TunnelSideTable, destination: TunnelSideTable, until: Date): TunnelRecord {
  const { id, thing, description, opener_kind: kind, opener_id: opener } = row;
  return {
    ...{ id, thing: thing ?? undefined, description: description ?? undefined, lifetime: Number(row.lifetime) },
    services: JSON.parse(row.services) as string[],
    tags: JSON.parse(row.tags) as Tag[],
    opener: { kind, id: opener },
    ...{ created: new Date(row.created), updated: new Date(row.updated), expires: new Date(row.expires) },
    closed: date(row.closed),
    sides: { source: sideOf(source, until), destination: sideOf(destination, until) },
  };
}

function sideOf(row: TunnelSideTable, until: Date): SideRecord {
  const wasIn = row.state === 'connected' && row.client === null && row.from !== null;
  return {
    hash: row.hash,
    ...{ spent: date(row.spent), client: row.client ?? undefined, from: row.from ?? undefined },
    ...{ state: 'disconnected', changed: date(row.changed) },
    comeback: wasIn ? { until, from: row.from ?? '' } : undefined,
  };
}
