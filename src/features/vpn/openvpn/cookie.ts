// Session ids that need no memory: whoever shows one gets datagrams at the address that it was made for (as mudp.c does).
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';

/** Milliseconds that one counts at least; at most twice as long. */
const slot = 30_000;

export interface Cookies {
  make(peer: string, farSession: Uint8Array): Buffer;
  fits(cookie: Uint8Array, peer: string, farSession: Uint8Array): boolean;
}

export function createCookies(clock: Clock): Cookies {
  const secret = randomBytes(32);
  const at = (time: number, peer: string, farSession: Uint8Array): Buffer =>
    createHmac('sha256', secret).update(`${time} ${peer} `).update(farSession).digest().subarray(0, 8);
  const now = (): number => Math.floor(clock.now().getTime() / slot);
  return {
    make: (peer, farSession) => at(now(), peer, farSession),
    fits: (cookie, peer, farSession) =>
      cookie.length === 8 &&
      [now(), now() - 1].some(time => timingSafeEqual(at(time, peer, farSession), Buffer.from(cookie))),
  };
}
