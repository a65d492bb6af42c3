// What a revocation cuts, for its own record: each session's closing says `revoked`, and this names them in one place.
import type { Sessions, SessionView } from '../access/index.ts';
import type { Call } from './verbs.ts';

/** More are counted, not named. */
const named = 50;

/** Notes the sessions that are live now and will be ended: their number, and which. */
export function noteCuts(
  sessions: Sessions,
  fits: (who: SessionView['who']) => boolean,
  note: Call<'cert.revoke'>['note'],
): void {
  const live = sessions.list().filter(({ who }) => fits(who));
  if (live.length === 0) return;
  note({
    cut: live.length,
    sessions: live.slice(0, named).map(({ action, resource, id }) => `${action} ${resource} ${id}`),
  });
}
