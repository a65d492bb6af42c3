// Who exists, what they prove themselves with, and whether that still counts.
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Principal } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import type { Authority } from './authority.ts';
import { type NewCode, openCodes, type SpentCode } from './codes.ts';
import { newId } from './credentials.ts';
import { type AccessKey, isAlive, type Keyring, openKeyring, type Token } from './keyring.ts';
import { createNotices } from './notices.ts';
import { createPasswords } from './passwords.ts';
import type { Reason } from './pki-crl.ts';
import type { Role } from './roles.ts';
import { openSealer } from './sealing.ts';
import { type NewUser, openUsers, type User, type Users } from './users.ts';

export interface DirectoryOptions {
  readonly store: Store;
  /** The data directory; `<dir>/secrets.key` encrypts what must be kept readable. */
  readonly dir: string;
  readonly authority: Authority;
  /** What the device of this certificate name is called today; undefined when it is unknown or revoked. Default: nobody. */
  readonly device?: (name: string) => string | undefined;
  /** Milliseconds without a call after which a browser's sign-in ends; default: none. */
  readonly idle?: () => number;
  readonly clock?: Clock;
  readonly log: Log;
}

export interface Directory
  extends Pick<Users, 'all' | 'find' | 'get' | 'add' | 'change' | 'groups' | 'join' | 'leave'> {
  /** The user, made when missing. */
  ensure(user: NewUser): Promise<User>;
  /** Every credential of theirs ends, certificates too. @throws Fault `missing` */
  remove(name: string): Promise<void>;

  hasPassword(user: string): boolean;
  /** Sign-ins and sessions made with the old one end. @throws Fault `missing`, `invalid` (too short) */
  setPassword(user: string, password: string): Promise<void>;
  clearPassword(user: string): Promise<void>;
  /** Takes as long for a user who does not exist. */
  checkPassword(user: string, password: string): Promise<Principal | undefined>;

  readonly tokens: Keyring['tokens'];
  /** The token itself is in the answer and nowhere else. */
  readonly addToken: Keyring['addToken'];
  revokeToken(id: string): Promise<Token>;
  readonly proveToken: Keyring['proveToken'];
  findToken(token: string): Principal | undefined;
  /** When a sign-in was last used, as far as this process knows. */
  seen(id: string): Date | undefined;
  /** Every sign-in of this user ends: what they proved themselves with has changed, or may do less. */
  endSignIns(user: string): Promise<void>;

  readonly accessKeys: Keyring['accessKeys'];
  /** Whether a key of this id counts; it proves nothing. */
  hasAccessKey(id: string): boolean;
  /** The secret is in the answer and cannot be asked for again. */
  readonly addAccessKey: Keyring['addAccessKey'];
  revokeAccessKey(id: string): Promise<AccessKey>;
  /** Hands the secret to `verify`, which answers whether it fits. */
  checkAccessKey(id: string, verify: (secret: string) => boolean): Principal | undefined;

  /** The code is in the answer and nowhere else. */
  addCode(wanted: NewCode): Promise<{ readonly id: string; readonly code: string; readonly expires: Date }>;
  spendCode(purpose: string, code: string): Promise<Principal | undefined>;

  /** Every certificate and open code of a device's names ends. */
  endDevice(names: readonly string[], reason?: Reason): Promise<void>;

  /**
   * What the caller is now: groups, and roles as groups `role:admin` (no group of people can be called so). From
   * memory, at once. A token's scope is its attribute `scope`: whoever acts on a token must look at it.
   * @throws Fault `unknown-caller` when the credential is revoked or ended, or the user is gone or disabled
   */
  standing(who: Principal): Principal;
  /** A room whose credentials are its own (`vpn:…`) answers for them from now on. */
  vouch(kind: string, voucher: Voucher): void;
  /** Users that may have fewer groups or roles than before. The returned function ends it. */
  onLess(call: (user: string) => void): () => void;
  /** Users whose sign-ins have all ended. The returned function ends it. */
  onSignedOut(call: (user: string) => void): () => void;
  /** Credentials that stopped counting, certificates included. The returned function ends it. */
  onRevoked(call: (credential: string) => void): () => void;
  /**
   * Users who were disabled or removed and devices that were sent away, under every name they had: whatever they proved
   * themselves with, also with a code that is spent, what they hold open ends. The returned function ends it.
   */
  onGone(call: (gone: Gone) => void): () => void;
}

