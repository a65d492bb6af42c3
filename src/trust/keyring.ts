// API tokens, sign-ins and access keys: rows in the store, looked up in memory.
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { AccessKeyTable, Store, TokenTable } from '../store/index.ts';
import { hashOf, newAccessKeyId, newId, newSecretAccessKey, newToken } from './credentials.ts';
import type { Sealer } from './sealing.ts';

export interface Token {
  readonly id: string;
  readonly user: string;
  /** `login` is a signed-in browser or command line: the user themself. */
  readonly kind: 'api' | 'login';
  readonly note: string;
  /** Action patterns: `cert.issue`, `cert.*`, `*`. Never more than the user may. */
  readonly scope: readonly string[];
  readonly created: Date;
  readonly expires?: Date;
  readonly revoked?: Date;
  /** Of a sign-in: by what, `password+totp`, and the address that it came from. */
  readonly how: string;
  readonly address: string;
  /** SHA-256 of the key that must be shown beside a browser's cookie; `''` for what is no cookie. */
  readonly bound: string;
  /** When its owner last proved themselves. */
  readonly proven?: Date;
}

export interface NewToken {
  readonly user: string;
  readonly kind?: 'api' | 'login';
  readonly note?: string;
  /** Default for a sign-in: everything its user may. */
  readonly scope?: readonly string[];
  /** Milliseconds; none = until it is revoked. */
  readonly for?: number;
  readonly how?: string;
  readonly address?: string;
  /** The hash of a browser's key. */
  readonly bound?: string;
  /** Default: now. */
  readonly proven?: Date;
}

export interface AccessKey {
  readonly id: string;
  readonly user: string;
  readonly created: Date;
  readonly expires?: Date;
  readonly revoked?: Date;
}

export interface Keyring {
  tokens(user?: string): readonly Token[];
  findToken(token: string): Token | undefined;
  tokenById(id: string): Token | undefined;
  addToken(wanted: NewToken): Promise<Token & { readonly token: string }>;
  /** Its owner has proven themselves once more. */
  proveToken(id: string): Promise<void>;
  /** @throws Fault `missing` */
  revokeToken(id: string): Promise<Token>;
  accessKeys(user?: string): readonly AccessKey[];
  accessKeyById(id: string): AccessKey | undefined;
  addAccessKey(wanted: {
    readonly user: string;
    readonly for?: number;
  }): Promise<AccessKey & { readonly secretAccessKey: string }>;
  /** The secret of a key, decrypted. */
  secretOf(id: string): string | undefined;
  /** @throws Fault `missing` */
  revokeAccessKey(id: string): Promise<AccessKey>;
  /** Forgets what belonged to a user whose rows are gone; gives the credentials that ended. */
  forget(user: string): readonly string[];
  /** Deletes what ended over 30 days ago. */
  tidy(): Promise<void>;
}

/** Not revoked and not past its end. */
export const isAlive = (one: { expires?: Date; revoked?: Date } | undefined, now: Date): boolean =>
  one !== undefined && one.revoked === undefined && (one.expires === undefined || one.expires > now);

const keepEnded = 30 * 86_400_000;

