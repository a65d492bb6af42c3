// Sign-ins on top of a certificate: password and code, bound to the certificate's fingerprint. No cookie: the browser
// proves the certificate's key with every connection.
import type { Clock } from '../../core/clock.ts';
import type { SignInStore } from './store.ts';

/** Milliseconds after which a sign-in is forgotten, whatever a site would still accept. */
export const longestSignIn = 30 * 86_400_000;

export interface SignIns {
  /** When the sign-in of this certificate stops counting for a site that wants one within so many ms; undefined: now. */
  until(credential: string, within: number): Date | undefined;
  /** Written down before it counts. */
  grant(credential: string, user: string): Promise<void>;
  end(credential: string): Promise<void>;
  /** All of a user's, whatever the certificate: what they prove themselves with has changed. Gives the credentials. */
  endOf(user: string): { readonly credentials: readonly string[]; readonly written: Promise<void> };
}

export async function openSignIns(store: SignInStore, clock: Clock): Promise<SignIns> {
  await store.prune(new Date(clock.now().getTime() - longestSignIn));
  const known = new Map((await store.all()).map(({ credential, user, at }) => [credential, { user, at }]));
  const end = async (credential: string): Promise<void> => {
    if (!known.delete(credential)) return;
    await store.remove(credential);
  };
  return {
    end,
    until(credential, within) {
      const at = known.get(credential)?.at;
      const now = clock.now().getTime();
      if (at === undefined || at.getTime() > now + 60_000) return undefined; // a clock that was set back proves nothing
      const until = at.getTime() + Math.min(within, longestSignIn);
      return until > now ? new Date(until) : undefined;
    },
    async grant(credential, user) {
      const at = clock.now();
      await store.put({ credential, user, at });
      known.set(credential, { user, at });
    },
    endOf(user) {
      const credentials = [...known].flatMap(([credential, one]) => (one.user === user ? [credential] : []));
      for (const credential of credentials) known.delete(credential);
      return { credentials, written: Promise.all(credentials.map(one => store.remove(one))).then(() => {}) };
    },
  };
}
