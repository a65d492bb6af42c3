// The `tunnel:` slice of the configuration, and the forms of names that AWS's API and ours share.
import { z } from 'zod';
import { Fault } from '../../core/fault.ts';
import { duration, listen, reference, size } from '../../wire/config-value.ts';

/** Names of things and of services (AWS's service model). */
export const thingName = z
  .string()
  .max(128)
  .regex(/^[a-zA-Z0-9:_-]+$/, 'letters, digits, colon, dash and underscore, 128 at most')
  .meta({ example: 'pump-7' });
export const serviceName = z
  .string()
  .max(128)
  .regex(/^[a-zA-Z0-9:_-]+$/, 'letters, digits, colon, dash and underscore, 128 at most')
  .meta({ example: 'ssh' });

const minute = 60_000;
/** AWS's own: 1 to 720 minutes. */
export const longestLifetime = 720 * minute;

const broker = z
  .string()
  .regex(
    /^(mqtts?):\/\/[^/\s@?#]+$/,
    'write mqtts://broker.example.com:8883 (mqtt:// only within one machine or a trusted network); user and password are keys of their own',
  )
  .meta({ description: 'mqtts://host:port of a broker' });

const mqtt = z.union([
  z.literal('embedded'),
  z.literal('off'),
  broker,
  z.strictObject({
    /** The embedded broker on a port of its own, besides the gate's: what dials 8883 finds it there. */
    listen: listen
      .refine(address => address.kind === 'tls', 'MQTT is spoken in TLS only; write tls://host:port, like tls://:8883')
      .optional(),
    /** Another broker instead: notices are published there. */
    broker: broker.optional(),
    /** The CA of its certificate; default: the system's. */
    ca: reference.optional(),
    /** What the gate shows it. */
    cert: reference.optional(),
    key: reference.optional(),
    user: z.string().min(1).max(256).optional(),
    password: reference.optional(),
  }),
]);

export const tunnelConfig = z.strictObject({
  /** Of a tunnel that is opened without saying how long. */
  lifetime: duration.refine(ms => ms >= minute && ms <= longestLifetime, 'between 1m and 12h').default(longestLifetime),
  /** Stands in ARNs and in notices; requests may name any region. */
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'write a region of AWS, like ap-northeast-1')
    .default('ap-northeast-1'),
  mqtt: mqtt.default('embedded'),
  /** Bytes a second towards AWS's localproxy, which dies where its application reads more slowly; 0 = as fast as it goes. */
  pace: size.default(20 * 1024 * 1024),
  limits: z
    .strictObject({
      /** Open at a time. */
      tunnels: z.int().min(1).max(1_000_000).default(1000),
      /** Of one tunnel; AWS allows 3. */
      services: z.int().min(1).max(100).default(3),
      /** Live ones within one tunnel. */
      connections: z.int().min(1).max(100_000).default(4096),
      /** Received for one connection and not yet taken by its reader. */
      queue: size.default(4 * 1024 * 1024),
      /** How long a new connection waits for the destination to come. */
      wait: duration.default(15_000),
      /** A side that sends nothing at all for so long, not even a ping, is gone. */
      silence: duration.default(90_000),
    })
    .prefault({}),
});

export type TunnelConfig = z.output<typeof tunnelConfig>;
export type MqttConfig = TunnelConfig['mqtt'];

/** What `tunnel.mqtt` means, in whichever of its forms it is written. */
export type MqttPlan =
  | { readonly kind: 'off' }
  | { readonly kind: 'embedded'; readonly listen?: { readonly host: string; readonly port: number } }
  | {
      readonly kind: 'external';
      readonly host: string;
      readonly port: number;
      readonly tls: boolean;
      /** References. */
      readonly files: {
        readonly ca?: string;
        readonly cert?: string;
        readonly key?: string;
        readonly password?: string;
      };
      readonly user?: string;
    };

/** @throws Fault `invalid` for keys that do not go together */
export function planMqtt(written: MqttConfig): MqttPlan {
  if (written === 'off' || written === 'embedded') return { kind: written };
  const block = typeof written === 'string' ? { broker: written } : written;
  const { listen: at, broker: url, ca, cert, key, user, password } = block as Exclude<MqttConfig, string>;
  if (url === undefined) {
    const stray = Object.entries({ ca, cert, key, user, password }).find(([, value]) => value !== undefined)?.[0];
    if (stray !== undefined)
      throw new Fault('invalid', `tunnel.mqtt: ${stray} is for a broker elsewhere; name it with broker`);
    return { kind: 'embedded', ...(at?.kind === 'tls' ? { listen: { host: at.host, port: at.port } } : {}) };
  }
  if (at)
    throw new Fault('invalid', 'tunnel.mqtt: listen is for the embedded broker; with broker nothing is listened on');
  if ((cert === undefined) !== (key === undefined)) throw new Fault('invalid', 'tunnel.mqtt: cert and key go together');
  const { protocol, hostname, port } = new URL(url);
  const tls = protocol === 'mqtts:';
  return {
    ...{ kind: 'external', host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (tls ? 8883 : 1883)), tls },
    files: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(password === undefined ? {} : { password }),
    },
    ...(user === undefined ? {} : { user }),
  };
}
