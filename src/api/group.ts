// group: names for sets of users.
import { Fault } from '../core/fault.ts';
import type { AnswerOf } from './contract/routes.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'group.list' | 'group.show' | 'group.add' | 'group.remove';

export function groupHandlers({ directory }: ApiDeps): Pick<Handlers, Verbs> {
  const all = (): AnswerOf<'group.list'>['groups'] =>
    directory.groups().map(({ name, members }) => ({ name, members: [...members] }));
  return {
    'group.list': async () => ({ groups: all() }),
    'group.show': async ({ params }) => {
      const found = all().find(({ name }) => name === params.name);
      if (!found) throw new Fault('missing', `no group ${params.name}; sekisho group add ${params.name} USER makes it`);
      return found;
    },
    'group.add': async ({ params, note }) => {
      note({ group: params.name });
      const { name, members } = await directory.join(params.name, params.user);
      return { name, members: [...members] };
    },
    'group.remove': async ({ params, note }) => {
      note({ group: params.name });
      const { name, members } = await directory.leave(params.name, params.user);
      return { name, members: [...members] };
    },
  };
}
