// One-time codes: one purpose, one name, one use, fifteen minutes.
import type { Clock } from '../core/clock.ts';
import type { Store } from '../store/index.ts';
import { hashOf, newCode, newId } from './credentials.ts';

export interface NewCode {
  /** `login`, `enrol`, …: a code proves nothing anywhere else. */
  readonly purpose: string;
  /** What its bearer becomes; default `user`. */
  readonly kind?: 'user' | 'device';
  readonly name: string;
  /** Milliseconds; default and at most 15 minutes. */
  readonly for?: number;
}

export interface SpentCode {
  readonly id: string;
  readonly kind: 'user' | 'device';
  readonly name: string;
}

export interface Codes {
  add(wanted: NewCode): Promise<{ readonly id: string; readonly code: string; readonly expires: Date }>;
  /** Takes it: of two who try at once, one gets it. `undefined` = unknown, spent, too late, or for something else. */
  spend(purpose: string, code: string): Promise<SpentCode | undefined>;
  /** Spends what a removed name still had open. */
  forget(kind: 'user' | 'device', name: string): Promise<void>;
}

const longest = 15 * 60_000;
const keep = 86_400_000;

export function openCodes({ db }: Store, clock: Clock): Codes {
  return {
    async add({ purpose, name, kind = 'user', ...wanted }) {
      const code = newCode();
      const now = clock.now();
      const id = newId();
      const expires = new Date(now.getTime() + Math.min(wanted.for ?? longest, longest));
      await db
        .deleteFrom('one_time_code')
        .where('expires', '<', new Date(now.getTime() - keep).toISOString())
        .execute();
      const row = { id, hash: hashOf(code), purpose, kind, name, spent: null };
      await db
        .insertInto('one_time_code')
        .values({ ...row, created: now.toISOString(), expires: expires.toISOString() })
        .execute();
      return { id, code, expires };
    },
    async spend(purpose, code) {
      const now = clock.now().toISOString();
      // Whoever guesses must not make us write: most that comes is known to nobody.
      const known = await db
        .selectFrom('one_time_code')
        .select('id')
        .where('hash', '=', hashOf(code))
        .executeTakeFirst();
      if (!known) return undefined;
      // One statement decides; times are text of one form, so that comparing text compares time.
      const taken = await db
        .updateTable('one_time_code')
        .set({ spent: now })
        .where('hash', '=', hashOf(code))
        .where('purpose', '=', purpose)
        .where('spent', 'is', null)
        .where('expires', '>', now)
        .returning(['id', 'kind', 'name'])
        .executeTakeFirst();
      return taken;
    },
    async forget(kind, name) {
      const spent = { spent: clock.now().toISOString() };
      await db
        .updateTable('one_time_code')
        .set(spent)
        .where('kind', '=', kind)
        .where('name', '=', name)
        .where('spent', 'is', null)
        .execute();
    },
  };
}
