// A sign-in carried from the gate's own name to a renamed site: a code that is good once, for a minute, and the site's
// cookie that it is changed into. Both are bound to the certificate that signed in; neither is worth anything without it.
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';

export const siteCookie = '__Host-sekisho-site';

export interface SiteSignIn {
  /** For the redirect from the gate to `site` (`server1.example.com`); one use. */
  issue(credential: string, site: string): string;
  /**
   * What the site answers to the code: the value of Set-Cookie, or undefined where the code is none, used, too old, or
   * somebody else's. `until` is when the sign-in ends.
   */
  redeem(code: string, credential: string, site: string, until: Date): string | undefined;
  /** Whether a Cookie field holds this site's cookie of this certificate, still good. */
  check(cookies: string | undefined, credential: string, site: string): boolean;
}

/** Milliseconds for the way from one page to the next. */
const codeLife = 60_000;
/** Codes under way at a time; more than that is nobody's clicking. */
const mostCodes = 10_000;

/** `secret`: 32 bytes outside the database; whoever has them can make cookies. */
export function siteSignIn(secret: Uint8Array, clock: Clock): SiteSignIn {
  const codes = new Map<string, { readonly credential: string; readonly site: string; readonly until: number }>();
  const hash = (text: string): string => createHash('sha256').update(text).digest('base64url');
  const sign = (site: string, credential: string, until: string): Buffer =>
    createHmac('sha256', secret)
      .update(JSON.stringify(['site', site.toLowerCase(), credential, until]))
      .digest();
  return {
    issue(credential, site) {
      const now = clock.now().getTime();
      for (const [key, { until }] of codes) {
        if (until > now && codes.size < mostCodes) break; // in the order of their ends
        codes.delete(key);
      }
      const code = randomBytes(24).toString('base64url');
      codes.set(hash(code), { credential, site: site.toLowerCase(), until: now + codeLife });
      return code;
    },
    redeem(code, credential, site, until) {
      const key = hash(code);
      const known = codes.get(key);
      codes.delete(key);
      const now = clock.now().getTime();
      if (!known || known.until <= now || known.credential !== credential || known.site !== site.toLowerCase()) return;
      const end = String(Math.floor(until.getTime() / 1000));
      const value = `${end}.${sign(site, credential, end).toString('base64url')}`;
      const age = Math.max(0, Math.floor((until.getTime() - now) / 1000));
      return `${siteCookie}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${age}`;
    },
    check(cookies, credential, site) {
      for (const one of (cookies ?? '').split(';')) {
        const [, end = '', mac = ''] = new RegExp(`^\\s*${siteCookie}=(\\d{1,12})\\.([\\w-]{43})\\s*$`).exec(one) ?? [];
        if (end === '' || Number(end) * 1000 <= clock.now().getTime()) continue;
        const shown = Buffer.from(mac, 'base64url');
        const own = sign(site, credential, end);
        if (shown.length === own.length && timingSafeEqual(shown, own)) return true;
      }
      return false;
    },
  };
}
