// Who has signed in, with which certificate, and when: the only rows of the web gate.
import type { Store } from '../../store/index.ts';

export interface SignInRow {
  readonly credential: string;
  readonly user: string;
  readonly at: Date;
}

export interface SignInStore {
  all(): Promise<SignInRow[]>;
  put(row: SignInRow): Promise<void>;
  remove(credential: string): Promise<void>;
  /** Those of before are worth nothing any more. */
  prune(before: Date): Promise<void>;
}

export function signInStore({ db }: Pick<Store, 'db'>): SignInStore {
  return {
    async all() {
      const rows = await db.selectFrom('web_sign_in').selectAll().execute();
      return rows.map(({ credential, user, at }) => ({ credential, user, at: new Date(at) }));
    },
    async put({ credential, user, at }) {
      const row = { user, at: at.toISOString() };
      await db
        .insertInto('web_sign_in')
        .values({ credential, ...row })
        .onConflict(conflict => conflict.column('credential').doUpdateSet(row))
        .execute();
    },
    async remove(credential) {
      await db.deleteFrom('web_sign_in').where('credential', '=', credential).execute();
    },
    async prune(before) {
      await db.deleteFrom('web_sign_in').where('at', '<', before.toISOString()).execute();
    },
  };
}
