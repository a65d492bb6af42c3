// The whole configuration file: each room's slice under its word, and the gate's own keys. This file only joins them.
import { z } from 'zod';
import { accessConfig } from '../access/config.ts';
import { deviceConfig } from '../features/device/config.ts';
import { endpointConfig } from '../features/endpoint/config.ts';
import { notifyConfig } from '../features/notify/config.ts';
import { certificate, proxyConfig } from '../features/proxy/config.ts';
import { tunnelConfig } from '../features/tunnel/config.ts';
import { vpnConfig } from '../features/vpn/config.ts';
import { webConfig } from '../features/web/config.ts';
import { trustConfig } from '../trust/config.ts';
import { cidr, duration, listen, oneOrMany, reference } from '../wire/config-value.ts';

const tcpListen = listen.refine(
  address => address.kind === 'tcp',
  'this listener speaks plain HTTP; write tcp://host:port',
);

export const gateConfig = z.strictObject({
  /** The gate's own host name: certificate, API, sign-in. */
  name: z
    .string()
    .regex(
      /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
      'write a host name, like gate.example.com',
    )
    .default('localhost'),
  listen: oneOrMany(
    listen.refine(
      address => address.kind === 'tls' || address.kind === 'unix',
      'the gate port speaks TLS; write tls://host:port (a plain HTTP helper is gate.http)',
    ),
  )
    .default([{ kind: 'tls', host: '127.0.0.1', port: 8443 }])
    .meta({ description: 'the one port, like tls://0.0.0.0:443' }),
  certificate: certificate.default('auto'),
  /** Further names and addresses that `certificate: auto` covers. */
  addresses: z.array(z.string().min(1).max(253)).default([]),
  /** For clients that know nothing newer: OpenSSL's names, TLS 1.2 and 1.3 in one list. Default: forward secrecy and AEAD only. */
  ciphers: z.string().min(1).optional(),
  /** Processes that carry the bytes of proxy routes; 0 = the gate process itself. */
  workers: z.union([z.literal('auto'), z.int().min(0).max(256)]).default('auto'),
  /** Prometheus text at /metrics. Whoever reaches it reads it: keep it on loopback or behind a rule of the network. */
  metrics: tcpListen.optional(),
  /** Plain HTTP that only redirects to HTTPS, answers ACME challenges and hands out the CA's CRL. */
  http: tcpListen.optional(),
  'proxy-protocol': z.strictObject({ from: z.array(cidr).min(1) }).optional(),
  limits: z
    .strictObject({
      /** Live connections on the gate port. */
      connections: z.int().min(1).default(10_000),
      handshake: duration.default(20_000),
    })
    .prefault({}),
  /** How long live connections may go on after SIGTERM. */
  drain: duration.default(30_000),
});

const storeConfig = z
  .union([
    z
      .string()
      .regex(
        /^(sqlite:.+|postgres(ql)?:\/\/.+)$/,
        'write sqlite:path or postgres://user@host/database (env:NAME keeps its password out of this file)',
      ),
    reference,
  ])
  .meta({ description: 'sqlite:./data/sekisho.db, postgres://user@host/database, or env:NAME that holds either' });

export const logConfig = z.strictObject({
  /** A path, relative to this file; default: stderr. Opened anew on SIGUSR1. */
  file: z.string().min(1).optional(),
  level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /** `auto`: JSON lines, but pretty where stderr is a terminal. */
  format: z.enum(['auto', 'json', 'pretty']).default('auto'),
  /** One line per connection, as nginx writes them. */
  access: z.strictObject({ file: z.string().min(1) }).optional(),
});

export const auditConfig = z.strictObject({
  /** Older rows are pruned and a signed checkpoint stands for them; default: kept for ever. */
  retention: duration.optional(),
  /** How often the head of the chain is signed, and goes to the log, while there are new rows. */
  checkpoint: duration.default(300_000),
});

export const config = z.strictObject({
  gate: gateConfig.optional(),
  store: storeConfig.optional(),
  trust: trustConfig.prefault({}),
  access: accessConfig,
  proxy: proxyConfig.default({}),
  web: webConfig.optional(),
  device: deviceConfig.prefault({}),
  endpoint: endpointConfig.prefault({}),
  tunnel: tunnelConfig.prefault({}),
  vpn: vpnConfig.optional(),
  notify: notifyConfig.optional(),
  log: logConfig.prefault({}),
  audit: auditConfig.prefault({}),
});

export type Config = z.output<typeof config>;
export type GateConfig = z.output<typeof gateConfig>;
export type LogConfig = z.output<typeof logConfig>;
export type AuditConfig = z.output<typeof auditConfig>;

/** The JSON Schema that editors check a configuration with, from the same source. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(config, { io: 'input', unrepresentable: 'any' });
  return { ...schema, title: 'Sekisho configuration' };
}
