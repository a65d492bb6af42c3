// The record: rows chained by hash, committed in groups, their end signed; and every way to read it.
import { Fault } from '../core/fault.ts';
import type { Store } from '../store/index.ts';
import { Chain, type ChainOptions } from './audit-chain.ts';
import { exportCsv, exportLines } from './audit-export.ts';
import { type AuditKey, type Checkpoint, openAuditKey, type SignedHead } from './audit-key.ts';
import { prune, sweepPruned } from './audit-prune.ts';
import { type AuditFilter, pages, search } from './audit-read.ts';
import { type AuditEvent, type AuditRow, toAuditRow } from './audit-row.ts';
import { findEnd } from './audit-start.ts';
import { type VerifyOptions, verifyStore } from './audit-verify.ts';
import type { VerifyReport } from './chain-check.ts';

export interface Audit extends AsyncDisposable {
  /** Ed25519, PEM: what an offline verifier needs. */
  readonly publicKey: string;
  /**
   * Resolves once the row is on the disk; what arrives while a commit runs shares the next one.
   * @throws Fault `unreachable` when it cannot be written: nothing of it was kept
   */
  append(event: AuditEvent, patience?: number): Promise<AuditRow>;
  /** Rows after `after` (default: from now on), as they are committed, until `signal` aborts. */
  tail(after?: number, signal?: AbortSignal): AsyncIterable<AuditRow>;
  /** Newest first; `next` is the `before` of the following page. */
  search(filter: AuditFilter): Promise<{ rows: AuditRow[]; next?: number }>;
  verify(options?: VerifyOptions): Promise<VerifyReport>;
  /** JSON lines with a signed end, each with its newline (several a chunk); or CSV. */
  export(filter?: AuditFilter, format?: 'jsonl' | 'csv'): AsyncIterable<string>;
  /** The committed end, signed now. */
  head(): SignedHead;
  /** Signs a text of another room with the audit's key. Its first line must say what it is, unlike any of ours. */
  seal(text: string): Seal;
  /** Removes what is older and signs where the chain goes on. A live gate goes on meanwhile. */
  prune(before: Date): Promise<Checkpoint & { readonly removed: number }>;
}

/** What `seal` gives: which key, and its Ed25519 signature in base64. */
export interface Seal {
  readonly key: string;
  readonly signature: string;
}

export interface AuditOptions extends ChainOptions {
  /** The Ed25519 key; made at the first use. It must not lie in the database's backup. */
  readonly keyFile: string;
}

/** @throws Fault `invalid` (the key), `unreachable` (the store) */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  const key = openAuditKey(options.keyFile);
  await sweepPruned(options.store.db);
  const start = await findEnd(options.store.db, key);
  const chain = new Chain(options, key, start.end, start.head);
  for (const problem of start.problems) {
    options.log.error(
      { problem: problem.problem, seq: problem.seq },
      `the audit was damaged while the gate was down: ${problem.text}`,
    );
  }
  if (start.problems.length > 0) {
    const damaged = {
      ...ourselves,
      event: 'audit.damaged',
      outcome: 'failed',
      facts: { problems: start.problems },
    } as const;
    // Said in the log already; a full disk must not keep the gate from starting, it admits nobody anyhow.
    await chain
      .append(damaged)
      .catch((error: unknown) => options.log.error({ error }, 'the damage could not be recorded'));
  }
  return new StoredAudit(options.store, key, chain);
}

/** Events that nobody asked for. */
const ourselves = { who: { kind: 'node', id: 'gate', credential: '' }, resource: 'audit' } as const;

class StoredAudit implements Audit {
  readonly publicKey: string;
  readonly #store: Store;
  readonly #key: AuditKey;
  readonly #chain: Chain;
  /** Verifying and pruning take turns: what is being removed would seem to be missing. */
  #upkeep: Promise<unknown> = Promise.resolve();

  constructor(store: Store, key: AuditKey, chain: Chain) {
    this.publicKey = key.publicKey;
    this.#store = store;
    this.#key = key;
    this.#chain = chain;
  }

  append(event: AuditEvent, patience?: number): Promise<AuditRow> {
    return this.#chain.append(event, patience);
  }

  head(): SignedHead {
    return this.#chain.head();
  }

  seal(text: string): Seal {
    if (text.startsWith('sekisho audit')) throw new Fault('bug', 'a seal of the audit itself was asked for');
    return { key: this.#key.id, signature: this.#key.signExport(text) };
  }

  async *tail(after: number = this.#chain.end.seq, signal?: AbortSignal): AsyncGenerator<AuditRow, void, undefined> {
    let at = after;
    let wake: (() => void) | undefined;
    const call = (): void => wake?.();
    const chain = this.#chain;
    const stop = chain.follow(call);
    signal?.addEventListener('abort', call);
    try {
      while (!signal?.aborted) {
        const to = chain.end.seq;
        for await (const page of pages(this.#store.db, at, to, 500)) {
          for (const row of page) {
            if (signal?.aborted) return;
            yield toAuditRow(row);
          }
        }
        at = Math.max(at, to);
        if (chain.isClosed) return;
        if (at >= chain.end.seq && !signal?.aborted) {
          await new Promise<void>(resolve => {
            wake = resolve;
          });
        }
      }
    } finally {
      stop();
      signal?.removeEventListener('abort', call);
    }
  }

  search(filter: AuditFilter): Promise<{ rows: AuditRow[]; next?: number }> {
    return search(this.#store.db, this.#chain.end.seq, filter);
  }

  verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    const { db } = this.#store;
    return this.#inTurn(() => {
      const { end, unsigned } = this.#chain;
      return verifyStore({ ...options, db, publicKey: this.publicKey, end, unsigned });
    });
  }

  export(filter: AuditFilter = {}, format: 'jsonl' | 'csv' = 'jsonl'): AsyncIterable<string> {
    const deps = {
      db: this.#store.db,
      key: this.#key,
      end: this.#chain.end,
      now: () => new Date(this.#chain.now()),
      filter,
    };
    return format === 'csv' ? exportCsv(deps) : exportLines(deps);
  }

  async prune(before: Date): Promise<Checkpoint & { readonly removed: number }> {
    const { db } = this.#store;
    const result = await this.#inTurn(() =>
      prune({ db, key: this.#key, end: this.#chain.end, before, now: this.#chain.now() }),
    );
    const { seq, removed } = result;
    if (removed > 0) {
      const facts = { seq, removed, before: result.before };
      await this.append({ ...ourselves, event: 'audit.pruned', outcome: 'done', facts });
    }
    return result;
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#upkeep.then(act);
    this.#upkeep = turn.catch(() => {});
    return turn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chain[Symbol.asyncDispose]();
  }
}
