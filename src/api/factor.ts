// Who must show a second factor, judged at each call: neither a reload nor a new role lets an older sign-in through.
import type { Sessions } from '../access/index.ts';
import type { Principal } from '../core/parts.ts';
import type { Directory, Token, TrustConfig } from '../trust/index.ts';
import { tokenOf } from './caller.ts';

/** All that somebody may do whose roles want a second factor and who has shown none. */
export const settingUp: readonly string[] = ['user.passkey-create', 'user.totp-create', 'user.passwd'];

/** A passkey is two factors by itself: the device, and what unlocks it. */
export const isStrong = (how: string): boolean => how === 'passkey' || how.includes('+');

export const wantsFactor = (groups: readonly string[], wanted: TrustConfig['second-factor']): boolean =>
  wanted.some(role => groups.includes(`role:${role}`));

/** Whether this is a person's sign-in that lacks what their roles want now. */
export const lacksFactor = (
  token: Token | undefined,
  groups: readonly string[],
  wanted: TrustConfig['second-factor'],
): boolean => token?.kind === 'login' && !isStrong(token.how) && wantsFactor(groups, wanted);

export interface WeakSessions {
  readonly sessions: Sessions;
  readonly directory: Pick<Directory, 'tokens' | 'find'>;
  readonly wanted: TrustConfig['second-factor'];
}

/** Ends what such sign-ins have open: terminals, streams of events. Answers how many. */
export function cutWeak({ sessions, directory, wanted }: WeakSessions): number {
  return sessions.cutBy(({ who }) => {
    if (who.kind !== 'user' || !who.credential.startsWith('token:')) return false;
    const groups = (directory.find(who.id)?.roles ?? []).map(role => `role:${role}`);
    return lacksFactor(tokenOf(directory, who as Pick<Principal, 'id' | 'credential'>), groups, wanted);
  });
}
