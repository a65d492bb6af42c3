// The `web:` slice of the configuration: internal web services under their own names (forward) and under new ones (sites).
import { z } from 'zod';
import { certificate } from '../../wire/config-certificate.ts';
import { duration, size, target } from '../../wire/config-value.ts';
import { signIn, sitesKeys } from './sites/config.ts';

const hostName = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
    'write a host name, like proxy.example.com',
  );

const plainTarget = z.union([
  z.literal('resolve'),
  target.refine(
    one => one.kind === 'tcp',
    'write resolve or tcp://host:port: the proxy moves bytes to a TCP address; TLS, where the site has it, stays between the browser and the site',
  ),
]);

export const webHostTarget = z.union([plainTarget, z.strictObject({ to: plainTarget, 'sign-in': signIn.optional() })]);

export const webForward = z.strictObject({
  /** A name of the proxy's own on the gate's port; then gate.name asks for no client certificate. Default: gate.name. */
  name: hostName.optional(),
  /** For `name`. */
  certificate: certificate.optional(),
  /** The port that browsers are told, where something in front of the gate changes it. Default: the gate's own. */
  port: z.int().min(1).max(65535).optional(),
  pac: z
    .strictObject({
      path: z
        .string()
        .regex(/^\/[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/, 'write a path, like /proxy.pac')
        .default('/proxy.pac'),
      /** False: a random part stands in its path, since the file names what is inside. */
      public: z.boolean().default(false),
      /** `direct`: browsers go round a gate that does not answer. Fails open for names that also exist outside. */
      fallback: z.enum(['none', 'direct']).default('none'),
    })
    .prefault({}),
  /** What may be reached: name, name:port or *.domain, each `resolve` or a target, or either with `sign-in`. */
  hosts: z.record(z.string().min(1).max(262), webHostTarget),
  /** Name servers for `resolve`; default: the system's resolver, its hosts file and search list included. */
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
  /** Tells services who is there: X-Sekisho-User, -Groups and -Certificate in http:// requests; `signed`: a JWT too. */
  identity: z.union([z.boolean(), z.literal('signed')]).default(false),
  /** What people without a certificate are told to do: a sentence, or where to go. */
  help: z.string().min(1).max(2000).optional(),
  timeouts: z
    .strictObject({
      connect: duration.default(5000),
      /** A request in which nothing moves for so long is given up. */
      read: duration.default(180_000),
      /** The same for CONNECT, so for https and WebSockets. */
      tunnel: duration.default(3_600_000),
      /** Between two requests of a client's connection. */
      idle: duration.default(120_000),
    })
    .prefault({}),
  limits: z
    .strictObject({
      /** Live client connections to the proxy. */
      connections: z.int().min(1).max(1_000_000).default(5000),
      /** Streams of one HTTP/2 connection at a time. */
      streams: z.int().min(1).max(10_000).default(100),
      /** Connections to one site on behalf of one client connection. */
      upstream: z.int().min(1).max(1000).default(32),
      /** Bytes of a header block. */
      header: size.default(32_768),
    })
    .prefault({}),
});

export const webConfig = z.strictObject({
  forward: webForward.optional(),
  ...sitesKeys,
});

export type WebConfig = z.output<typeof webConfig>;
export type WebForwardConfig = z.output<typeof webForward>;
