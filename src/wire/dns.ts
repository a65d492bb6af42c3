// DNS queries (RFC 1035 §4) as far as a forwarder looks at them: one question, and the answers it must make itself.
//
//    0    2       4         6         8           10           12
//   | id | flags | questions | answers | authorities | additional | name: (length, label)… 0 | type 2 | class 2 | …
//          8000 answer, 7800 opcode, 0200 truncated, 0100 recursion desired, 0080 available, 000f result
import { Fault } from '../core/fault.ts';
import { putU16, u16 } from './bytes.ts';

export interface DnsQuery {
  readonly id: number;
  /** In lower case, without the final dot; bytes that are no printable ASCII as \ddd. */
  readonly name: string;
  readonly type: number;
  /** Where the question ends. */
  readonly end: number;
}

export const dnsResults = { formatError: 1, serverFailure: 2, notImplemented: 4, refused: 5 } as const;

/** A standard query with exactly one question. @throws Fault `protocol` */
export function readDnsQuery(bytes: Uint8Array): DnsQuery {
  if (bytes.length < 17) throw wrong('is truncated');
  if ((u16(bytes, 2) & 0xf800) !== 0) throw wrong('is no standard query');
  if (u16(bytes, 4) !== 1) throw wrong('does not ask exactly one question');
  const question = readQuestion(bytes);
  return { id: u16(bytes, 0), ...question };
}

/** Whether `answer` answers `query`: same id, the same question. Anything else is somebody else's, or a forgery. */
export function answers(answer: Uint8Array, query: Uint8Array, queryEnd: number): boolean {
  if (answer.length < queryEnd || (answer[2]! & 0x80) === 0 || u16(answer, 4) !== 1) return false;
  if (u16(answer, 0) !== u16(query, 0)) return false;
  for (let at = 12; at < queryEnd; at++) if (lower(answer[at]!) !== lower(query[at]!)) return false;
  return true;
}

/** The answer that says only how it went: the query's id and question, no records. */
export function dnsFailure(query: Uint8Array, end: number, result: number): Uint8Array {
  const answer = Uint8Array.from(query.subarray(0, end));
  putU16(answer, 2, 0x8080 | (u16(query, 2) & 0x0100) | result);
  putU16(answer, 6, 0);
  putU16(answer, 8, 0);
  putU16(answer, 10, 0);
  return answer;
}

function readQuestion(bytes: Uint8Array): Omit<DnsQuery, 'id'> {
  const labels: string[] = [];
  let at = 12;
  for (let size = bytes[at++]!; size !== 0; size = bytes[at++]!) {
    // A question has nothing before it that a pointer could mean.
    if (size > 63 || at + size >= bytes.length || at + size - 12 > 255) throw wrong('has a broken name');
    labels.push(printable(bytes.subarray(at, at + size)));
    at += size;
  }
  if (at + 4 > bytes.length) throw wrong('ends within its question');
  return { name: labels.join('.').toLowerCase(), type: u16(bytes, at), end: at + 4 };
}

const printable = (label: Uint8Array): string =>
  Array.from(label, byte =>
    byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\${String(byte).padStart(3, '0')}`,
  ).join('');
const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte);

const wrong = (what: string): Fault => new Fault('protocol', `the DNS query ${what}`);
