// The `endpoint:` slice of the configuration: where endpoints stand, how long they may, and who is told.
import { z } from 'zod';
import { parseCidr } from '../../wire/cidr.ts';
import { cidr, duration, reference } from '../../wire/config-value.ts';

/** First and last port of the pool, both in it. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

const ports: z.ZodType<PortRange, string> = z
  .string()
  .regex(/^\d{1,5}-\d{1,5}$/, 'write a range of ports, like 21000-23999')
  .meta({ description: 'a range like 21000-23999; outside the range that the system hands to outgoing connections' })
  .transform((text, context) => {
    const [from = 0, to = 0] = text.split('-').map(Number);
    if (from < 1 || to > 65_535 || from > to) {
      context.addIssue({ code: 'custom', message: 'a range of ports goes from 1 up to 65535, the smaller one first' });
      return z.NEVER;
    }
    return { from, to };
  }) as unknown as z.ZodType<PortRange, string>;

const hostName = z
  .string()
  .max(200)
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
    'write a host name, like ep.example.com',
  );

const network = cidr.refine(text => {
  try {
    parseCidr(text);
    return true;
  } catch {
    return false;
  }
}, 'write a network like 203.0.113.0/24 or 2001:db8::/32');

const files = z.strictObject({ cert: reference, key: reference, passphrase: reference.optional() });

const acme = z.strictObject({
  acme: z.strictObject({
    /** Default: Let's Encrypt. */
    directory: z.url({ protocol: /^https$/ }).optional(),
    email: z.email().optional(),
    challenge: z.enum(['http-01', 'tls-alpn-01']).default('tls-alpn-01'),
    /** The CA of the directory's own certificate, where it is not a public one. */
    ca: reference.optional(),
  }),
});

export const endpointConfig = z.strictObject({
  /** The pool; each endpoint that asks for a port of its own gets one of these. */
  ports: ports.prefault('21000-23999'),
  /** Addresses that pool ports are bound to; default: those of `gate.listen`. */
  listen: z
    .array(z.union([z.ipv4(), z.ipv6()]))
    .min(1)
    .optional(),
  lifetime: z
    .strictObject({
      /** Where the request says nothing. */
      default: duration.default(1_800_000),
      /** From opening to end, extensions included. */
      max: duration.default(28_800_000),
    })
    .refine(({ default: usual, max }) => usual <= max, 'the default is longer than the most that is allowed')
    .prefault({}),
  /** Names are `<id>.<domain>`; default: `ep.<gate.name>`. Its wildcard has to lead to this gate. */
  domain: hostName.optional(),
  /** One a name: `auto` from the gate's own CA, `acme` from Let's Encrypt. A file has to cover `*.<domain>`. */
  certificate: z.union([z.enum(['auto', 'acme']), acme, files]).default('auto'),
  /** How long a port that was closed is given to nobody else. */
  cooling: duration.default(600_000),
  /** How long an ended endpoint can still be shown; the audit keeps its own time. */
  keep: duration.default(90 * 86_400_000),
  /** The widest that an endpoint's own list may be; default: what is asked for. */
  sources: z.array(network).min(1).optional(),
  limits: z
    .strictObject({
      /** Endpoints at a time. */
      open: z.int().min(1).max(60_000).default(3000),
      'per-user': z.int().min(1).max(60_000).default(1000),
      /** Connections at a time of an endpoint that says nothing else. */
      connections: z.int().min(1).max(100_000).default(100),
      /** Time for TLS and identity. */
      handshake: duration.default(20_000),
      /** Time for reaching the target. */
      connect: duration.default(20_000),
    })
    .prefault({}),
  /** Told of requests, approvals, openings and ends, by POST. */
  webhook: z
    .strictObject({
      url: z.url({ protocol: /^https?$/, error: 'write a URL like https://hooks.example.com/sekisho' }),
      /** What each delivery is signed with (HMAC-SHA256). */
      secret: reference,
      /** The CA of the receiver's certificate; default: the system's. */
      ca: reference.optional(),
    })
    .optional(),
});

/** `endpoint:` as a whole. */
export type EndpointConfig = z.output<typeof endpointConfig>;
