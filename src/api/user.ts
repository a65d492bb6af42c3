// user: people, their roles, passwords and access keys.
import { Fault } from '../core/fault.ts';
import type { UserAnswer } from './contract/user.ts';
import type { ApiDeps, User } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'user.add' | 'user.list' | 'user.show' | 'user.remove' | 'user.passwd' | 'user.key' | 'user.key-revoke' | 'user.role';

export const toUser = ({ name, roles, groups, hasPassword, created }: User): UserAnswer => ({
  name,
  roles: [...roles],
  groups: [...groups],
  password: hasPassword,
  created: created.toISOString(),
});

export function userHandlers({ directory, authenticator }: ApiDeps): Pick<Handlers, Verbs> {
  return {
    'user.add': async ({ body, note }) => {
      const { name, roles, groups, password } = body;
      note({ roles, groups });
      await directory.addUser({ name, roles });
      for (const group of groups) await directory.join(group, name);
      if (password !== undefined) await directory.setPassword(name, password);
      return toUser(directory.user(name));
    },
    'user.list': async () => ({ users: directory.users().map(toUser) }),
    'user.show': async ({ params }) => {
      const keys = directory.keys(params.name).map(({ id, created }) => ({
        accessKeyId: id,
        created: created.toISOString(),
        state: 'active' as const,
      }));
      return { ...toUser(directory.user(params.name)), keys };
    },
    'user.remove': async ({ params, caller }) => {
      if (caller.who.id === params.name) throw new Fault('conflict', 'nobody removes themselves; ask another administrator');
      await directory.removeUser(params.name);
      return { name: params.name, removed: true };
    },
    'user.passwd': async ({ params, body, caller, rule, signal }) => {
      directory.user(params.name); // a name that is not there is said so before anything is proven
      if (rule === 'self') {
        if (body.current === undefined) throw new Fault('invalid', 'body.current: your current password is needed to set a new one');
        const claim = { kind: 'password' as const, user: params.name, password: body.current, from: caller.from };
        await authenticator.prove(claim, signal);
      }
      await directory.setPassword(params.name, body.password);
      return { name: params.name, changed: true };
    },
    'user.key': async ({ params, note }) => {
      if (!directory.users().some(({ name }) => name === params.name)) {
        await directory.addUser({ name: params.name, roles: ['operator'] });
        note({ added: 'operator' });
      }
      const { id, secret, created } = await directory.createKey(params.name);
      note({ key: id });
      return { user: params.name, accessKeyId: id, secretAccessKey: secret, created: created.toISOString() };
    },
    'user.key-revoke': async ({ params, note }) => {
      if (!directory.keys(params.name).some(({ id }) => id === params.key)) {
        throw new Fault('missing', `${params.name} has no access key ${params.key}`);
      }
      note({ key: params.key });
      await directory.revokeKey(params.key);
      return { accessKeyId: params.key, revoked: true };
    },
    'user.role': async ({ params, body, note, caller }) => {
      if (caller.who.id === params.name && !body.roles.includes('admin')) {
        throw new Fault('conflict', 'an administrator does not take their own role away; ask another one');
      }
      note({ before: directory.user(params.name).roles, after: body.roles });
      return toUser(await directory.setRoles(params.name, body.roles));
    },
  };
}
