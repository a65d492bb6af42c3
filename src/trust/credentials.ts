// The forms of what we hand out: tokens, access keys, one-time codes. All are random; only hashes of them are kept.
import { createHash, randomBytes, randomInt, randomUUID } from 'node:crypto';

export const newId = (): string => randomUUID();

/** `sks_` + 256 random bits; the prefix lets secret scanners find a leaked one. */
export const newToken = (): string => `sks_${randomBytes(32).toString('base64url')}`;
export const isToken = (text: string): boolean => /^sks_[A-Za-z0-9_-]{43}$/.test(text);

/** `skc_` + 160 random bits: short enough to be pasted, too long to be guessed in its 15 minutes. */
export const newCode = (): string => `skc_${randomBytes(20).toString('base64url')}`;
export const isCode = (text: string): boolean => /^skc_[A-Za-z0-9_-]{27}$/.test(text);

const upper = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** `AKIA` + 16: the form that AWS's tools expect. */
export const newAccessKeyId = (): string => `AKIA${Array.from({ length: 16 }, () => upper[randomInt(32)]).join('')}`;
/** 40 characters, 240 random bits. */
export const newSecretAccessKey = (): string => randomBytes(30).toString('base64');

/** Enough for what has 160 bits or more of its own; passwords are another matter. */
export const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');
