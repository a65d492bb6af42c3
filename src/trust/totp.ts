// Codes of an authenticator app (RFC 6238): the second factor of people. Secrets are sealed, codes are taken once.
import { Secret, TOTP } from 'otpauth';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import type { Limiter } from './limiter.ts';
import { openSealer } from './sealing.ts';

export interface TotpOptions {
  readonly store: Store;
  /** Where `secrets.key` is. */
  readonly dir: string;
  readonly limiter: Limiter;
  /** What the app calls this gate. */
  readonly issuer: () => string;
  readonly clock?: Clock;
}

export interface Totp {
  /** A new secret, shown this once; the one before stops working. */
  enrol(user: string): Promise<{ readonly secret: string; readonly uri: string }>;
  /** @returns whether there was one */
  remove(user: string): Promise<boolean>;
  has(user: string): Promise<boolean>;
  /** Takes a code, once. @throws Fault `unknown-caller` (wrong, used, none set up: it never says which), `limit` */
  prove(user: string, code: string, from: Address): Promise<void>;
}

/** Seconds that a code lasts, and how many before and after are taken: clocks of telephones differ (RFC 6238 §5.2). */
const period = 30;
const drift = 1;

export async function openTotp({ store, dir, limiter, issuer, clock = systemClock }: TotpOptions): Promise<Totp> {
  const sealer = await openSealer(dir);
  const { db } = store;
  const totpOf = (user: string, secret: Secret): TOTP =>
    new TOTP({ issuer: issuer(), label: user, algorithm: 'SHA1', digits: 6, period, secret });
  const context = (user: string): string => `totp:${user}`;

  const fits = async (user: string, code: string): Promise<boolean> => {
    const row = await db.selectFrom('totp').selectAll().where('user', '=', user).executeTakeFirst();
    if (!row || !/^\d{6}$/.test(code)) return false;
    const totp = totpOf(user, Secret.fromBase32(sealer.unseal(row.secret, context(user))));
    const timestamp = clock.now().getTime();
    const delta = totp.validate({ token: code, timestamp, window: drift });
    if (delta === null) return false;
    // One statement, so that of two who show the same code at once only one is let in.
    const step = Math.floor(timestamp / 1000 / period) + delta;
    const taken = await db
      .updateTable('totp')
      .set({ last: step })
      .where('user', '=', user)
      .where('secret', '=', row.secret)
      .where('last', '<', step)
      .executeTakeFirst();
    return Number(taken.numUpdatedRows) === 1;
  };

  return {
    async enrol(user) {
      const secret = new Secret({ size: 20 });
      const row = { secret: sealer.seal(secret.base32, context(user)), created: clock.now().toISOString(), last: 0 };
      await db
        .insertInto('totp')
        .values({ user, ...row })
        .onConflict(conflict => conflict.column('user').doUpdateSet(row))
        .execute();
      return { secret: secret.base32, uri: totpOf(user, secret).toString() };
    },
    async remove(user) {
      const removed = await db.deleteFrom('totp').where('user', '=', user).executeTakeFirst();
      return Number(removed.numDeletedRows) > 0;
    },
    async has(user) {
      return (await db.selectFrom('totp').select('user').where('user', '=', user).executeTakeFirst()) !== undefined;
    },
    async prove(user, code, from) {
      const guess = { from, subject: `totp:${user}` };
      await limiter.begin(guess);
      if (!(await fits(user, code))) throw new Fault('unknown-caller', 'the password or the code is wrong');
      await limiter.succeeded(guess);
    },
  };
}
