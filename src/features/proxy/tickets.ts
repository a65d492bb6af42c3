// Session ticket keys: derived, so that every worker has the same ones without speaking, and different for every
// route, trust set and period, so that a ticket resumes only where it was issued.
import { createHash, hkdfSync, randomBytes } from 'node:crypto';
import type { RoutePlan } from './route-plan.ts';

const ticketKeyLength = 48; // name 16, HMAC key 16, AES key 16: what OpenSSL takes

/**
 * The TLS session id context of a route (RFC 5077 §4 leaves it to us; OpenSSL refuses to resume across contexts): the
 * same name and trust give the same text, so that a session never outlives a change of who is believed.
 */
export function sessionContext({ name, names, clients }: RoutePlan): string {
  const text = JSON.stringify([name, names, clients ?? null]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32); // SSL_MAX_SID_CTX_LENGTH
}

/** The key of one period. `master` never leaves the process group and is made anew with every start of the gate. */
export function ticketKey(master: Uint8Array, context: string, period: number): Buffer {
  return Buffer.from(hkdfSync('sha256', master, '', `sekisho ticket ${context} ${period}`, ticketKeyLength));
}

/** The running number of the period that a time lies in. */
export const periodOf = (now: Date, rotate: number): number => Math.floor(now.getTime() / Math.max(1000, rotate));

/** Milliseconds until the next period starts. */
export function untilNextPeriod(now: Date, rotate: number): number {
  const length = Math.max(1000, rotate);
  return (periodOf(now, rotate) + 1) * length - now.getTime();
}

/** A master key for a process that is alone. */
export const newMasterKey = (): Buffer => randomBytes(32);
