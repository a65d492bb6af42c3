// Walks rows in order and finds what does not fit: changed, missing, reordered, truncated, rewritten. Pure.
import type { SignedHead } from './audit-key.ts';
import type { ChainEnd, FlatRow } from './audit-row.ts';
import { hashRow } from './canonical.ts';

export interface Problem {
  readonly seq: number;
  readonly problem:
    | 'changed'
    | 'missing'
    | 'reordered'
    | 'truncated'
    /** Consistent in itself, but not what was signed. */
    | 'rewritten'
    | 'signature'
    /** Too many rows that no head was signed over. */
    | 'unsigned'
    | 'format';
  readonly text: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly rows: number;
  readonly first?: number | undefined;
  readonly last?: number | undefined;
  /** Signed heads that the rows were compared with. */
  readonly heads: number;
  /** The first hundred. */
  readonly problems: readonly Problem[];
  /** What could not be compared, and why; no fault of the chain. */
  readonly notes: readonly string[];
}

const mostProblems = 100;

export class ChainCheck {
  readonly #anchors = new Map<number, { hash: string; says: string }>();
  readonly #notes: string[] = [];
  readonly #problems: Problem[] = [];
  /** Between a row and the one before: of no meaning where rows were left out on purpose. */
  readonly #links: Problem[] = [];
  #end: ChainEnd | undefined;
  #first: number | undefined;
  #rows = 0;
  #heads = 0;

  /** `start` is where the chain begins or goes on; without it the first row is believed about what came before. */
  constructor(start: ChainEnd | undefined) {
    this.#end = start;
  }

  /** Expects the row `seq` to have this hash. Give it before the row comes. */
  anchor({ seq, hash }: ChainEnd, says: string): void {
    const known = this.#anchors.get(seq);
    if (known && known.hash !== hash)
      this.problem(seq, 'rewritten', `${says} and ${known.says} differ about row ${seq}`);
    this.#anchors.set(seq, { hash, says });
  }

  /** Expects nothing of this row any more. */
  drop(seq: number): void {
    this.#anchors.delete(seq);
  }

  row(row: FlatRow): void {
    this.#rows++;
    this.#first ??= row.seq;
    const before = this.#end;
    if (before && row.seq <= before.seq) {
      this.problem(row.seq, 'reordered', `row ${row.seq} stands after row ${before.seq}`);
      return;
    }
    if (before && row.seq > before.seq + 1) {
      const gap = before.seq + 2 === row.seq ? `row ${row.seq - 1} is` : `rows ${before.seq + 1}–${row.seq - 1} are`;
      this.#add(this.#links, before.seq + 1, 'missing', `${gap} missing`);
    } else if (before && row.prev !== before.hash) {
      const text = `row ${row.seq} does not continue what stands before it: one of the two was changed`;
      this.#add(this.#links, row.seq, 'changed', text);
    }
    if (hashRow(row) !== row.hash)
      this.problem(row.seq, 'changed', `row ${row.seq} was changed: its hash does not fit it`);
    const anchor = this.#anchors.get(row.seq);
    if (anchor) {
      this.#heads++;
      this.#anchors.delete(row.seq);
      if (anchor.hash !== row.hash) {
        this.problem(
          row.seq,
          'rewritten',
          `the rows up to ${row.seq} were rewritten: they are not what ${anchor.says} holds`,
        );
      }
    }
    this.#end = { seq: row.seq, hash: row.hash };
  }

  problem(seq: number, problem: Problem['problem'], text: string): void {
    this.#add(this.#problems, seq, problem, text);
  }

  #add(to: Problem[], seq: number, problem: Problem['problem'], text: string): void {
    if (to.length < mostProblems) to.push({ seq, problem, text });
  }

  note(text: string): void {
    this.#notes.push(text);
  }

  /** Where the rows end so far. */
  get end(): ChainEnd | undefined {
    return this.#end;
  }

  /**
   * After the last row: anchors that no row has met stand for rows that are gone. With `gaps`, rows were left out on
   * purpose, and only what each row says of itself counts.
   */
  finish({ gaps = false } = {}): VerifyReport {
    const last = this.#end?.seq ?? 0;
    const beyond = gaps ? undefined : [...this.#anchors].filter(([seq]) => seq > last).sort(([a], [b]) => b - a)[0];
    if (beyond) {
      this.problem(
        last + 1,
        'truncated',
        `the end is missing: the last row is ${last}, but ${beyond[1].says} holds row ${beyond[0]}`,
      );
    }
    const problems = gaps ? this.#problems : [...this.#problems, ...this.#links].sort((a, b) => a.seq - b.seq);
    return {
      ok: problems.length === 0,
      rows: this.#rows,
      first: this.#first,
      last: this.#rows > 0 ? last : undefined,
      heads: this.#heads,
      problems: problems.slice(0, mostProblems),
      notes: this.#notes,
    };
  }
}

/** How a head is named in a report. */
export const headName = (head: SignedHead): string => `the head signed at ${head.at}`;

/** Likewise, of one that the gate has kept outside the database. */
export const keptName = (head: SignedHead): string => `the head kept beside the audit key (signed at ${head.at})`;
