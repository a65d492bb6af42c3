// What is about to be logged → the same without secrets, bounded, and with errors spelled out.
import { Secret } from '../core/secret.ts';

const hidden = '«hidden»';
/** Keys whose values are secrets whatever they hold. */
const secretKey =
  /^(pass(word|phrase|wd)?|.*secret.*|(.+-)?token|authorization|(set-)?cookie|private-?key|ticket-?keys?)$/i;
/** Secrets inside texts: a private key in PEM, the password of a URL. */
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;
const urlPassword = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]*):[^\s/@]+@/gi;
const textLimit = 4096;
const depthLimit = 6;

/** Plain JSON of at most six levels; a deeper one is cut off. */
export function redact(value: unknown, depth = 0): unknown {
  switch (typeof value) {
    case 'string':
      return redactText(value);
    case 'bigint':
      return String(value);
    case 'function':
    case 'symbol':
      return undefined;
    case 'object':
      return value === null ? null : redactObject(value, depth);
    default:
      return value;
  }
}

/** The same for a text on its own. */
export function redactText(text: string): string {
  const clean = text.replace(privateKey, hidden).replace(urlPassword, `$1:${hidden}@`);
  return clean.length > textLimit ? `${clean.slice(0, textLimit)}…` : clean;
}

function redactObject(value: object, depth: number): unknown {
  if (value instanceof Secret) return hidden;
  if (value instanceof Error) return spellOut(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `(${value.byteLength} bytes)`;
  if (depth >= depthLimit) return '…';
  if (Array.isArray(value)) return value.slice(0, 100).map(item => redact(item, depth + 1));
  const entries =
    value instanceof Map ? [...value] : value instanceof Set ? [...value].entries() : Object.entries(value);
  const out: Record<string, unknown> = {};
  for (const [key, item] of entries) {
    out[String(key)] =
      secretKey.test(String(key)) && item !== undefined && item !== null ? hidden : redact(item, depth + 1);
  }
  return out;
}

function spellOut(error: Error, depth: number): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: redactText(error.message),
    ...(code === undefined ? {} : { code }),
    ...(syscall === undefined ? {} : { syscall }),
    ...(error.stack === undefined ? {} : { stack: redactText(error.stack) }),
    ...(error.cause === undefined || depth >= depthLimit ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
