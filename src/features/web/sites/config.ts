// The keys of renamed sites in the `web:` slice: domain, certificate, and one entry a site.
import { z } from 'zod';
import { certificate, certificateFiles } from '../../../wire/config-certificate.ts';
import { cidr, duration, oneOrMany, reference, size, target } from '../../../wire/config-value.ts';

const label = '[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?';
export const domainName = z.string().regex(new RegExp(`^${label}(\\.${label})*$`), 'write a domain, like example.com');

const siteUrl = z
  .string()
  .max(2000)
  .regex(
    /^https?:\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_*.-]+)(:(\d{1,5}|\{port\}))?(\/[\x21\x22\x24-\x3e\x40-\x7e]*)?$/i,
    'write the service’s own address, like http://server1:8081/',
  )
  .meta({ description: 'http://host:port/ or https://host:port/, as the service has always been called' });

const verify = z.union([
  z.literal('off'),
  z.strictObject({
    ca: oneOrMany(reference).optional(),
    /** The name that the certificate must carry; default: the host of `to`. */
    name: z.string().min(1).max(253).optional(),
  }),
]);

/** Password and code on top of the certificate, not longer ago than this. */
export const signIn = z.strictObject({ within: duration });

export const webSite = z.strictObject({
  /** The service as people called it: scheme, host, port; with a path, only what is below it. */
  to: siteUrl,
  /** Where it is dialled, when that is not what `to` says. */
  at: target
    .refine(one => one.kind === 'tcp', 'write tcp://host:port; whether TLS is spoken there stands in `to`')
    .optional(),
  /** The Host that the service is told; `keep`: the one that the client wrote. Default: host and port of `to`. */
  host: z
    .string()
    .regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_*.-]+)(:\d{1,5})?$/, 'write a Host, like server1 or server1:8081')
    .optional(),
  /** For a site whose key is a whole name outside `web.domain`. */
  certificate: certificate.optional(),
  /** `none`: anybody comes in, without a certificate; `access` is not asked. */
  clients: z.enum(['required', 'none']).default('required'),
  /** Addresses that may come, besides what `access` says. */
  from: z.array(cidr).min(1).optional(),
  /** How an https:// service proves itself. */
  verify: verify.optional(),
  /** The server name sent to an https:// service; `off` = none. Default: the name that is verified. */
  sni: z.union([z.literal('off'), z.string().min(1).max(253)]).optional(),
  /** Shown to an https:// service that asks for a client certificate. */
  identify: certificateFiles.optional(),
  /** `h2`: HTTP/2 towards the service, as gRPC needs it. */
  protocol: z.enum(['http/1.1', 'h2']).default('http/1.1'),
  websocket: z.boolean().default(true),
  /** `headers`: Location, cookies and the like; `links`: names in HTML, CSS and scripts too; `off`: nothing. */
  rewrite: z.enum(['headers', 'links', 'off']).default('headers'),
  cookies: z
    .strictObject({
      /** Adds Secure to the service's cookies. */
      secure: z.boolean().default(false),
      /** Sets SameSite where the service sets none. */
      samesite: z.enum(['strict', 'lax', 'none']).optional(),
    })
    .prefault({}),
  /** Strict-Transport-Security of a name that is not the service's own; never on names of web.forward. */
  hsts: z.union([z.literal('off'), duration]).default(15_552_000_000),
  /** Tells the service who is there: X-Sekisho-User, -Groups and -Certificate. */
  identity: z.union([z.boolean(), z.literal('signed')]).default(false),
  /** Password and code on top of the certificate. */
  'sign-in': signIn.optional(),
  /** Tells the service where the request came from: X-Forwarded-For, -Host and -Proto. */
  forwarded: z.boolean().default(false),
  timeouts: z
    .strictObject({
      connect: duration.default(2000),
      /** Between two writes of a request. */
      send: duration.default(60_000),
      /** Between two reads of an answer. */
      read: duration.default(180_000),
      /** A WebSocket in which nothing moves. */
      websocket: duration.default(3_600_000),
    })
    .prefault({}),
  limits: z
    .strictObject({
      /** Bytes of a request's body; default: any number. */
      body: size.optional(),
      /** Connections to the service on behalf of one client connection. */
      upstream: z.int().min(1).max(1000).default(32),
    })
    .prefault({}),
  /** Asks the service now and then whether it is there. */
  health: z
    .strictObject({
      path: z
        .string()
        .regex(/^\/[\x21\x22\x24-\x7e]*$/, 'write a path, like /healthz')
        .default('/'),
      interval: duration.default(10_000),
    })
    .optional(),
});

/** Keys of `web:` beside `forward`. */
export const sitesKeys = {
  /** What stands behind each site's name: server1 becomes server1.example.com. */
  domain: domainName.optional(),
  /** For all names of the domain: a wildcard certificate, or `auto`. */
  certificate: certificate.optional(),
  /** name → service. A name with a dot in it is a whole one; one `*` stands for what a name begins with. */
  sites: z
    .record(
      z
        .string()
        .min(1)
        .max(253)
        .regex(
          /^[A-Za-z0-9_*]([A-Za-z0-9_*.{}-]*[A-Za-z0-9_*}])?$/,
          'write a name, like server1, server1-8081, * or wiki.example.org',
        ),
      webSite,
    )
    .optional(),
  /** The port that browsers are told, where something in front of the gate changes it. Default: the gate's own. */
  port: z.int().min(1).max(65535).optional(),
  /** Name servers for the services' names; default: the system's resolver. */
  resolver: z
    .array(
      z
        .string()
        .regex(
          /^(\d{1,3}(\.\d{1,3}){3}(:\d{1,5})?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*|\[[0-9a-fA-F:.]+\]:\d{1,5})$/,
          'write an address, like 10.0.0.53',
        ),
    )
    .min(1)
    .optional(),
  /** Loopback, link-local or metadata addresses that a service's name may lead to although it is a name. */
  addresses: z.array(cidr).min(1).optional(),
  /** What people without a certificate are told to do, on sites. */
  help: z.string().min(1).max(2000).optional(),
  /** Between two requests of a client's connection to a site. */
  idle: duration.default(120_000),
  limits: z
    .strictObject({
      /** Live client connections to sites. */
      connections: z.int().min(1).max(1_000_000).default(5000),
      /** Streams of one HTTP/2 connection at a time. */
      streams: z.int().min(1).max(10_000).default(100),
      /** Bytes of a header block. */
      header: size.default(32_768),
    })
    .prefault({}),
};

export type WebSiteConfig = z.output<typeof webSite>;
