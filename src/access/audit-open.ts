// Which sessions are open, in the chain's own books: what a killed gate left without an end is found at the next start.
//
// A short session costs nothing: only what is open across two signed heads comes into the table `audit_open`, in the
// commit of the head. So: open at a start = the table, and the openings after the newest head, less the ends after it.
import type { AuditOpenTable, Change, Kysely, Schema, Value } from '../store/index.ts';
import type { AuditEvent, FlatRow } from './audit-row.ts';
import { closedEvent } from './events.ts';

export type OpenRow = AuditOpenTable;

export class OpenSessions {
  /** Openings since the newest stored head. */
  readonly #fresh = new Map<string, FlatRow>();
  /** Ends, since then, of sessions that the table may hold. */
  #ended: string[] = [];
  /** Whether a commit may have taken place that was reported as failed: the table may hold fresh ones already. */
  #isUnsure = false;

  /** Every row, once it is on the disk. */
  note(row: FlatRow): void {
    if (row.session === null) return;
    if (isOpening(row)) this.#fresh.set(row.session, row);
    else if (isEnd(row)) {
      const wasFresh = this.#fresh.delete(row.session);
      if (!wasFresh || this.#isUnsure) this.#ended.push(row.session);
    }
  }

  /** What makes the table fit the rows noted so far; for the commit of a head over them. Doing it twice does no harm. */
  changes(): Change[] {
    const values: Value[] = [];
    for (const row of this.#fresh.values()) {
      const open = openRow(row);
      for (const column of columns) values.push(open[column]);
    }
    return [
      ...(this.#ended.length > 0 ? [{ table: 'audit_open', column: 'session', remove: [...this.#ended] }] : []),
      ...(values.length > 0 ? [{ table: 'audit_open', columns, values, ifMissing: true } as const] : []),
    ];
  }

  /** The last `changes` are on the disk. */
  stored(): void {
    this.#fresh.clear();
    this.#ended = [];
    this.#isUnsure = false;
  }

  /** Whether they are is not known. */
  failed(): void {
    this.#isUnsure = true;
  }

  /** What is open by the table and the rows noted. */
  async all(db: Kysely<Schema>): Promise<OpenRow[]> {
    const ended = new Set(this.#ended);
    const stored = await db.selectFrom('audit_open').selectAll().orderBy('seq').execute();
    const old = stored.filter(({ session }) => !ended.has(session) && !this.#fresh.has(session));
    return [...old, ...[...this.#fresh.values()].map(openRow)];
  }
}

/** Sessions begin with `allowed`; the one row of theirs that says a cause is their end. */
const isOpening = ({ outcome }: FlatRow): boolean => outcome === 'allowed';
// Quotes inside a value are escaped, so this is a key.
const isEnd = ({ facts }: FlatRow): boolean => facts.includes('"cause":');

const columns = [
  'session',
  'seq',
  'at',
  'event',
  'who_kind',
  'who_id',
  'credential',
  'from',
  'resource',
  'rule',
  'action',
  'worker',
] as const satisfies readonly (keyof OpenRow)[];

function openRow(row: FlatRow): OpenRow {
  const { session, seq, at, event, whoKind, whoId, credential, from, resource, rule, facts } = row;
  // Only acts name their action (a stream's event says it), and only workers a number.
  const { action, worker } = JSON.parse(facts) as Record<string, unknown>;
  return {
    ...{ session: session ?? '', seq, at, event, who_kind: whoKind, who_id: whoId },
    ...{ credential, from, resource, rule },
    action: typeof action === 'string' ? action : null,
    worker: typeof worker === 'number' ? String(worker) : null,
  };
}

/** The end of a session whose gate process was killed. What it carried is not known, and whether an act was done neither. */
export function goneEvent(open: OpenRow): AuditEvent {
  const { session, event, who_kind, who_id, credential, from, resource, rule, action, worker, at } = open;
  const isAct = event.endsWith('.allowed');
  return {
    event: closedEvent(event, action),
    session,
    who: { kind: who_kind as AuditEvent['who']['kind'], id: who_id, credential },
    // As the opening has it: a path is written as it is.
    ...(from === null ? {} : { from: { path: from } }),
    resource,
    ...(rule === null ? {} : { rule }),
    outcome: 'ended',
    facts: {
      cause: 'gate-gone',
      opened: at,
      ...(isAct ? { ...(action === null ? {} : { action }), done: 'unknown' } : { bytes: 'unknown' }),
      // Which carries a connection to its own end: nobody counts it any more.
      ...(worker === null ? {} : { worker: Number(worker) }),
    },
  };
}
