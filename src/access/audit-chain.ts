// The one writer of the chain: rows in groups, a commit at a time, and the signed head of it from time to time.
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Metrics } from '../core/parts.ts';
import type { Append, Change, Store, Value } from '../store/index.ts';
import type { AuditKey, SignedHead } from './audit-key.ts';
import type { OpenSessions } from './audit-open.ts';
import { pages } from './audit-read.ts';
import {
  type AuditEvent,
  type AuditRow,
  type ChainEnd,
  chainRow,
  columns,
  type FlatRow,
  pushValues,
  toAuditRow,
} from './audit-row.ts';

export interface ChainOptions {
  readonly store: Store;
  readonly clock?: Clock | undefined;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
  /** Each head as it is signed; it goes to the log in any case. */
  readonly onHead?: ((head: SignedHead) => void) | undefined;
  /** A head is signed after so many rows (default 1,000) … */
  readonly headRows?: number | undefined;
  /** … or, where there are new rows, after so many milliseconds (default 5 minutes). */
  readonly headEvery?: number | undefined;
  /** How many rows may wait while the disk is slow (default 20,000); more are refused. */
  readonly queue?: number | undefined;
}

/** Milliseconds from one commit to the next: on a disk that answers at once, every row would have one of its own. */
const pace = 3;
const mostAtOnce = 1000;
const mostDoubts = 100;

export interface ChainStart {
  /** Where the chain goes on. */
  readonly end: ChainEnd;
  /** Row of the newest stored head. */
  readonly head: number;
  /** Knows the rows after that head. */
  readonly open: OpenSessions;
}

interface Waiting {
  readonly event: AuditEvent;
  readonly at: string;
  readonly resolve: (row: AuditRow) => void;
  readonly reject: (fault: Fault) => void;
}

export class Chain implements AsyncDisposable {
  /** How many rows may stand unsigned at the end. */
  readonly unsigned: number;
  readonly #store: Store;
  readonly #key: AuditKey;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #options: ChainOptions;
  readonly #headRows: number;
  readonly #followers = new Set<() => void>();
  #end: ChainEnd;
  /** Row of the newest stored head. */
  #signed: number;
  readonly #open: OpenSessions;
  /** Whether the next commit brings a head, however few rows are new. */
  #headDue: PromiseWithResolvers<void> | undefined;
  #waiting: Waiting[] = [];
  #state: 'idle' | 'due' | 'writing' | 'closed' = 'idle';
  #written: Promise<void> = Promise.resolve();
  #stopTimer: () => void = () => {};
  /** Ends of groups that failed since the last commit: what the table holds must be looked at before the next. */
  #doubts: ChainEnd[] = [];
  #lastTime = 0;
  /** When the last commit began. */
  #begun = 0;
  /** The commit that rows without hurry wait for at the longest. */
  #later: NodeJS.Timeout | undefined;
  #lastText = '';

  constructor(options: ChainOptions, key: AuditKey, { end, head, open }: ChainStart) {
    this.#store = options.store;
    this.#key = key;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log;
    this.#options = options;
    this.#headRows = options.headRows ?? 1000;
    this.unsigned = 2 * this.#headRows + mostAtOnce;
    this.#end = end;
    this.#signed = head;
    this.#open = open;
    this.#armTimer();
  }

