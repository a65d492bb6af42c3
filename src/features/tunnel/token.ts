// Access tokens of a tunnel's sides: random, kept as hashes, single use unless the same client token comes again.
import { createHash, randomBytes } from 'node:crypto';

export type SideName = 'source' | 'destination';
export const sideNames: readonly SideName[] = ['source', 'destination'];

/** 384 random bits; the prefix lets secret scanners find a leaked one, and tells people which side it is for. */
export const newToken = (side: SideName): string => `skt${side[0]}_${randomBytes(48).toString('base64url')}`;

/** Enough for what has more than 160 random bits of its own. */
export const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** The form of AWS's client tokens. */
export const isClientToken = (text: string): boolean => /^[a-zA-Z0-9-]{32,128}$/.test(text);

/** One side of a tunnel, as far as its token goes. */
export interface TokenState {
  readonly spent: Date | undefined;
  /** Hash of the client token that it was used with first. */
  readonly client: string | undefined;
  /** It was connected, without a client token, when the gate went down: it may come back once, from there. */
  readonly comeback: { readonly until: Date; readonly from: string } | undefined;
}

export interface TokenUse {
  /** Hash of the client token, where one was sent. */
  readonly client: string | undefined;
  readonly from: string;
  readonly now: Date;
  /** Whether this client token is bound to another token of an open tunnel. */
  readonly isTaken: boolean;
}

/** AWS's own words, where they are known: people search for them. */
export const refusals = {
  used: 'Invalid access token: The access token was previously used and can not be used again.',
  mismatch: 'Invalid client token: The provided client token does not match the client token that was previously set.',
  taken: 'Invalid client token: The provided client token is in use by another tunnel.',
} as const;

/** Why this token does not open its side now; undefined = it does. */
export function tokenRefusal(state: TokenState, use: TokenUse): string | undefined {
  if (state.spent === undefined) return use.isTaken ? refusals.taken : undefined;
  if (state.client !== undefined) return use.client === state.client ? undefined : refusals.mismatch;
  const { comeback } = state;
  const isBack = comeback && use.client === undefined && comeback.from === use.from && use.now <= comeback.until;
  return isBack ? undefined : refusals.used;
}
