// The offline verifier: an export, a public key, and nothing else. No database, no network.
import { createHash } from 'node:crypto';
import { type ExportEnd, exportText } from './audit-export.ts';
import { type Seals, type SignedHead, sealsOf } from './audit-key.ts';
import type { FlatRow } from './audit-row.ts';
import { canonicalFacts, genesis } from './canonical.ts';
import { ChainCheck, type VerifyReport } from './chain-check.ts';

const longestLine = 64 * 1024;

/**
 * Checks an export line by line. `head` is one that was kept elsewhere: with it a shortened or rewritten export is
 * found even when the key was stolen.
 * @param lines each with or without its newline; several in one text are taken apart
 * @throws Fault `invalid` for a key that is none
 */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  publicKeyPem: string,
  head?: SignedHead,
): Promise<VerifyReport> {
  const seals = sealsOf([publicKeyPem]);
  const check = new ChainCheck(undefined);
  const digest = createHash('sha256');
  let [first, last, end]: [FlatRow | undefined, FlatRow | undefined, ExportEnd | undefined] = [
    undefined,
    undefined,
    undefined,
  ];
  let count = 0;
  const isGiven = head !== undefined && seals.isHead(head);
  if (isGiven) check.anchor(head, 'the given head');
  else if (head) check.problem(head.seq, 'signature', 'the given head was not signed with this key');

  for await (const line of split(lines)) {
    const value = parseLine(line);
    if (end) {
      check.problem(end.head.seq, 'format', 'there are lines after the signed end');
      break;
    }
    if (value !== undefined && 'scope' in value) {
      end = value;
      continue;
    }
    digest.update(`${line}\n`);
    count++;
    if (value === undefined) {
      check.problem((last?.seq ?? 0) + 1, 'format', `line ${count} is not a row of an audit export`);
      continue;
    }
    check.row(value);
    first ??= value;
    last = value;
  }
  if (!end) {
    check.problem((last?.seq ?? 0) + 1, 'truncated', 'the signed end is missing: the export was cut');
    return check.finish();
  }
  judge(check, seals, end, { first, last, count, digest: digest.digest('hex') });
  if (isGiven && end.scope === 'range' && (head.seq < (first?.seq ?? 1) || head.seq > (last?.seq ?? 0))) {
    check.drop(head.seq);
    check.note(`the given head is of row ${head.seq}, outside this range`);
  }
  return check.finish({ gaps: end.scope === 'filtered' });
}

interface Seen {
  readonly first: FlatRow | undefined;
  readonly last: FlatRow | undefined;
  readonly count: number;
  readonly digest: string;
}

/** What the signed end says against what was seen. */
function judge(check: ChainCheck, seals: Seals, end: ExportEnd, { first, last, count, digest }: Seen): void {
  const at = last?.seq ?? 0;
  if (!seals.isHead(end.head))
    check.problem(end.head.seq, 'signature', 'the head at the end was not signed with this key');
  if (!seals.isExport(exportText(end), end.head.key, end.signature)) {
    check.problem(at, 'signature', 'the end of the export was not signed with this key');
  }
  if (end.rows !== count || end.digest !== digest) {
    check.problem(at, 'changed', `the lines are not those that were signed: ${end.rows} then, ${count} now`);
  }
  if (end.scope === 'filtered') return;
  if (last && (end.head.seq !== last.seq || end.head.hash !== last.hash)) {
    check.problem(
      at,
      end.head.seq > at ? 'truncated' : 'rewritten',
      `the signed head is of row ${end.head.seq}; the last row here is ${at}`,
    );
  }
  if (end.scope === 'range' || !first) return;
  const isSealed = end.checkpoint !== undefined && seals.isCheckpoint(end.checkpoint);
  if (end.checkpoint && !isSealed)
    check.problem(end.checkpoint.seq, 'signature', 'the checkpoint was not signed with this key');
  const start = end.checkpoint && isSealed ? end.checkpoint : { seq: 0, hash: genesis };
  if (first.seq !== start.seq + 1 || first.prev !== start.hash) {
    check.problem(
      start.seq + 1,
      'missing',
      `the beginning is missing: the first row here is ${first.seq}, not ${start.seq + 1}`,
    );
  }
}

async function* split(lines: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string, void, undefined> {
  for await (const given of lines) {
    for (const line of given.split('\n')) if (line.trim() !== '') yield line.replace(/\r$/, '');
  }
}

/** A row or the end; anything else is undefined. */
function parseLine(line: string): FlatRow | ExportEnd | undefined {
  if (line.length > longestLine) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  if ('scope' in value) return isEnd(value) ? (value as unknown as ExportEnd) : undefined;
  const { seq, who, facts, ...rest } = value;
  const texts = ['at', 'event', 'resource', 'outcome', 'prev', 'hash'].every(name => typeof rest[name] === 'string');
  const mayBeNull = ['session', 'from', 'rule'].every(name => rest[name] === null || typeof rest[name] === 'string');
  if (!Number.isSafeInteger(seq) || !texts || !mayBeNull || !isObject(who) || !isObject(facts)) return undefined;
  const { kind, id, credential } = who;
  if (typeof kind !== 'string' || typeof id !== 'string' || typeof credential !== 'string') return undefined;
  return { ...rest, seq, whoKind: kind, whoId: id, credential, facts: canonicalFacts(facts) } as unknown as FlatRow;
}

function isEnd({ scope, rows, digest, signature, head, checkpoint }: Record<string, unknown>): boolean {
  return (
    (scope === 'all' || scope === 'range' || scope === 'filtered') &&
    typeof rows === 'number' &&
    typeof digest === 'string' &&
    typeof signature === 'string' &&
    isHead(head) &&
    (checkpoint === undefined || isHead(checkpoint))
  );
}

const isHead = (value: unknown): boolean =>
  isObject(value) &&
  Number.isSafeInteger(value['seq']) &&
  ['hash', 'at', 'key', 'signature'].every(name => typeof value[name] === 'string');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
