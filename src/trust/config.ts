// The `trust:` slice of the configuration: whose certificates count, how long ours live, how often one may guess.
import { z } from 'zod';
import { duration, reference } from '../wire/config-value.ts';
import { roles } from './roles.ts';

const day = 86_400_000;

/** So many tries in a while; one more and it stays shut for the block. */
const tries = (count: number, per: number, block: number) =>
  z
    .strictObject({
      tries: z.int().min(1).max(1_000_000).default(count),
      per: duration.default(per),
      block: duration.default(block),
    })
    .prefault({});

export const trustConfig = z.strictObject({
  /** The CA's name; it counts when the CA is made, at the first start. */
  name: z.string().min(1).max(40).default('Sekisho'),
  /** The CA's own keys, when it is made: `rsa` only for clients that cannot verify ECDSA. */
  key: z.enum(['ecdsa', 'rsa']).default('ecdsa'),
  /** Whose client certificates count: `builtin` is the gate's own CA, everything else a file with CA certificates. */
  clients: z
    .array(z.union([z.literal('builtin'), reference]))
    .min(1)
    .default(['builtin']),
  /** Revocation lists of those CAs. A list past its nextUpdate refuses its CA's certificates. */
  crl: z.array(reference).default([]),
  /** How long past its nextUpdate a list is still believed. */
  'crl-grace': duration.default(0),
  /** Where our own list can be fetched; written into the certificates we issue. */
  'crl-url': z.url({ protocol: /^https?$/ }).optional(),
  /** How long what we issue lives, unless asked otherwise. */
  certificates: z
    .strictObject({
      server: duration
        .refine(ms => ms >= 3_600_000 && ms <= 825 * day, 'between 1h and 825d; clients refuse longer ones')
        .default(90 * day),
      client: duration.refine(ms => ms >= 3_600_000 && ms <= 3650 * day, 'between 1h and 3650d').default(365 * day),
    })
    .prefault({}),
  /** EST (RFC 7030) on the gate's port. Then holders of certificates renew them by themselves, for as long as they count. */
  est: z.boolean().default(false),
  /** How long a browser stays signed in to the console; `sekisho login --for` says its own. */
  'sign-in': z
    .strictObject({
      for: duration.refine(ms => ms >= 60_000 && ms <= day, 'between 1m and 24h').default(12 * 3_600_000),
      /** Without a call. */
      idle: duration.refine(ms => ms >= 60_000 && ms <= day, 'between 1m and 24h').default(2 * 3_600_000),
    })
    .prefault({}),
  /** Who has one of these roles needs a code or a passkey besides the password, or may do nothing but set one up. */
  'second-factor': z.array(z.enum(roles)).default([]),
  /** People may sign in to the console by an OpenID provider. */
  oidc: z
    .strictObject({
      issuer: z
        .url({ protocol: /^https$/ })
        .refine(text => !/[?#]/.test(text), 'an issuer has no query (OIDC Discovery §3)'),
      'client-id': z.string().min(1).max(256),
      /** Without one: a public client, by PKCE alone. */
      'client-secret': reference.optional(),
      /** What the button says; default: the issuer's host. */
      name: z.string().min(1).max(64).optional(),
      /** CA certificates for the issuer; default: the system's. */
      ca: reference.optional(),
      scopes: z
        .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/))
        .refine(list => list.includes('openid'), 'openid must be among them')
        .default(['openid', 'profile']),
      /** The claim that is the user's name here. */
      user: z.string().min(1).max(128).default('preferred_username'),
      /** Whether people whom this gate does not know are added, as members. */
      create: z.boolean().default(false),
      /** The claim that lists groups. */
      'groups-claim': z.string().min(1).max(128).default('groups'),
      /** Group there → group here. Groups that stand here are the provider's: who is not in it there leaves it here. */
      groups: z.record(z.string().min(1).max(256), z.string().min(1).max(63)).default({}),
      /** Group there → role here: the only roles that come from the provider, or that its people may have. */
      roles: z.record(z.string().min(1).max(256), z.enum(roles)).default({}),
      'clock-skew': duration.refine(ms => ms <= 600_000, 'at most 10m').default(60_000),
    })
    .optional(),
  /** Guessing at passwords, tokens, access keys and one-time codes, counted together. */
  'rate-limit': z
    .strictObject({
      /** By address; an IPv6 /64 counts as one. */
      address: tries(30, 60_000, 300_000),
      /** By whom they claim to be. */
      subject: tries(10, 600_000, 600_000),
      /** Addresses and subjects remembered; the oldest are forgotten. */
      entries: z.int().min(100).max(10_000_000).default(50_000),
    })
    .prefault({}),
});

export type TrustConfig = z.output<typeof trustConfig>;
export type OidcConfig = NonNullable<TrustConfig['oidc']>;
export type RateLimitConfig = TrustConfig['rate-limit'];
