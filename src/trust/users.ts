// Users, their roles and groups: rows in the store, and a copy in memory from which `standing` answers.
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Store } from '../store/index.ts';
import { type Role, roles } from './roles.ts';

export interface User {
  readonly name: string;
  readonly display: string;
  readonly state: 'active' | 'disabled';
  readonly roles: readonly Role[];
  readonly groups: readonly string[];
  readonly created: Date;
}

export interface Group {
  readonly name: string;
  readonly members: readonly string[];
}

export interface NewUser {
  readonly name: string;
  readonly display?: string;
  /** Default: member. */
  readonly roles?: readonly Role[];
  readonly groups?: readonly string[];
}

export type UserChange = Partial<Pick<User, 'display' | 'state' | 'roles'>>;

export interface Users {
  all(): readonly User[];
  find(name: string): User | undefined;
  /** @throws Fault `missing` */
  get(name: string): User;
  /** @throws Fault `conflict`, `invalid` */
  add(user: NewUser): Promise<User>;
  change(name: string, change: UserChange): Promise<User>;
  remove(name: string): Promise<void>;
  groups(): readonly Group[];
  /** A group is there as long as it has members. */
  join(group: string, user: string): Promise<Group>;
  leave(group: string, user: string): Promise<Group>;
}

export async function openUsers({ db }: Store, clock: Clock): Promise<Users> {
  const users = new Map<string, User>();
  const members = await db.selectFrom('group_member').selectAll().execute();
  for (const row of await db.selectFrom('user').selectAll().orderBy('name').execute()) {
    const groups = members.filter(member => member.user === row.name).map(member => member.group);
    const known = (JSON.parse(row.roles) as string[]).filter(isRole);
    users.set(row.name, { ...row, roles: known, groups: groups.sort(), created: new Date(row.created) });
  }
  const get = (name: string): User => {
    const user = users.get(name.normalize('NFC'));
    if (!user) throw new Fault('missing', `there is no user "${name}"; user list shows them`);
    return user;
  };
  const groupOf = (name: string): Group => ({
    name,
    members: [...users.values()].filter(user => user.groups.includes(name)).map(user => user.name),
  });
  return {
    all: () => [...users.values()],
    find: name => users.get(name.normalize('NFC')),
    get,
    async add(wanted) {
      const name = checkedName(wanted.name, 'user');
      if (users.has(name)) throw taken(name);
      const groups = [...new Set((wanted.groups ?? []).map(group => checkedName(group, 'group')))].sort();
      const created = clock.now();
      const user: User = {
        ...{ name, display: wanted.display ?? '', state: 'active', created, groups },
        roles: checkedRoles(wanted.roles ?? ['member']),
      };
      const insert = db.transaction().execute(async transaction => {
        const { display, state } = user;
        const row = { name, display, state, roles: JSON.stringify(user.roles), created: created.toISOString() };
        await transaction.insertInto('user').values(row).execute();
        for (const group of groups)
          await transaction.insertInto('group_member').values({ group, user: name }).execute();
      });
      await insert.catch((error: unknown) => {
        if (users.has(name)) throw taken(name); // somebody else was quicker
        throw error;
      });
      users.set(name, user);
      return user;
    },
    async change(name, change) {
      const { display, state, roles } = { ...get(name), ...change };
      const row = { display, state, roles: JSON.stringify(checkedRoles(roles)) };
      await db.updateTable('user').set(row).where('name', '=', get(name).name).execute();
      const user = { ...get(name), display, state, roles: checkedRoles(roles) };
      users.set(user.name, user);
      return user;
    },
    async remove(name) {
      const user = get(name);
      await db.deleteFrom('user').where('name', '=', user.name).execute();
      users.delete(user.name);
    },
    groups: () => [...new Set([...users.values()].flatMap(user => user.groups))].sort().map(groupOf),
    async join(groupName, name) {
      const group = checkedName(groupName, 'group');
      const user = get(name);
      if (user.groups.includes(group)) return groupOf(group);
      const row = { group, user: user.name };
      await db
        .insertInto('group_member')
        .values(row)
        .onConflict(conflict => conflict.doNothing())
        .execute();
      users.set(user.name, { ...get(name), groups: [...new Set([...get(name).groups, group])].sort() });
      return groupOf(group);
    },
    async leave(group, name) {
      const user = get(name);
      if (!user.groups.includes(group)) throw new Fault('missing', `"${name}" is not in the group "${group}"`);
      await db.deleteFrom('group_member').where('group', '=', group).where('user', '=', user.name).execute();
      users.set(user.name, { ...get(name), groups: get(name).groups.filter(other => other !== group) });
      return groupOf(group);
    },
  };
}

/**
 * Names stand in URLs, certificates, rules and the audit. Letters of any script; NFKC keeps look-alikes such as
 * full-width letters from being a second user.
 */
export function checkedName(text: string, what: 'user' | 'group' | 'device'): string {
  const name = text.normalize('NFC');
  if (!/^[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,62}$/u.test(name) || name !== name.normalize('NFKC')) {
    throw new Fault(
      'invalid',
      `"${text}" cannot be a ${what}'s name: it starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most`,
    );
  }
  return name;
}

const taken = (name: string): Fault => new Fault('conflict', `there is a user "${name}" already`);

const isRole = (text: string): text is Role => (roles as readonly string[]).includes(text);

function checkedRoles(wanted: readonly string[]): readonly Role[] {
  const unknown = wanted.find(role => !isRole(role));
  if (unknown !== undefined) throw new Fault('invalid', `"${unknown}" is not a role; roles are ${roles.join(', ')}`);
  return [...new Set(wanted)].filter(isRole);
}
