// group: names for sets of users.
import { Fault } from '../core/fault.ts';
import type { AnswerOf } from './contract/routes.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'group.list' | 'group.show' | 'group.add' | 'group.remove';

export function groupHandlers({ directory }: ApiDeps): Pick<Handlers, Verbs> {
  const all = (): AnswerOf<'group.list'>['groups'] =>
    directory.groups().map(({ name, members }) => ({ name, members: [...members] }));
  const one = (name: string): AnswerOf<'group.show'> => all().find(group => group.name === name) ?? { name, members: [] };
  return {
    'group.list': async () => ({ groups: all() }),
    'group.show': async ({ params }) => {
      const found = all().find(({ name }) => name === params.name);
      if (!found) throw new Fault('missing', `no group ${params.name}; sekisho group add ${params.name} USER makes it`);
      return found;
    },
    'group.add': async ({ params, note }) => {
      note({ group: params.name });
      directory.user(params.user);
      await directory.join(params.name, params.user);
      return one(params.name);
    },
    'group.remove': async ({ params, note }) => {
      note({ group: params.name });
      if (!one(params.name).members.includes(params.user)) {
        throw new Fault('missing', `${params.user} is not in the group ${params.name}`);
      }
      await directory.leave(params.name, params.user);
      return one(params.name);
    },
  };
}