  /** The last row that is on the disk. */
  get end(): ChainEnd {
    return this.#end;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Calls back after each commit and at the end; the returned function stops it. */
  follow(call: () => void): () => void {
    this.#followers.add(call);
    return () => this.#followers.delete(call);
  }

  /** `patience`: milliseconds that nobody minds waiting, so that the row can share the commit of another one. */
  append(event: AuditEvent, patience = 0): Promise<AuditRow> {
    return new Promise((resolve, reject) => {
      if (this.#state === 'closed') return reject(new Fault('unreachable', 'the audit is closed'));
      if (this.#waiting.length >= (this.#options.queue ?? 20_000)) {
        return reject(new Fault('unreachable', 'the audit cannot keep up: its disk is too slow'));
      }
      this.#waiting.push({ event, at: this.now(), resolve, reject });
      if (this.#state !== 'idle') return;
      if (patience === 0) this.#schedule();
      else this.#later ??= setTimeout(() => this.#schedule(), patience);
    });
  }

  /** At the end of this turn of the event loop, so that everything that arrived in it shares one commit. */
  #schedule(): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    if (this.#state !== 'idle') return;
    this.#state = 'due';
    const due = (): void => {
      this.#written = this.#write();
    };
    const wait = this.#begun + pace - performance.now();
    if (wait < 1) setImmediate(due);
    else setTimeout(due, wait);
  }

  async #write(): Promise<void> {
    this.#state = 'writing';
    while (this.#waiting.length > 0 || this.#headDue) {
      const wait = this.#begun + pace - performance.now();
      if (wait >= 1) await new Promise(resolve => setTimeout(resolve, wait));
      this.#begun = performance.now();
      const group = this.#waiting.splice(0, mostAtOnce);
      const asked = this.#headDue;
      this.#headDue = undefined;
      const fault = await this.#commit(group, asked !== undefined);
      if (fault) for (const { reject } of group) reject(fault);
      asked?.resolve();
    }
    this.#state = 'idle';
  }

  /** Resolves all of the group, or answers why none of it was kept. The head is over what was there before. */
  async #commit(group: readonly Waiting[], isHeadDue: boolean): Promise<Fault | undefined> {
    const started = performance.now();
    const rows: FlatRow[] = [];
    try {
      if (this.#doubts.length > 0) await this.#resolveDoubt();
      const values: Value[] = [];
      let end = this.#end;
      for (const { event, at } of group) {
        const row = chainRow(event, at, end);
        pushValues(values, row);
        rows.push(row);
        end = row;
      }
      const unsigned = this.#end.seq - this.#signed;
      const head = unsigned >= this.#headRows || (isHeadDue && unsigned > 0) ? this.head() : undefined;
      if (rows.length === 0 && !head) return undefined;
      const changes: Change[] = head ? [headAppend(head), ...this.#open.changes()] : [];
      if (rows.length > 0) changes.push({ table: 'audit', columns, values });
      try {
        await this.#store.writer.append(changes);
      } catch (error) {
        if (head) this.#open.failed();
        throw error;
      }
      if (head) this.#announce(head);
    } catch (error) {
      if (rows.length === 0) {
        this.#log.error({ error }, 'the head of the audit could not be stored; it will be signed again');
        return undefined;
      }
      if (!(await this.#wasKept(rows))) return this.#refuse(error, group.length);
    }
    if (rows.length === 0) return undefined;
    this.#end = rows.at(-1) ?? this.#end;
    this.#doubts = [];
    for (const row of rows) this.#open.note(row);
    this.#options.metrics?.observe('audit_commit_seconds', {}, (performance.now() - started) / 1000);
    this.#options.metrics?.count('audit_rows_total', {}, rows.length);
    for (const [index, row] of rows.entries()) group[index]?.resolve(toAuditRow(row));
    for (const call of this.#followers) call();
    return undefined;
  }

  /** A connection that broke does not say whether the commit took place; the table does, and if not now, then later. */
  async #wasKept(rows: readonly FlatRow[]): Promise<boolean> {
    const last = rows.at(-1);
    if (!last) return false;
    const found = await this.#lastRow().catch(() => undefined);
    if (found?.seq === last.seq && found.hash === last.hash) return true;
    if (this.#doubts.length >= mostDoubts) this.#doubts.shift();
    this.#doubts.push({ seq: last.seq, hash: last.hash });
    return false;
  }

  /**
   * A group that was refused to its callers and yet reached the disk (its commit was under way when the connection
   * broke) stays, since rows are never taken back; the chain goes on from it. Anybody else's row ends our writing.
   */
  async #resolveDoubt(): Promise<void> {
    const found = await this.#lastRow();
    if (found.seq === this.#end.seq && found.hash === this.#end.hash) return;
    if (!this.#doubts.some(({ seq, hash }) => seq === found.seq && hash === found.hash)) {
      throw new Fault(
        'conflict',
        'another program has written to the audit, so this gate can no longer continue its chain',
      );
    }
    for await (const page of pages(this.#store.db, this.#end.seq, found.seq)) {
      for (const row of page) this.#open.note(row);
    }
    this.#end = found;
  }

  async #lastRow(): Promise<ChainEnd> {
    const row = await this.#store.db
      .selectFrom('audit')
      .select(['seq', 'hash'])
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirst();
    return row && row.seq >= this.#end.seq ? row : this.#end;
  }

  #refuse(error: unknown, rows: number): Fault {
    this.#options.metrics?.count('audit_refused_total', {}, rows);
    this.#log.error({ error, rows }, 'the audit cannot be written');
    const why = error instanceof Fault && error.code !== 'bug' ? `: ${error.message}` : '';
    return new Fault('unreachable', `the audit cannot be written${why}`, { cause: error });
  }

  /** The time as rows bear it; the same text for all of one millisecond. */
  now(): string {
    const time = this.#clock.now().getTime();
    if (time !== this.#lastTime) {
      this.#lastTime = time;
      this.#lastText = new Date(time).toISOString();
    }
    return this.#lastText;
  }

  /** The committed end, signed now. */
  head(): SignedHead {
    return this.#key.signHead(this.#end, this.now());
  }

  #armTimer(): void {
    this.#stopTimer = this.#clock.after(this.#options.headEvery ?? 300_000, () => {
      this.#armTimer();
      void this.sign();
    });
  }

  /** Stores a head over what is committed, if there are rows without one. Never throws: it is tried again. */
  sign(): Promise<void> {
    if (this.#state === 'closed' || (this.#state === 'idle' && this.#end.seq === this.#signed))
      return Promise.resolve();
    this.#headDue ??= Promise.withResolvers();
    const { promise } = this.#headDue;
    this.#schedule();
    return promise;
  }

  #announce(head: SignedHead): void {
    this.#signed = head.seq;
    this.#open.stored();
    this.#log.info({ head }, 'audit head');
    this.#options.onHead?.(head);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return;
    this.#stopTimer();
    while (this.#state !== 'idle' || this.#waiting.length > 0) {
      this.#schedule();
      await new Promise(resolve => setImmediate(resolve));
      await this.#written;
    }
    await this.sign();
    await this.#written;
    this.#state = 'closed';
    for (const call of this.#followers) call();
  }
}

const headColumns = ['seq', 'at', 'hash', 'key', 'signature'] as const;
const headAppend = ({ seq, at, hash, key, signature }: SignedHead): Append => ({
  table: 'audit_head',
  columns: headColumns,
  values: [seq, at, hash, key, signature],
  ifMissing: true, // it may be there: a commit whose answer was lost
});
