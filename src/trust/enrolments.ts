// Links with which people fetch a certificate of their own: one person, one use, an end.
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import type { EnrolmentTable, Store } from '../store/index.ts';
import { hashOf, isCode, newCode, newId } from './credentials.ts';
import type { Limiter } from './limiter.ts';
import type { User } from './users.ts';

/** What will stand in the certificate; the person who fetches it chooses none of it. */
export interface EnrolmentWish {
  readonly cn?: string;
  readonly ou?: readonly string[];
  readonly o?: string;
  readonly days?: number;
  /** The serial of the certificate that this one renews. */
  readonly replaces?: string;
}

export interface Enrolment {
  readonly id: string;
  readonly user: string;
  readonly wish: EnrolmentWish;
  readonly created: Date;
  readonly expires: Date;
  readonly state: 'open' | 'used' | 'revoked' | 'expired';
  readonly serial?: string;
}

export interface Enrolments {
  /** The code is in the answer and nowhere else. @throws Fault `invalid` for a life beyond the bounds */
  invite(wanted: {
    readonly user: string;
    readonly wish: EnrolmentWish;
    /** Milliseconds; default 15 minutes. */
    readonly for?: number;
  }): Promise<Enrolment & { readonly code: string }>;
  /** Newest first; those that ended more than 30 days ago are forgotten. */
  list(): Promise<readonly Enrolment[]>;
  /** @throws Fault `missing`, or `conflict` when it was used already */
  revoke(id: string): Promise<Enrolment>;
  /** Whose it is. Looking spends nothing. @throws Fault `unknown-caller` (never says which way), `limit` */
  look(code: string, from: Address): Promise<Enrolment>;
  /**
   * Spends it for this work: of two who try at once, one gets it. When the work fails it is open again, since a person
   * whose request was refused has no other way in. @throws as `look`, and what the work throws
   */
  redeem<T extends { readonly serial: string }>(
    code: string,
    from: Address,
    work: (enrolment: Enrolment) => Promise<T>,
  ): Promise<T>;
}

export interface EnrolmentOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly limiter: Limiter;
  readonly find: (user: string) => User | undefined;
}

const minute = 60_000;
const day = 86_400_000;
/** A code that somebody reads out lives as long as any other; a link that is mailed may wait for a Monday. */
export const enrolmentLife = { shortest: minute, usual: 15 * minute, longest: 7 * day } as const;
const keep = 30 * day;
/** Open at a time; a script that runs wild fills no disk. */
const most = 10_000;

