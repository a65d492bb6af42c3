// Passkeys of users: what a browser is asked to make, what it made, the list, and their end.
import { Fault } from '../core/fault.ts';
import type { Passkey, Passkeys } from '../trust/index.ts';
import type { AnswerOf } from './contract/routes.ts';
import type { ApiDeps } from './deps.ts';
import { checkProven, renewing } from './sign-in.ts';
import type { Handlers } from './verbs.ts';

type Verbs = Extract<keyof Handlers, `user.passkey${string}`>;

export function passkeyHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { directory, totp } = deps;
  const kept = (): Passkeys => {
    if (deps.passkeys) return deps.passkeys;
    throw new Fault('missing', 'this gate keeps no passkeys');
  };
  /** A passkey is made where its owner is: nobody makes one for somebody else. @throws Fault `denied`, `conflict` */
  const checkOwn = ({ isSelf, caller }: Parameters<Handlers['user.passkey-ask']>[0]): void => {
    if (!isSelf) throw new Fault('denied', 'people set up their own passkeys, in the console');
    checkProven(deps, caller);
  };
  return {
    'user.passkey-list': async ({ params }) => {
      const user = directory.get(params.name).name;
      return { passkeys: kept().of(user).map(toPasskey), totp: (await totp?.has(user)) === true };
    },
    'user.passkey-ask': async call => {
      checkOwn(call);
      return { ...(await kept().registration(call.params.name, call.caller.who.credential)) };
    },
    'user.passkey': async call => {
      checkOwn(call);
      const { params, body, caller, note } = call;
      const made = await kept().add(params.name, caller.who.credential, body.label, body.passkey);
      note({ passkey: made.id });
      return toPasskey(made);
    },
    'user.passkey-remove': async call => {
      const { params, isSelf, caller, note } = call;
      if (isSelf) checkProven(deps, caller);
      note({ passkey: params.id });
      return renewing(deps, call, async () => {
        await kept().remove(params.name, params.id);
        return { id: params.id, removed: true };
      });
    },
  };
}

const toPasskey = ({ id, label, synced, created, used }: Passkey): AnswerOf<'user.passkey'> => ({
  ...{ id, label, synced, created: created.toISOString() },
  ...(used ? { used: used.toISOString() } : {}),
});
