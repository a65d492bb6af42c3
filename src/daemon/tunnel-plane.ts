// Tunnels within this process: what the room is handed, and how MQTT stands on the gate's port, a port of its own, or elsewhere.
import type { Audit } from '../access/index.ts';
import type { HttpDoor } from '../api/index.ts';
import type { ListenAddress } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Conn, Gate, Identify, Listener, Log, Metrics, Upgrade } from '../core/parts.ts';
import {
  createPublisher,
  type Devices,
  type MqttBroker,
  type Notifier,
  openMqttBroker,
  openTunnels,
  planMqtt,
  type TunnelService,
} from '../features/tunnel/index.ts';
import { upgradeTls } from '../net/tls.ts';
import type { Store } from '../store/index.ts';
import { type Authority, anonymous, type Directory, type Limiter } from '../trust/index.ts';
import type { Read } from '../wire/config-value.ts';
import type { ConfigFile } from './config-file.ts';
import type { Tenant } from './gate-door.ts';
import { gateTls, latestChecker, lifeEvent } from './gateway-parts.ts';
import type { Plan } from './plan.ts';

export interface TunnelPlaneOptions {
  readonly current: () => { readonly file: ConfigFile; readonly plan: Plan };
  readonly store: Store;
  readonly gate: Gate;
  readonly audit: Pick<Audit, 'append'>;
  readonly authority: Pick<Authority, 'anchor' | 'staple'>;
  readonly directory: Pick<Directory, 'standing'>;
  readonly limiter: Limiter;
  /** The device registry, where there is one. */
  readonly devices?: () => Devices | undefined;
  readonly read: Read;
  readonly open: (key: string, address: ListenAddress) => Promise<Listener>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface TunnelPlane extends AsyncDisposable {
  readonly service: TunnelService;
  /** Behind the gate's TLS. */
  readonly tenants: readonly Tenant[];
  /** On the gate's own origin. */
  readonly doors: readonly HttpDoor[];
}

/** ALPN of MQTT with client certificates on 443, as AWS's SDKs and as others call it. */
const mqttAlpn = ['x-amzn-mqtt-ca', 'mqtt'];

export async function openTunnelPlane(options: TunnelPlaneOptions): Promise<TunnelPlane> {
  const { current, store, gate, audit, directory, limiter, devices, clock, log, metrics } = options;
  const config = current().file.config.tunnel;
  await using stack = new AsyncDisposableStack();
  const plan = planMqtt(config.mqtt);
  let broker: MqttBroker | undefined;
  let notifier: Notifier | undefined;
  if (plan.kind === 'external') {
    const { files, user, ...place } = plan;
    const text = async (reference: string | undefined): Promise<string | undefined> =>
      reference === undefined ? undefined : (await options.read(reference)).toString('utf8');
    const [ca, cert, key, password] = await Promise.all([files.ca, files.cert, files.key, files.password].map(text));
    notifier = createPublisher({
      ...{ host: place.host, port: place.port, tls: place.tls, log },
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { identity: { cert, key } }),
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password: password.replace(/\r?\n$/, '') }),
    });
  } else if (plan.kind === 'embedded') {
    const checker = latestChecker(() => current().plan.trust);
    const identify: Identify = async ({ tls }) =>
      tls?.leaf ? directory.standing(checker().check(tls.leaf, tls.chain)) : anonymous;
    broker = stack.use(await openMqttBroker({ gate, identify, log, metrics }));
    notifier = broker;
    if (plan.listen) {
      const listener = stack.use(await options.open('tunnel.mqtt.listen', { kind: 'tls', ...plan.listen }));
      void serveMqtt(listener, broker, mqttTls(options), log);
    }
  }
  const mqtt = broker;
  const service = stack.use(
    await openTunnels(config, {
      ...{ store, gate, clock, log, metrics, notifier: () => notifier },
      ...(devices ? { devices } : {}),
      guesses: { check: from => limiter.check({ from }), failed: from => limiter.failed({ from }) },
      record: (event, resource, facts) =>
        void audit.append({ ...lifeEvent(event, { ...facts }), resource }).catch(error => {
          log.error({ error, event }, 'an event of a tunnel could not be written to the audit');
        }),
    }),
  );
  const tenant: Tenant = {
    name: 'mqtt',
    alpn: { protocols: mqttAlpn, clients: { mode: 'required', trust: () => current().plan.trust } },
    handle: async conn => mqtt?.serve(conn),
  };
  const parts = stack.move();
  return {
    service,
    tenants: mqtt ? [tenant] : [],
    doors: [{ name: 'tunnel', upgrade: service.door }, ...(mqtt ? [{ name: 'mqtt', upgrade: mqtt.door }] : [])],
    [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
  };
}

/** Each conn of the port of its own: TLS with a client certificate, then MQTT. */
async function serveMqtt(listener: Listener, broker: MqttBroker, upgrade: () => Upgrade, log: Log): Promise<void> {
  const enter = async (raw: Conn): Promise<void> => {
    try {
      await broker.serve(await upgrade()(raw, AbortSignal.timeout(20_000)));
    } catch (error) {
      raw.stream.destroy();
      log.debug({ from: raw.peer, error }, 'a handshake on the MQTT port failed');
    }
  };
  for await (const conn of listener) void enter(conn);
}

/** Made anew when the gate's certificate or the trust is another. */
function mqttTls({ current, authority }: TunnelPlaneOptions): () => Upgrade {
  let made: { readonly of: Plan; readonly upgrade: Upgrade } | undefined;
  return () => {
    const { plan } = current();
    if (made?.of !== plan) {
      const { identities, trust, ciphers } = gateTls(plan, authority.anchor());
      const upgrade = upgradeTls({
        ...{ identities, ciphers, alpn: mqttAlpn, handshake: 20_000 },
        clients: { mode: 'required', ca: trust.cas, depth: trust.depth },
        session: { tickets: false, cache: 0, timeout: 300_000 },
        context: JSON.stringify(['mqtt', trust.cas]),
        staple: authority.staple,
      });
      made = { of: plan, upgrade };
    }
    return made.upgrade;
  };
}
