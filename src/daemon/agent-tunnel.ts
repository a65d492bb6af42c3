// The AWS way of the agent: join one tunnel by its token, or wait for notices over MQTT and join each as its destination.
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { IClientOptions } from 'mqtt';
import { Fault, toFault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { endpointOf, joinTunnel, type LocalService, proxyFor } from '../features/tunnel/local.ts';
import { machineRoots } from './agent-roots.ts';

/** Where tunnels are, and what may be reached here. */
export interface TunnelPlace {
  /** The gate; absent = AWS's own endpoint of the region. */
  readonly gate?: string;
  readonly region?: string;
  /** PEM, beside the CAs that Node knows. */
  readonly roots: () => readonly string[];
  /** The device's own list: name → `host:port` or `unix:/path`. */
  readonly services: () => Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Resolves when the tunnel is over. @throws Fault `denied` (the token), `invalid` */
export async function joinOne(place: TunnelPlace, token: string, region = place.region): Promise<void> {
  const { gate, roots, services, env, log, signal } = place;
  // An agent that has a gate may be told of regions by notices; the gate is where its tunnels are.
  const where = gate === undefined ? { ...(region === undefined ? {} : { region }) } : { endpoint: gate };
  const { host, port } = endpointOf(where);
  const proxy = proxyFor(host, port, env);
  const joined = await joinTunnel({
    ...where,
    ...(proxy === undefined ? {} : { proxy }),
    ...{ token, mode: 'destination', signal, log, ca: [...roots(), ...machineRoots()] },
    services: Object.fromEntries(Object.entries(services()).map(([name, text]) => [name, parsePlace(text)])),
  });
  log.info({ services: joined.services }, 'joined a tunnel');
  const { cause, text } = await joined.ended;
  log.info({ cause }, `the tunnel is over: ${text}`);
}

/** @throws Fault `invalid` */
export function parsePlace(text: string): Exclude<LocalService, { readonly stream: unknown }> {
  if (text.startsWith('unix:')) return { path: text.slice(5) };
  const [, bracketed, plain = '127.0.0.1', digits] =
    /^(?:tcp:\/\/)?(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) throw new Fault('invalid', `"${text}" is not a place; write host:port`);
  return { host: bracketed ?? plain, port };
}

/** Never from the arguments, where everybody on the machine reads it. @throws Fault `invalid` */
export function readToken(file: string | undefined, env: TunnelPlace['env']): string {
  if (file === undefined) {
    const token = env['AWSIOT_TUNNEL_ACCESS_TOKEN'];
    if (!token)
      throw new Fault('invalid', 'no token: give --token-file, or AWSIOT_TUNNEL_ACCESS_TOKEN in the environment');
    return token.trim();
  }
  return readFile(file, '--token-file').trim();
}

export function readFile(path: string, option: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (cause) {
    throw new Fault('invalid', `${option} ${path} cannot be read`, { cause });
  }
}

export interface MqttPlace extends TunnelPlace {
  /** `mqtts://broker:8883`. */
  readonly mqtt: string;
  /** The client id and the name in the topic. */
  readonly thing: string;
  /** PEM; asked for each connection, since certificates are renewed. */
  readonly identity: () => { readonly cert: string; readonly key: string };
}

/** A notice is a kilobyte; whoever sends more means harm. */
const longestNotice = 16_384;
/** Tunnels at once: each holds connections and buffers. */
const mostTunnels = 16;

/**
 * Waits for `$aws/things/<thing>/tunnels/notify` and joins each tunnel that it announces, until the signal. The library is
 * loaded here and not before: a device without MQTT stays small. @throws Fault `invalid`
 */
export async function followMqtt(place: MqttPlace): Promise<void> {
  const { thing, log, signal } = place;
  const url = new URL(place.mqtt);
  if (url.protocol !== 'mqtts:')
    throw new Fault('invalid', '--mqtt is written mqtts://host:port; MQTT without TLS is not spoken');
  const { default: mqtt } = await import('mqtt');
  const port = Number(url.port) || 8883;
  const options: IClientOptions = {
    ...{ host: url.hostname.replace(/^\[|\]$/g, ''), port, protocol: 'mqtts', protocolVersion: 4, clientId: thing },
    ...{ ...place.identity(), ca: [...place.roots(), ...machineRoots()] },
    // On other ports than MQTT's own, gate and AWS tell it by ALPN.
    ...(port === 8883 ? {} : { ALPNProtocols: ['x-amzn-mqtt-ca'] }),
    // We subscribe ourselves, at each connection, so that a refusal is seen.
    resubscribe: false,
    ...{ clean: true, keepalive: 60, connectTimeout: 15_000, reconnectPeriod: 2000 + Math.round(Math.random() * 6000) },
  };
  const topic = `$aws/things/${thing}/tunnels/notify`;
  const client = mqtt.connect(options);
  let complaint = '';
  const complain = (text: string): void => {
    if (text !== complaint) log.warn({}, `MQTT: ${text}; trying again`);
    complaint = text;
  };
  client.on('reconnect', () => {
    try {
      const next = { ...place.identity(), ca: [...place.roots(), ...machineRoots()] };
      createSecureContext(next); // a file that is just being written must not end the agent
      Object.assign(client.options, next);
    } catch (error) {
      complain(toFault(error).message);
    }
  });
  client.on('connect', () => {
    client.subscribe(topic, { qos: 1 }, (error, granted) => {
      if (error || granted?.[0]?.qos === 128) {
        complain(error?.message ?? `the broker does not grant ${topic}`);
        client.stream.destroy();
        return;
      }
      complaint = '';
      log.info({ topic }, 'waiting for tunnels over MQTT');
    });
  });
  client.on('error', (error: Error) => complain(error.message));
  const live = new Set<string>();
  client.on('message', (_topic: string, payload: Uint8Array) => {
    const notice = parseNotice(payload, log);
    if (!notice || live.has(notice.token)) return;
    if (live.size >= mostTunnels) return log.warn({}, `${mostTunnels} tunnels are joined; this one is left alone`);
    live.add(notice.token);
    joinOne(place, notice.token, notice.region)
      .catch((error: unknown) => {
        if (!signal.aborted) log.warn({}, `the tunnel could not be joined: ${toFault(error).message}`);
      })
      .finally(() => live.delete(notice.token));
  });
  await new Promise<void>(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await client.endAsync(true);
}

/** `{clientAccessToken, clientMode: "destination", region, services}`. */
function parseNotice(payload: Uint8Array, log: Log): { token: string; region: string | undefined } | undefined {
  if (payload.length > longestNotice) return;
  try {
    const {
      clientAccessToken: token,
      clientMode,
      region,
    } = JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;
    if (typeof token !== 'string' || clientMode !== 'destination') throw new Error('no destination token in it');
    // It becomes part of a host name.
    const place = typeof region === 'string' && /^[a-z0-9-]{1,32}$/.test(region) ? region : undefined;
    return { token, region: place };
  } catch (error) {
    log.warn({}, `a notice could not be understood: ${(error as Error).message}`);
    return undefined;
  }
}
