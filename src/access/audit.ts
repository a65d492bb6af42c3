// The record: rows chained by hash, committed in groups, their end signed; and every way to read it.
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import { Chain, type ChainOptions } from './audit-chain.ts';
import { exportCsv, exportLines } from './audit-export.ts';
import { type AuditKey, type Checkpoint, openAuditKey, type SignedHead } from './audit-key.ts';
import { goneEvent, type OpenRow } from './audit-open.ts';
import { prune, sweepPruned } from './audit-prune.ts';
import { type AuditFilter, pages, search } from './audit-read.ts';
import { type AuditEvent, type AuditRow, toAuditRow } from './audit-row.ts';
import { findEnd } from './audit-start.ts';
import { type VerifyOptions, verifyStore } from './audit-verify.ts';
import type { Problem, VerifyReport } from './chain-check.ts';
import { type HeadFile, openHeadFile } from './head-file.ts';

export interface Audit extends AsyncDisposable {
  /** Ed25519, PEM: what an offline verifier needs. */
  readonly publicKey: string;
  /** That the record is not what it was, for as long as nobody has looked into it. */
  readonly warnings: readonly string[];
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
  /**
   * The Ed25519 key; made at the first use. It must not lie in the database's backup. The newest head is kept beside
   * it, `audit.head` for `audit.key`.
   */
  readonly keyFile: string;
  /** Names the database, without a password: the head that is kept is of this one. */
  readonly storeName?: string;
}

/** @throws Fault `invalid` (the key), `unreachable` (the store) */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  const { store, log, keyFile } = options;
  const key = openAuditKey(keyFile);
  const path = `${keyFile.replace(/\.key$/, '')}.head`;
  const heads = openHeadFile({ path, store: options.storeName ?? store.kind, log });
  await sweepPruned(store.db, key);
  const start = await findEnd(store.db, key, heads.newest);
  const left = await start.open.all(store.db);
  const onHead = (head: SignedHead): void => {
    heads.keep(head);
    options.onHead?.(head);
  };
  const chain = new Chain({ ...options, onHead }, key, start);
  const spoilt = heads.trouble === undefined ? [] : [{ seq: start.end.seq, problem: 'format', text: heads.trouble }];
  const problems = [...start.problems, ...spoilt];
  if (start.isMissed) heads.miss();
  if (problems.length > 0) await tellDamage(problems, chain, log);
  if (left.length > 0) await endLeft(left, chain, log);
  return new StoredAudit(store, key, chain, heads, problems[0]?.text);
}

async function tellDamage(problems: readonly Pick<Problem, 'seq' | 'text'>[], chain: Chain, log: Log): Promise<void> {
  for (const { text, ...where } of problems) {
    log.error(where, `the audit was damaged while the gate was down: ${text}`);
  }
  const damaged = { ...ourselves, event: 'audit.damaged', outcome: 'failed', facts: { problems } } as const;
  // Said in the log already; a full disk must not keep the gate from starting, it admits nobody anyhow.
  await chain.append(damaged).catch((error: unknown) => log.error({ error }, 'the damage could not be recorded'));
}

/** Sessions of a gate that was killed get the end that it could not write. */
async function endLeft(left: readonly OpenRow[], chain: Chain, log: Log): Promise<void> {
  try {
    for (let at = 0; at < left.length; at += slice) {
      await Promise.all(left.slice(at, at + slice).map(open => chain.append(goneEvent(open))));
    }
    log.warn({ sessions: left.length }, 'the gate had been killed; the audit has an end for each session of then');
  } catch (error) {
    log.error({ error }, 'the ends of sessions of a killed gate could not be recorded; the next start tries again');
  }
}

const slice = 1000;

/** Events that nobody asked for. */
const ourselves = { who: { kind: 'node', id: 'gate', credential: '' }, resource: 'audit' } as const;

class StoredAudit implements Audit {
  readonly publicKey: string;
  readonly #store: Store;
  readonly #key: AuditKey;
  readonly #chain: Chain;
  readonly #heads: HeadFile;
  readonly #damage: string | undefined;
  /** Verifying and pruning take turns: what is being removed would seem to be missing. */
  #upkeep: Promise<unknown> = Promise.resolve();

  constructor(store: Store, key: AuditKey, chain: Chain, heads: HeadFile, damage: string | undefined) {
    this.publicKey = key.publicKey;
    this.#store = store;
    this.#key = key;
    this.#chain = chain;
    this.#heads = heads;
    this.#damage = damage;
  }

  get warnings(): readonly string[] {
    const { missed, path } = this.#heads;
    const first = missed[0];
    const lasting = `the audit does not hold the row ${first?.seq} that it held at ${first?.at}: somebody has cut or rewritten it, or put an older database back; once you know why, remove ${path}`;
    return [
      ...(this.#damage === undefined ? [] : [`the audit was damaged while the gate was down: ${this.#damage}`]),
      ...(first ? [lasting] : []),
    ];
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
      const { newest, missed } = this.#heads;
      const kept = newest ? [...missed, newest] : missed;
      return verifyStore({ ...options, db, publicKey: this.publicKey, end, unsigned, kept });
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
    // Which sessions are open must be in the books before their openings may go.
    await this.#chain.sign();
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
    await this.#heads[Symbol.asyncDispose]();
  }
}
