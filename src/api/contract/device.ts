// device: things that are reached through their own outbound link, and how they join.
import { z } from 'zod';
import { issued } from './cert-parts.ts';
import { limit, name, offset, time } from './common.ts';
import { verb } from './verb.ts';

const alias = z.object({ name: z.string(), kind: z.enum(['imsi', 'simId', 'alias', 'former']) });
const tags = z.record(z.string().min(1).max(128), z.string().max(256));
const service = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,128}$/, 'a service is called by letters, digits, dot, dash and underscore, 128 at most');
/** Where it is on the device. The device checks it again. */
const serviceAddress = z
  .string()
  .regex(
    /^((tcp:\/\/)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}|unix:\/.+)$/,
    'write host:port as the device reaches it, like 127.0.0.1:22, or unix:/path',
  )
  .max(256);

export const device = z.object({
  name: z.string(),
  state: z.enum(['online', 'offline']),
  enrolled: time.optional().meta({ description: 'when it got its first certificate; absent while its code waits' }),
  revoked: time.optional(),
  lastSeen: time.optional(),
  address: z.string().optional().meta({ description: 'where it last linked from' }),
  services: z.record(z.string(), z.string()).meta({ description: 'name → address on the device, as it last said' }),
  streams: z.number().meta({ description: 'streams now' }),
  aliases: z.array(alias),
  tags: z.record(z.string(), z.string()),
  agent: z.object({ version: z.string(), node: z.string(), platform: z.string() }).optional(),
  created: time,
});
export type DeviceAnswer = z.output<typeof device>;

const named = z.object({ name: z.string().min(1).max(128).meta({ description: 'its name, or an alias' }) });

/** What may be said of a device when it is enrolled and later. */
const facts = {
  tags: tags.optional(),
  imsi: z
    .string()
    .regex(/^\d{6,15}$/, 'an IMSI has 6 to 15 digits')
    .optional(),
  simId: name.optional(),
  aliases: z.array(name).max(16).optional(),
};

export const deviceVerbs = {
  'device.list': verb({
    method: 'GET',
    path: '/v1/devices',
    action: 'device.list',
    summary: 'Devices, and whether they are online',
    query: z.object({
      state: z.enum(['online', 'offline']).optional(),
      search: z.string().max(128).optional().meta({ description: 'part of a name, an alias, a tag or an address' }),
      offset,
      limit: limit.optional(),
    }),
    answer: z.object({
      devices: z.array(device),
      total: z.number().meta({ description: 'that fit, before offset and limit' }),
      online: z.number().meta({ description: 'of those' }),
    }),
    cli: 'device list',
  }),
  'device.show': verb({
    method: 'GET',
    path: '/v1/devices/:name',
    action: 'device.list',
    summary: 'One device, with its certificates',
    params: named,
    answer: device.extend({
      certs: z.array(
        z.object({
          serial: z.string(),
          fingerprint: z.string(),
          notAfter: time,
          state: z.enum(['valid', 'expired', 'revoked']),
        }),
      ),
    }),
    cli: 'device show',
  }),
  'device.enroll': verb({
    method: 'POST',
    path: '/v1/devices',
    action: 'device.enroll',
    summary: 'Let a device join: a code valid once, or at once a certificate for one without our agent',
    body: z.strictObject({
      name,
      services: z.record(service, serviceAddress).optional().meta({
        description: 'what the device is to offer; it goes into the device’s own list when the code is used there',
      }),
      ...facts,
      csr: z.string().max(16_384).optional().meta({ description: 'PEM: certify this key instead of making a code' }),
      pem: z.boolean().default(false).meta({ description: 'make the key here and hand it out with its certificate' }),
      days: z.int().min(1).max(3650).optional(),
    }),
    answer: z.object({
      device,
      code: z.string().optional().meta({ description: 'valid once, for 15 minutes; carries the CA’s fingerprint' }),
      expires: time.optional(),
      gate: z.string().optional(),
      command: z.string().optional().meta({ description: 'the line to run on the device' }),
      sha256: z.string().optional().meta({ description: 'of /agent.js, hexadecimal' }),
      issued: issued.optional(),
    }),
    changes: true,
    resource: 'device/:name',
    cli: 'device enroll',
  }),
  'device.join': verb({
    method: 'POST',
    path: '/v1/devices/join',
    action: 'public',
    summary: 'What an agent calls with its code: a certificate for the key of its signing request',
    body: z.strictObject({ code: z.string().max(256), csr: z.string().max(16_384) }),
    answer: z.object({
      name: z.string(),
      gate: z.string(),
      cert: z.string(),
      chain: z.array(z.string()),
      roots: z.array(z.string()),
      services: z.record(z.string(), z.string()),
      notAfter: time,
    }),
    cli: 'agent',
  }),
  'device.change': verb({
    method: 'PUT',
    path: '/v1/devices/:name',
    action: 'device.change',
    summary: 'Change what is said of a device; what is left out stays',
    params: named,
    body: z.strictObject(facts),
    answer: device,
    changes: true,
    resource: 'device/:name',
    cli: 'device set',
  }),
  'device.rename': verb({
    method: 'POST',
    path: '/v1/devices/:name/rename',
    action: 'device.rename',
    summary: 'Give a device another name; an online one gets a new certificate at once',
    params: named,
    body: z.strictObject({ to: name }),
    answer: device,
    changes: true,
    resource: 'device/:name',
    cli: 'device rename',
  }),
  'device.revoke': verb({
    method: 'POST',
    path: '/v1/devices/:name/revoke',
    action: 'device.revoke',
    summary: 'Revoke a device: its certificates end, its link is cut',
    params: named,
    answer: device,
    changes: true,
    resource: 'device/:name',
    cli: 'device revoke',
  }),
  'device.remove': verb({
    method: 'DELETE',
    path: '/v1/devices/:name',
    action: 'device.remove',
    summary: 'Revoke a device and forget it',
    params: named,
    answer: z.object({ name: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'device/:name',
    cli: 'device remove',
  }),
  'device.host-keys': verb({
    method: 'GET',
    path: '/v1/devices/:name/host-keys',
    action: 'device.list',
    summary: 'The SSH host keys that a device is known by to terminals in the console',
    params: named,
    answer: z.object({
      name: z.string(),
      keys: z.array(
        z.object({
          service: z.string(),
          algorithm: z.string(),
          fingerprint: z.string().meta({ description: 'SHA256:…, as OpenSSH prints it' }),
          pinned: time,
          by: z.string().meta({ description: 'who accepted it' }),
        }),
      ),
    }),
    cli: 'device host-keys',
  }),
  'device.host-key-remove': verb({
    method: 'DELETE',
    path: '/v1/devices/:name/host-keys/:service',
    action: 'device.host-key-remove',
    summary: 'Forget the SSH host key of a service: the next terminal shows the key that it finds, and pins it',
    params: named.extend({ service }),
    answer: z.object({ name: z.string(), service: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'device/:name',
    cli: 'device forget-host-key',
  }),
} as const;