export interface Gone {
  readonly kind: 'user' | 'device';
  readonly names: readonly string[];
}

/** Who knows a kind of credential that is kept elsewhere. */
export interface Voucher {
  counts(id: string, who: Principal): boolean;
  /** All credentials of a user, with their kind: `vpn:…`. */
  of(user: string): readonly string[];
  /** The user is gone, and with them the rows that point at them. */
  forget(user: string): void;
}

const roleGroup = (role: Role): string => `role:${role}`;

/** Whoever speaks on the unix socket in the data directory: the operating system has already let them in as its owner. */
export const localAdministrator: Principal = {
  kind: 'user',
  id: '',
  groups: [roleGroup('admin')],
  attributes: new Map(),
  credential: 'local',
};

/** NIST SP 800-63B §3.1.1.2: length counts, nothing else. */
const shortest = 8;
const longest = 1024;

export async function createDirectory(options: DirectoryOptions): Promise<Directory> {
  const { store, authority, clock = systemClock, log, device = () => undefined } = options;
  const { db } = store;
  const users = await openUsers(store, clock);
  const keyring = await openKeyring(store, await openSealer(options.dir), clock);
  const codes = openCodes(store, clock);
  const hasher = createPasswords();
  const passwords = new Map<string, { readonly id: string; readonly hash: string }>();
  for (const { user, id, hash } of await db.selectFrom('password').selectAll().execute())
    passwords.set(user, { id, hash });
  await keyring.tidy();

  const revoked = createNotices<string>(log);
  const ended = revoked.tell;
  const less = createNotices<string>(log);
  const gone = createNotices<Gone>(log);
  const signedOut = createNotices<string>(log);
  /** Of browsers' sign-ins; forgotten by a restart, which counts as a use. */
  const seen = new Map<string, Date>();
  const since = clock.now().getTime();
  const isIdle = ({ id, bound, created }: Token): boolean => {
    const last = seen.get(id)?.getTime() ?? Math.max(created.getTime(), since);
    return bound !== '' && clock.now().getTime() - last > (options.idle?.() ?? Number.POSITIVE_INFINITY);
  };
  authority.onRevoked(ended);

  const isActive = (name: string): boolean => users.find(name)?.state === 'active';
  const principal = (
    kind: 'user' | 'device',
    id: string,
    credential: string,
    scope?: readonly string[],
  ): Principal => ({
    ...{ kind, id, groups: [], credential },
    attributes: new Map(scope ? [['scope', scope]] : []),
  });

  /** One row a kind of credential: does it still count, for this principal? */
  const counts = new Map<string, (id: string, who: Principal) => boolean>(
    Object.entries({
      cert(_: string, who: Principal) {
        const record = authority.record(who.credential);
        // A foreign certificate is its attributes only; its own CA's list was looked at when it came.
        if (!record) return who.kind === 'user' && who.id === '';
        if (record.revoked || record.notAfter < clock.now()) return false;
        if (who.id === '') return true;
        if (record.kind !== who.kind) return false;
        // A renamed device is known by today's name while its certificate still carries the one before.
        return record.name === who.id || (record.kind === 'device' && device(record.name) === who.id);
      },
      password: (id: string, who: Principal) => passwords.get(who.id)?.id === id,
      token: (id: string, who: Principal) =>
        keyring.tokenById(id)?.user === who.id && isAlive(keyring.tokenById(id), clock.now()),
      key: (id: string, who: Principal) =>
        keyring.accessKeyById(id)?.user === who.id && isAlive(keyring.accessKeyById(id), clock.now()),
      code: (_: string, who: Principal) => who.id !== '', // spent, but good for what it opened
      local: (_: string, who: Principal) => who.kind === 'user' && who.id === '',
    }),
  );

  const vouchers = new Set<Voucher>();

  return {
    all: users.all,
    find: users.find,
    get: users.get,
    add: users.add,
    groups: users.groups,
    join: users.join,
    async leave(group, name) {
      const left = await users.leave(group, name);
      less.tell(users.get(name).name);
      return left;
    },
    ensure: async user => users.find(user.name) ?? users.add(user),
    async change(name, change) {
      const before = users.get(name).roles;
      const user = await users.change(name, change);
      if (user.state === 'disabled') {
        for (const credential of credentialsOf(user.name)) ended(credential);
        gone.tell({ kind: 'user', names: [user.name] });
      }
      if (change.roles) less.tell(user.name);
      if (user.state === 'disabled' || before.some(role => !user.roles.includes(role))) await endSignIns(user.name);
      return user;
    },
    async remove(name) {
      const user = users.get(name).name;
      const credentials = credentialsOf(user);
      // First the certificates: a user of the same name who comes later must not inherit them.
      for (const record of authority.list({ user, revoked: false }))
        await authority.revoke(record.serial, 'cessationOfOperation');
      await codes.forget('user', user);
      await users.remove(user);
      keyring.forget(user);
      passwords.delete(user);
      for (const voucher of vouchers) voucher.forget(user);
      for (const credential of credentials) ended(credential);
      gone.tell({ kind: 'user', names: [user] });
      signedOut.tell(user);
      log.info({ user }, 'user removed');
    },

    hasPassword: user => passwords.has(user.normalize('NFC')),
    async setPassword(name, password) {
      const user = users.get(name).name;
      if ([...password].length < shortest || password.length > longest) {
        throw new Fault('invalid', `a password has ${shortest} to ${longest} characters`);
      }
      const before = passwords.get(user);
      const next = { id: newId(), hash: await hasher.hash(password) };
      const row = { user, ...next, changed: clock.now().toISOString() };
      await db
        .insertInto('password')
        .values(row)
        .onConflict(conflict => conflict.column('user').doUpdateSet(row))
        .execute();
      passwords.set(user, next);
      // Whoever knew the old password may have signed in with it.
      await endSignIns(user);
      if (before) ended(`password:${before.id}`);
    },
    async clearPassword(name) {
      const user = users.get(name).name;
      const before = passwords.get(user);
      await db.deleteFrom('password').where('user', '=', user).execute();
      passwords.delete(user);
      await endSignIns(user);
      if (before) ended(`password:${before.id}`);
    },
    async checkPassword(name, password) {
      const user = name.normalize('NFC');
      const stored = passwords.get(user);
      // A megabyte as password is no guess; it is not worth hashing.
      const fits = await hasher.verify(password.length > longest ? '' : password, stored?.hash);
      if (!fits || !stored || passwords.get(user)?.id !== stored.id || !isActive(user)) return undefined;
      if (hasher.isOutdated(stored.hash)) {
        // The same password, hashed as is done today; its id stays, so that nobody is signed out.
        const next = { id: stored.id, hash: await hasher.hash(password) };
        await db.updateTable('password').set(next).where('id', '=', stored.id).execute();
        if (passwords.get(user)?.id === stored.id) passwords.set(user, next);
      }
      return principal('user', user, `password:${stored.id}`);
    },

    tokens: keyring.tokens,
    addToken: async wanted => keyring.addToken({ ...wanted, user: users.get(wanted.user).name }),
    async revokeToken(id) {
      const token = await keyring.revokeToken(id);
      seen.delete(id);
      ended(`token:${id}`);
      return token;
    },
    proveToken: keyring.proveToken,
    seen: id => seen.get(id),
    endSignIns: name => endSignIns(users.get(name).name),
    findToken(text) {
      const token = keyring.findToken(text);
      if (!token || !isAlive(token, clock.now()) || !isActive(token.user) || isIdle(token)) return undefined;
      if (token.bound !== '') seen.set(token.id, clock.now());
      return principal('user', token.user, `token:${token.id}`, token.scope);
    },

    accessKeys: keyring.accessKeys,
    hasAccessKey: id => isAlive(keyring.accessKeyById(id), clock.now()),
    addAccessKey: async wanted => keyring.addAccessKey({ ...wanted, user: users.get(wanted.user).name }),
    async revokeAccessKey(id) {
      const key = await keyring.revokeAccessKey(id);
      ended(`key:${id}`);
      return key;
    },
    checkAccessKey(id, verify) {
      const key = keyring.accessKeyById(id);
      const secret = keyring.secretOf(id);
      // Unknown keys are verified against a secret that fits nothing, so that they take as long.
      const fits = verify(secret ?? 'x'.repeat(40));
      if (!fits || !key || secret === undefined || !isAlive(key, clock.now()) || !isActive(key.user)) return undefined;
      return principal('user', key.user, `key:${id}`);
    },

    addCode: async wanted =>
      codes.add(wanted.kind === 'device' ? wanted : { ...wanted, name: users.get(wanted.name).name }),
    async spendCode(purpose, text) {
      const code: SpentCode | undefined = await codes.spend(purpose, text);
      if (!code || (code.kind === 'user' && !isActive(code.name))) return undefined;
      return principal(code.kind, code.name, `code:${code.id}`);
    },

    async endDevice(names, reason = 'cessationOfOperation') {
      for (const name of names) {
        await codes.forget('device', name);
        for (const record of authority.list({ device: name, revoked: false }))
          await authority.revoke(record.serial, reason);
      }
      gone.tell({ kind: 'device', names });
    },

    standing(who) {
      if (who.kind === 'anonymous' && who.credential === '') return who;
      const [kind = '', ...rest] = who.credential.split(':');
      const user = users.find(who.id);
      const needsUser = who.id !== '' && who.kind === 'user';
      const today = who.kind === 'device' ? device(who.id) : undefined;
      if (
        !(counts.get(kind)?.(rest.join(':'), who) ?? false) ||
        (needsUser && user?.state !== 'active') ||
        (who.kind === 'device' && today === undefined)
      ) {
        throw new Fault(
          'unknown-caller',
          'who you are could not be confirmed; sign in again or use a valid certificate',
          {
            facts: { kind: who.kind, id: who.id, credential: who.credential },
          },
        );
      }
      if (today !== undefined) return today === who.id ? who : { ...who, id: today };
      if (!needsUser || !user) return who;
      return { ...who, groups: [...user.groups, ...user.roles.map(roleGroup)] };
    },
    vouch(kind, voucher) {
      if (counts.has(kind)) throw new Fault('bug', `somebody vouches for ${kind} already`);
      counts.set(kind, (id, who) => voucher.counts(id, who));
      vouchers.add(voucher);
    },
    onLess: less.on,
    onSignedOut: signedOut.on,
    onRevoked: revoked.on,
    onGone: gone.on,
  };

  async function endSignIns(user: string): Promise<void> {
    const logins = keyring.tokens(user).filter(token => token.kind === 'login' && isAlive(token, clock.now()));
    for (const { id } of logins) await keyring.revokeToken(id);
    for (const { id } of logins) {
      seen.delete(id);
      ended(`token:${id}`);
    }
    signedOut.tell(user);
  }

  function credentialsOf(user: string): readonly string[] {
    const password = passwords.get(user);
    return [
      ...(password ? [`password:${password.id}`] : []),
      ...keyring.tokens(user).map(token => `token:${token.id}`),
      ...keyring.accessKeys(user).map(key => `key:${key.id}`),
      ...authority.list({ user, revoked: false }).map(record => `cert:${record.fingerprint}`),
      ...[...vouchers].flatMap(voucher => voucher.of(user)),
    ];
  }
}
