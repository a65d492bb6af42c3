// The one way to write an audit row down, so that its hash can be computed by anybody. README.md is the specification.
import { hash } from 'node:crypto';

/** The fields of a row in the order in which the hash covers them; `facts` is canonical JSON text already. */
export interface HashedFields {
  readonly seq: number;
  readonly at: string;
  readonly event: string;
  readonly session: string | null;
  readonly whoKind: string;
  readonly whoId: string;
  readonly credential: string;
  readonly from: string | null;
  readonly resource: string;
  readonly rule: string | null;
  readonly outcome: string;
  readonly facts: string;
  readonly prev: string;
}

/** What the first row's `prev` is. */
export const genesis = '0'.repeat(64);

/** SHA-256, hex, over a JSON array of the fields without spaces, in UTF-8. */
export function hashRow(row: HashedFields): string {
  const head = JSON.stringify([
    row.seq,
    row.at,
    row.event,
    row.session,
    row.whoKind,
    row.whoId,
    row.credential,
    row.from,
    row.resource,
    row.rule,
    row.outcome,
  ]);
  return hash('sha256', `${head.slice(0, -1)},${row.facts},${JSON.stringify(row.prev)}]`, 'hex');
}

const longestText = 1024;
const longestFacts = 16 * 1024;
const mostItems = 256;
const deepest = 5;

/** Text as every column can hold it: no NUL (PostgreSQL refuses it), no half characters (they change in UTF-8), bounded. */
export function cleanText(text: string): string {
  let clean = text.length > longestText ? `${text.slice(0, longestText - 1)}…` : text;
  if (!clean.isWellFormed()) clean = clean.toWellFormed();
  return clean.includes('\0') ? clean.replaceAll('\0', '�') : clean;
}

/**
 * JSON with sorted keys and without spaces. Numbers are whole, others become text: 0.1 or 1e21 is not written alike in
 * every language. Bounded in length, width and depth, since some of it comes from outside.
 */
export function canonicalFacts(facts: Readonly<Record<string, unknown>>): string {
  const text = canonicalObject(facts, 0);
  return text.length > longestFacts ? `{"cut":${text.length}}` : text;
}

function canonical(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(cleanText(value));
    case 'number':
      return Number.isSafeInteger(value) ? String(value) : `"${value}"`; // String(-0) is 0
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return `"${value}"`;
    case 'object':
      return value === null ? 'null' : canonicalThing(value, depth);
    default:
      return 'null';
  }
}

function canonicalThing(value: object, depth: number): string {
  const own = (value as { toJSON?: unknown }).toJSON;
  if (typeof own === 'function') return canonical(own.call(value), depth + 1); // Date, Secret
  if (depth >= deepest) return '"…"';
  if (Array.isArray(value)) {
    return `[${value
      .slice(0, mostItems)
      .map(item => canonical(item, depth + 1))
      .join(',')}]`;
  }
  if (ArrayBuffer.isView(value)) return `"(${value.byteLength} bytes)"`;
  if (value instanceof Error) return canonical(value.message, depth);
  return canonicalObject(value as Record<string, unknown>, depth);
}

function canonicalObject(given: Readonly<Record<string, unknown>>, depth: number): string {
  const value = withCleanKeys(given);
  const keys = Object.keys(value);
  if (keys.length > 1) keys.sort(); // by UTF-16 code units
  let text = '';
  let count = 0;
  for (const key of keys) {
    const item = value[key];
    if (item === undefined) continue;
    if (++count > mostItems) break;
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${canonical(item, depth + 1)}`;
  }
  return `{${text}}`;
}

/** Keys are cleaned before they are sorted: two may become one, and their order may change. */
function withCleanKeys(value: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const keys = Object.keys(value);
  if (keys.every(key => cleanText(key) === key)) return value;
  return Object.fromEntries(keys.map(key => [cleanText(key), value[key]]));
}
