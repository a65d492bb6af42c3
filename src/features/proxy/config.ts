// The `proxy:` slice of the configuration: named routes, each one listener and where it leads.
import { z } from 'zod';
import { certificate, certificateFiles } from '../../wire/config-certificate.ts';
import { cidr, duration, listen, name, oneOrMany, reference, size, target } from '../../wire/config-value.ts';

export { certificate };

/** Whose client certificates are asked for, and how far they are believed. */
export const clients = z.union([
  z.enum(['off', 'optional', 'required']),
  z.strictObject({
    mode: z.enum(['optional', 'required']).default('required'),
    /** `builtin` and files; default: what `trust.clients` says. */
    ca: oneOrMany(z.union([z.literal('builtin'), reference])).optional(),
    /** Intermediates between the client's certificate and a trusted root, at most. */
    depth: z.int().min(0).max(10).default(3),
    crl: oneOrMany(reference).optional(),
  }),
]);

const tlsVersion = z.enum(['TLSv1.2', 'TLSv1.3']);
/** TLS options that both sides share. */
const tlsCommon = {
  protocols: z.array(tlsVersion).min(1).optional(),
  /** OpenSSL cipher list for TLS 1.2 and suites for TLS 1.3 in one string, as in `openssl ciphers`. */
  ciphers: z.string().min(1).optional(),
  curves: z.string().min(1).optional(),
};

/** TLS towards whoever connects. */
export const serverTls = {
  certificate: certificate.optional(),
  clients: clients.optional(),
  ...tlsCommon,
  'prefer-server-ciphers': z.boolean().optional(),
  alpn: z.array(z.string().min(1).max(255)).min(1).optional(),
  session: z
    .strictObject({
      tickets: z.boolean().default(true),
      /** Sessions kept for TLS 1.2 clients without tickets; 0 = none. */
      cache: z.int().min(0).max(1_000_000).default(0),
      timeout: duration.default(300_000),
      /** How often ticket keys change. */
      rotate: duration.default(12 * 3_600_000),
    })
    .optional(),
};

/** How the target of `tls://` is verified: by default against the system's CAs and the host's own name. */
export const verify = z.union([
  z.literal('off'),
  z.strictObject({
    ca: oneOrMany(reference).optional(),
    /** The name that the certificate must carry; default: the target's host. */
    name: z.string().min(1).optional(),
    /** SHA-256 of the SubjectPublicKeyInfo, base64 (RFC 7469 form); any one of them must match. */
    pin: oneOrMany(z.string().regex(/^(sha256\/)?[A-Za-z0-9+/]{43}=$/, 'a base64 SHA-256, 44 characters')).optional(),
    depth: z.int().min(0).max(10).optional(),
    crl: oneOrMany(reference).optional(),
  }),
]);

const upstream = z.strictObject({
  url: target,
  weight: z.int().min(1).max(1000).default(1),
  backup: z.boolean().default(false),
  down: z.boolean().default(false),
  'max-connections': z.int().min(0).default(0),
  'max-fails': z.int().min(0).default(1),
  'fail-timeout': duration.default(10_000),
});

/** A target written as a bare URL is an upstream with every default. */
const bareUpstream = z.string().pipe(z.preprocess(url => ({ url }), upstream));

const rule = z.union([
  z.strictObject({ allow: z.union([z.literal('all'), cidr]) }),
  z.strictObject({ deny: z.union([z.literal('all'), cidr]) }),
]);

export const limits = z.strictObject({
  /** Live connections of the route, exact across workers; further ones are closed, or wait in `queue`. */
  connections: z.int().min(1).optional(),
  'per-address': z.int().min(1).optional(),
  /** Connections that may wait for a free place, and how long. */
  queue: z.int().min(0).max(100_000).default(0),
  wait: duration.default(10_000),
  connect: duration.default(60_000),
  handshake: duration.default(60_000),
  idle: duration.default(600_000),
  /** After one side's end, how long the other may still stay silent. Default: idle. */
  'half-close': duration.optional(),
  lifetime: duration.optional(),
  /** Bytes per second and connection. */
  upload: size.optional(),
  download: size.optional(),
});

export const route = z.strictObject({
  listen: oneOrMany(listen),
  /** Server names (SNI) that come here; `*.example.com` matches one or more labels. */
  names: z.array(z.string().min(1)).min(1).optional(),
  default: z.boolean().optional(),
  /** Connections that do not begin with a TLS ClientHello come here; beside routes that pass TLS through unread. */
  plain: z.boolean().optional(),
  ...serverTls,
  to: z.union([bareUpstream.transform(one => [one]), z.array(z.union([bareUpstream, upstream])).min(1)]),
  balance: z
    .union([
      z.enum(['round-robin', 'least-connections', 'random-two']),
      z.strictObject({ hash: z.enum(['source-address', 'server-name']) }),
    ])
    .default('round-robin'),
  'next-upstream': z
    .union([z.literal('off'), z.strictObject({ tries: z.int().min(0).default(0), timeout: duration.default(0) })])
    .default({ tries: 0, timeout: 0 }),
  health: z
    .strictObject({
      interval: duration.default(5000),
      timeout: duration.default(2000),
      fails: z.int().min(1).default(1),
      passes: z.int().min(1).default(1),
      port: z.int().min(1).max(65535).optional(),
      send: z.string().max(4096).optional(),
      expect: z.string().max(4096).optional(),
    })
    .optional(),
  /** How often names of targets are resolved anew; default: the answer's own time, at least 5 s. `off` = once, at start. */
  resolve: z.union([z.literal('off'), duration]).optional(),
  verify: verify.optional(),
  /** The server name sent to a `tls://` target; `off` = none. Default: the name that is verified. */
  sni: z.union([z.literal('off'), z.string().min(1)]).optional(),
  /** TLS options towards a `tls://` target. */
  upstream: z
    .strictObject({
      certificate: certificateFiles.optional(),
      alpn: z.array(z.string()).min(1).optional(),
      ...tlsCommon,
      'session-reuse': z.boolean().default(true),
    })
    .optional(),
  'proxy-protocol': z
    .strictObject({ from: oneOrMany(cidr).optional(), send: z.enum(['v1', 'v2']).optional() })
    .optional(),
  bind: z.string().optional(),
  keepalive: z.union([z.boolean(), duration]).default(true),
  rules: z.array(rule).optional(),
  limits: limits.default(() => limits.parse({})),
  'half-close': z.boolean().default(true),
  /**
   * How a TLS peer must end. Many programs just close the socket; that passes for an end, as it does in nginx and
   * HAProxy. `required`: a FIN without close_notify may be an attacker's, and is passed on as an abort (RFC 8446 §6.1).
   */
  'close-notify': z.enum(['optional', 'required']).default('optional'),
  /** Datagrams only: when a session without answers counts as done. */
  datagrams: z
    .strictObject({
      requests: z.int().min(1).optional(),
      responses: z.int().min(0).optional(),
      sessions: z.int().min(1).default(10_000),
    })
    .optional(),
});

/** `proxy:` as a whole. */
export const proxyConfig = z.record(name, route);

export type ProxyConfig = z.output<typeof proxyConfig>;
export type RouteConfig = z.output<typeof route>;
