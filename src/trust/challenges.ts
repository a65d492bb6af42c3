// Challenges that need no memory until they are answered, so that nobody's asking can push another's out.
//
//   6 bytes   milliseconds since 1970 when it ends
//   16 bytes  random
//   16 bytes  HMAC-SHA256 over both and what it is for, cut
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../core/clock.ts';

export interface Challenges {
  /** base64url, good once, for `context` alone. */
  issue(context: string): string;
  /** Whether it is ours, for this, in time and not spent. */
  isGood(challenge: string, context: string): boolean;
  /** Takes it: of two who answer at once one gets it. Only what has been proven may be spent, or the list could be filled. */
  spend(challenge: string): boolean;
}

const length = 38;

export function createChallenges(clock: Clock, life: number): Challenges {
  const key = randomBytes(32); // of this start: what was asked before it is asked again
  const spent = new Map<string, number>();
  const seal = (head: Buffer, context: string): Buffer =>
    createHmac('sha256', key).update(head).update(context).digest().subarray(0, 16);
  const isSpent = (challenge: string): boolean => {
    for (const [one, end] of spent) {
      if (end > clock.now().getTime()) break; // in the order of their answers, near enough that of their ends
      spent.delete(one);
    }
    return spent.has(challenge);
  };
  return {
    issue(context) {
      const head = Buffer.alloc(22);
      head.writeUIntBE(clock.now().getTime() + life, 0, 6);
      randomBytes(16).copy(head, 6);
      return Buffer.concat([head, seal(head, context)]).toString('base64url');
    },
    isGood(challenge, context) {
      const bytes = Buffer.from(challenge, 'base64url');
      // One spelling only: another one of the same bytes would not be found among the spent.
      if (bytes.length !== length || bytes.toString('base64url') !== challenge) return false;
      const head = bytes.subarray(0, 22);
      if (!timingSafeEqual(bytes.subarray(22), seal(head, context))) return false;
      return head.readUIntBE(0, 6) > clock.now().getTime() && !isSpent(challenge);
    },
    spend(challenge) {
      if (isSpent(challenge)) return false;
      spent.set(challenge, clock.now().getTime() + life);
      return true;
    },
  };
}
