// user: people, their roles, passwords and access keys.
import { Fault } from '../core/fault.ts';
import type { User } from '../trust/index.ts';
import type { UserAnswer } from './contract/user.ts';
import { noteCuts } from './cut.ts';
import type { ApiDeps } from './deps.ts';
import { searching } from './search.ts';
import { checkProven, renewing } from './sign-in.ts';
import type { Handlers } from './verbs.ts';

type Verbs =
  | 'user.add'
  | 'user.list'
  | 'user.show'
  | 'user.remove'
  | 'user.passwd'
  | 'user.link'
  | 'user.key'
  | 'user.key-revoke'
  | 'user.totp'
  | 'user.totp-remove'
  | 'user.role';

export function userHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { directory, authenticator, sessions, totp, house } = deps;
  const toUser = ({ name, state, roles, groups, created }: User): UserAnswer => ({
    name,
    state,
    roles: [...roles],
    groups: [...groups],
    password: directory.hasPassword(name),
    created: created.toISOString(),
  });
  return {
    'user.add': async ({ body, note }) => {
      const { name, roles, groups, password } = body;
      note({ roles, groups });
      const user = await directory.add({ name, roles, groups });
      if (password !== undefined) await directory.setPassword(user.name, password);
      return toUser(user);
    },
    'user.list': async ({ query }) => {
      const { search, role, offset, limit } = query;
      const isWanted = searching<User>(search, ({ name, groups }) => [name, ...groups]);
      const found = directory
        .all()
        .filter(user => role === undefined || user.roles.includes(role))
        .filter(isWanted);
      const page = found.slice(offset, limit === undefined ? undefined : offset + limit);
      return { users: page.map(toUser), total: found.length };
    },
    'user.show': async ({ params }) => {
      const keys = directory.accessKeys(params.name).map(({ id, created, revoked }) => ({
        accessKeyId: id,
        created: created.toISOString(),
        state: revoked ? ('revoked' as const) : ('active' as const),
      }));
      return { ...toUser(directory.get(params.name)), keys };
    },
    'user.remove': async ({ params, caller, note }) => {
      if (caller.who.id === params.name)
        throw new Fault('conflict', 'nobody removes themselves; ask another administrator');
      noteCuts(sessions, ({ kind, id }) => kind === 'user' && id === params.name, note);
      await directory.remove(params.name);
      return { name: params.name, removed: true };
    },
    'user.totp': async call => {
      const user = directory.get(call.params.name).name;
      if (!totp) throw new Fault('missing', 'this gate keeps no second factor');
      if (call.isSelf) checkProven(deps, call.caller);
      return renewing(deps, call, async () => {
        // The old codes may be somebody else's too, and what was signed in with them.
        if (await totp.has(user)) await directory.endSignIns(user);
        return { user, ...(await totp.enrol(user)) };
      });
    },
    'user.totp-remove': async call => {
      const user = directory.get(call.params.name).name;
      if (call.isSelf) checkProven(deps, call.caller);
      if (!(await totp?.has(user))) throw new Fault('missing', `${user} has no authenticator set up`);
      return renewing(deps, call, async () => {
        await totp?.remove(user);
        await directory.endSignIns(user);
        return { user, removed: true };
      });
    },
    'user.passwd': async call => {
      const { params, body, caller, isSelf, signal } = call;
      directory.get(params.name); // a name that is not there is said so before anything is proven
      if (isSelf && directory.hasPassword(params.name)) {
        if (body.current === undefined)
          throw new Fault('invalid', 'body.current: your current password is needed to set a new one');
        const claim = { kind: 'password' as const, user: params.name, password: body.current, from: caller.from };
        await authenticator.prove(claim, signal);
      }
      return renewing(deps, call, async () => {
        await directory.setPassword(params.name, body.password);
        return { name: params.name, changed: true };
      });
    },
    'user.link': async ({ params, note }) => {
      const { id, code, expires } = await directory.addCode({ purpose: 'sign-in', name: params.name });
      note({ code: id });
      // In the fragment: it stands in no log of ours or of a proxy, and is sent to nobody as a referrer.
      return { user: params.name, link: `${house.origin()}/#code=${code}`, until: expires.toISOString() };
    },
    'user.key': async ({ params, note }) => {
      if (!directory.find(params.name)) note({ added: 'operator' });
      await directory.ensure({ name: params.name, roles: ['operator'] });
      const { id, user, secretAccessKey, created } = await directory.addAccessKey({ user: params.name });
      note({ key: id });
      return { user, accessKeyId: id, secretAccessKey, created: created.toISOString() };
    },
    'user.key-revoke': async ({ params, note }) => {
      if (!directory.accessKeys(params.name).some(({ id }) => id === params.key)) {
        throw new Fault('missing', `${params.name} has no access key ${params.key}`);
      }
      note({ key: params.key });
      await directory.revokeAccessKey(params.key);
      return { accessKeyId: params.key, revoked: true };
    },
    'user.role': async ({ params, body, note, caller }) => {
      if (caller.who.id === params.name && !body.roles.includes('admin')) {
        throw new Fault('conflict', 'an administrator does not take their own role away; ask another one');
      }
      note({ before: directory.get(params.name).roles, after: body.roles });
      return toUser(await directory.change(params.name, { roles: body.roles }));
    },
  };
}