export async function openKeyring({ db }: Store, sealer: Sealer, clock: Clock): Promise<Keyring> {
  const tokens = new Map<string, Token>();
  const hashes = new Map<string, string>();
  const keys = new Map<string, AccessKey>();
  const sealed = new Map<string, string>();
  for (const row of await db.selectFrom('token').selectAll().orderBy('created').execute()) {
    tokens.set(row.id, tokenOf(row));
    hashes.set(row.hash, row.id);
  }
  for (const row of await db.selectFrom('access_key').selectAll().orderBy('created').execute()) {
    keys.set(row.id, accessKeyOf(row));
    sealed.set(row.id, row.secret);
  }
  const end = (ms: number | undefined): { expires?: Date } =>
    ms === undefined ? {} : { expires: new Date(clock.now().getTime() + ms) };

  return {
    tokens: user => [...tokens.values()].filter(token => user === undefined || token.user === user),
    findToken: token => tokens.get(hashes.get(hashOf(token)) ?? ''),
    tokenById: id => tokens.get(id),
    async addToken({ user, kind = 'api', note = '', scope = kind === 'login' ? ['*'] : [], ...wanted }) {
      for (const pattern of scope) checkPattern(pattern);
      if (scope.length === 0)
        throw new Fault('invalid', 'a token needs a scope, for example ["session.*", "audit.search"] or ["*"]');
      const secret = newToken();
      const { how = '', address = '', bound = '', proven = clock.now() } = wanted;
      const token: Token = {
        ...{ id: newId(), user, kind, note, scope, created: clock.now(), ...end(wanted.for) },
        ...{ how, address, bound, ...(kind === 'login' ? { proven } : {}) },
      };
      const hash = hashOf(secret);
      await db
        .insertInto('token')
        .values({
          ...{ ...times(token), hash, kind, note, user, scope: JSON.stringify(scope), how, address, bound },
          proven: token.proven?.toISOString() ?? null,
        })
        .execute();
      tokens.set(token.id, token);
      hashes.set(hash, token.id);
      return { ...token, token: secret };
    },
    async proveToken(id) {
      const token = tokens.get(id);
      if (!token) return;
      const proven = clock.now();
      await db.updateTable('token').set({ proven: proven.toISOString() }).where('id', '=', id).execute();
      const now = tokens.get(id);
      if (now) tokens.set(id, { ...now, proven });
    },
    async revokeToken(id) {
      const token = tokens.get(id);
      if (!token) throw new Fault('missing', `there is no token ${id}; token list shows them`);
      const revoked = { ...token, revoked: token.revoked ?? clock.now() };
      await db.updateTable('token').set({ revoked: revoked.revoked.toISOString() }).where('id', '=', id).execute();
      tokens.set(id, revoked);
      return revoked;
    },
    accessKeys: user => [...keys.values()].filter(key => user === undefined || key.user === user),
    accessKeyById: id => keys.get(id),
    async addAccessKey({ user, ...wanted }) {
      const key: AccessKey = { id: newAccessKeyId(), user, created: clock.now(), ...end(wanted.for) };
      const secretAccessKey = newSecretAccessKey();
      const secret = sealer.seal(secretAccessKey, contextOf(key.id));
      await db
        .insertInto('access_key')
        .values({ ...times(key), user, secret })
        .execute();
      keys.set(key.id, key);
      sealed.set(key.id, secret);
      return { ...key, secretAccessKey };
    },
    secretOf(id) {
      const secret = sealed.get(id);
      return secret === undefined ? undefined : sealer.unseal(secret, contextOf(id));
    },
    async revokeAccessKey(id) {
      const key = keys.get(id);
      if (!key) throw new Fault('missing', `there is no access key ${id}; user show lists them`);
      const revoked = { ...key, revoked: key.revoked ?? clock.now() };
      await db.updateTable('access_key').set({ revoked: revoked.revoked.toISOString() }).where('id', '=', id).execute();
      keys.set(id, revoked);
      return revoked;
    },
    forget(user) {
      const ended: string[] = [];
      for (const { id } of [...tokens.values()].filter(token => token.user === user)) {
        tokens.delete(id);
        ended.push(`token:${id}`);
      }
      for (const { id } of [...keys.values()].filter(key => key.user === user)) {
        keys.delete(id);
        sealed.delete(id);
        ended.push(`key:${id}`);
      }
      for (const [hash, id] of hashes) if (!tokens.has(id)) hashes.delete(hash);
      return ended;
    },
    async tidy() {
      const before = new Date(clock.now().getTime() - keepEnded);
      const old = [...tokens.values()].filter(token => (token.revoked ?? token.expires ?? clock.now()) < before);
      for (const { id } of old) {
        await db.deleteFrom('token').where('id', '=', id).execute();
        tokens.delete(id);
      }
      for (const [hash, id] of hashes) if (!tokens.has(id)) hashes.delete(hash);
    },
  };
}

const contextOf = (id: string): string => `access-key:${id}`;

function checkPattern(pattern: string): void {
  if (/^(\*|[a-z]+\.(\*|[a-z-]+))$/.test(pattern)) return;
  throw new Fault('invalid', `"${pattern}" is not a scope; write an action like cert.issue, a word like cert.*, or *`);
}

const times = (one: {
  id: string;
  created: Date;
  expires?: Date;
}): { id: string; created: string; expires: string | null; revoked: null } => ({
  id: one.id,
  created: one.created.toISOString(),
  expires: one.expires?.toISOString() ?? null,
  revoked: null,
});

const ends = (row: { expires: string | null; revoked: string | null }): { expires?: Date; revoked?: Date } => ({
  ...(row.expires === null ? {} : { expires: new Date(row.expires) }),
  ...(row.revoked === null ? {} : { revoked: new Date(row.revoked) }),
});

function tokenOf(row: TokenTable): Token {
  const { id, user, kind, note, how, address, bound } = row;
  return {
    ...{ how, address, bound, ...(row.proven === null ? {} : { proven: new Date(row.proven) }) },
    id,
    user,
    kind,
    note,
    scope: JSON.parse(row.scope) as string[],
    created: new Date(row.created),
    ...ends(row),
  };
}

function accessKeyOf(row: AccessKeyTable): AccessKey {
  return { id: row.id, user: row.user, created: new Date(row.created), ...ends(row) };
}