export function openEnrolments({ store: { db }, clock, limiter, find }: EnrolmentOptions): Enrolments {
  const rowOf = async (code: string): Promise<EnrolmentTable | undefined> => {
    if (!isCode(code)) return undefined;
    const row = await db.selectFrom('enrolment').selectAll().where('hash', '=', hashOf(code)).executeTakeFirst();
    return row && counts(row) ? row : undefined;
  };
  /** A user of the same name who came after the link is somebody else. */
  const counts = (row: EnrolmentTable): boolean => {
    const user = find(row.user);
    return stateOf(row, clock.now()) === 'open' && user?.state === 'active' && user.created <= new Date(row.created);
  };
  /** 160 random bits: looked up first, and only wrong ones count (see authenticator.ts). */
  const prove = async (code: string, from: Address): Promise<EnrolmentTable> => {
    const row = await rowOf(code);
    if (row) return row;
    await limiter.check({ from });
    await limiter.failed({ from });
    throw wrong();
  };
  const end = async (id: string, serial: string | null): Promise<boolean> => {
    const { numUpdatedRows } = await db
      .updateTable('enrolment')
      .set({ ended: clock.now().toISOString(), serial })
      .where('id', '=', id)
      .where('ended', 'is', null)
      .executeTakeFirst();
    return numUpdatedRows === 1n;
  };
  /** Requests under way by the link that they spend. Whoever takes a link back waits for them, since a failing one opens it again. */
  const working = new Map<string, Promise<unknown>>();
  const byId = async (id: string): Promise<EnrolmentTable> => {
    const row = await db.selectFrom('enrolment').selectAll().where('id', '=', id).executeTakeFirst();
    if (row) return row;
    throw new Fault('missing', `no enrolment link has the id ${id}; cert links shows them`);
  };

  return {
    async invite({ user, wish, for: life = enrolmentLife.usual }) {
      if (life < enrolmentLife.shortest || life > enrolmentLife.longest)
        throw new Fault('invalid', 'an enrolment link lives between 1m and 7d');
      const now = clock.now();
      await db
        .deleteFrom('enrolment')
        .where('expires', '<', new Date(now.getTime() - keep).toISOString())
        .execute();
      const { open } = await db
        .selectFrom('enrolment')
        .select(({ fn }) => fn.countAll<number | bigint | string>().as('open'))
        .where('ended', 'is', null)
        .where('expires', '>', now.toISOString())
        .executeTakeFirstOrThrow();
      if (Number(open) >= most) throw new Fault('limit', `${most} enrolment links are open; revoke some first`);
      const code = newCode();
      const row: EnrolmentTable = {
        ...{ id: newId(), hash: hashOf(code), user, wish: JSON.stringify(wish) },
        ...{ created: now.toISOString(), expires: new Date(now.getTime() + life).toISOString() },
        ...{ ended: null, serial: null },
      };
      await db.insertInto('enrolment').values(row).execute();
      return { ...fromRow(row, now), code };
    },
    async list() {
      const rows = await db.selectFrom('enrolment').selectAll().orderBy('created', 'desc').limit(most).execute();
      return rows.map(row => fromRow(row, clock.now()));
    },
    async revoke(id) {
      let isEnded = await end(id, null);
      for (let work = working.get(id); !isEnded && work; work = working.get(id)) {
        await work.catch(() => {});
        isEnded = await end(id, null);
      }
      if (!isEnded) {
        const before = fromRow(await byId(id), clock.now());
        if (before.state === 'used') throw new Fault('conflict', `this link was used; revoke ${before.serial} instead`);
      }
      return fromRow(await byId(id), clock.now());
    },
    async look(code, from) {
      return fromRow(await prove(code, from), clock.now());
    },
    async redeem<T extends { readonly serial: string }>(
      code: string,
      from: Address,
      work: (enrolment: Enrolment) => Promise<T>,
    ): Promise<T> {
      const row = await prove(code, from);
      const undo = async (): Promise<void> => {
        await db.updateTable('enrolment').set({ ended: null }).where('id', '=', row.id).execute();
      };
      const spend = async (): Promise<T> => {
        if (!(await end(row.id, null))) throw wrong();
        const made = await work(fromRow(row, clock.now())).catch(async error => {
          await undo().catch(() => {}); // then it stays spent, which is the safe side
          throw error;
        });
        await db.updateTable('enrolment').set({ serial: made.serial }).where('id', '=', row.id).execute();
        return made;
      };
      if (working.has(row.id)) throw wrong();
      const spent = spend();
      working.set(row.id, spent);
      return spent.finally(() => working.delete(row.id));
    },
  };
}

const wrong = (): Fault =>
  new Fault('unknown-caller', 'the link is wrong, used, revoked or past its end; ask for a new one');

function stateOf(row: EnrolmentTable, now: Date): Enrolment['state'] {
  if (row.ended !== null) return row.serial === null ? 'revoked' : 'used';
  return new Date(row.expires) <= now ? 'expired' : 'open';
}

const fromRow = (row: EnrolmentTable, now: Date): Enrolment => ({
  ...{ id: row.id, user: row.user, wish: JSON.parse(row.wish) as EnrolmentWish },
  ...{ created: new Date(row.created), expires: new Date(row.expires), state: stateOf(row, now) },
  ...(row.serial === null ? {} : { serial: row.serial }),
});
