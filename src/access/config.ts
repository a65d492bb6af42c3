// The `access:` slice of the configuration: rules in order, the first that fits decides, nothing fits = denied.
import { z } from 'zod';
import { cidr, duration, oneOrMany } from '../wire/config-value.ts';
import { isZone, parseDays, parseHours } from './when.ts';

const words = 'proxy|tunnel|endpoint|web|vpn|device|cert|user|audit|session|api';

const action: z.ZodType<string, string> = z
  .string()
  .regex(
    new RegExp(`^(${words})\\.([a-z][a-z-]*|\\*)$`),
    'write an action like proxy.connect, web.request or tunnel.* (nothing is allowed by a bare *)',
  );

/** One value or several, of which any may match; `*` matches any run of characters, nothing else is special. */
const text = oneOrMany(z.string().min(1).max(1024));

const who = z
  .strictObject({
    /** The name of a user of this gate; a certificate of another CA never matches. */
    user: text.optional(),
    group: text.optional(),
    /** The name of a device; a rule without this key never admits one. */
    device: text.optional(),
    cn: text.optional(),
    ou: text.optional(),
    o: text.optional(),
    san: text.optional(),
    issuer: text.optional(),
  })
  .refine(value => Object.values(value).some(wanted => wanted !== undefined), {
    message: 'name somebody, or leave `who` away: then any user of this gate fits',
  });

const when = z.strictObject({
  /** `mon`, `mon-fri`; the day on which the hours begin. */
  days: oneOrMany(
    z.string().refine(value => parseDays(value) !== undefined, 'write days like mon-fri or sat'),
  ).optional(),
  /** `09:00-18:00`; `22:00-06:00` goes on into the next day. */
  hours: oneOrMany(
    z.string().refine(value => parseHours(value) !== undefined, 'write hours like 09:00-18:00 or 22:00-06:00'),
  ).optional(),
  zone: z.string().refine(isZone, 'write a time zone like Asia/Tokyo, Europe/Berlin or UTC'),
});

export const accessRule = z.strictObject({
  allow: oneOrMany(action),
  who: who.optional(),
  /** The caller's address; a caller on a unix socket has none and fits only rules without this key. */
  from: oneOrMany(cidr).optional(),
  /** What it is about: proxy/db, web/*, device/pump-*. */
  to: text.optional(),
  /** The longest that a session may last. */
  for: duration.optional(),
  /** Outside these times the rule does not fit, and what it let in ends. */
  when: when.optional(),
  approve: z
    .strictObject({
      group: z.string().min(1).max(256),
      count: z.int().min(1).max(20).default(1),
      /** How long a request waits for its approvals, and how long an approval is good for where `for` says nothing. */
      within: duration.default(3_600_000),
    })
    .optional(),
});

/** `access:` as a whole. */
export const accessConfig = z.array(accessRule).max(10_000).default([]);

export type AccessRule = z.output<typeof accessRule>;
export type AccessConfig = z.output<typeof accessConfig>;
