// The embedded MQTT broker: it tells devices of their tunnels, and does nothing else. A device proves itself with its
// certificate, reads topics of its own, and publishes nothing.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Aedes, type AuthenticateError, type Client } from 'aedes';
import { Fault, isWeather } from '../../core/fault.ts';
import type { Conn, Gate, Identify, Log, Metrics, Principal } from '../../core/parts.ts';
import { makeConn } from '../../net/conn.ts';
import { peek } from '../../net/peek.ts';
import { acceptWebSocket } from '../../net/websocket.ts';
import { streamOf } from '../../net/websocket-stream.ts';
import { readProtocolLevel, unsupportedVersion } from '../../wire/mqtt.ts';
import type { Notifier } from './deps.ts';
import { longestPacket, meteredStream } from './mqtt-stream.ts';

export interface MqttDeps {
  readonly gate: Gate;
  readonly identify: Identify;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface MqttBroker extends Notifier, AsyncDisposable {
  /** Serves MQTT on a conn whose TLS asked for a client certificate, to its end. Never throws. */
  serve(conn: Conn): Promise<void>;
  /** MQTT over WebSocket, on the gate's own origin. */
  readonly door: { readonly path: string; accept(request: IncomingMessage, conn: Conn, head: Buffer): void };
  /** Devices that are connected now. */
  readonly clients: number;
}

/** Milliseconds until the CONNECT must be there. */
const patience = 20_000;
/** Subscriptions of one device. */
const mostSubscriptions = 50;
/** Of a client id, with the device's name before it. */
const longestId = 512;

/**
 * A client id counts among the connections of one device, whose certificate has proved it: any may be chosen (AWS's samples
 * say "basicPubSub"), and none pushes another device out [MQTT-3.1.4-2]. No name of a device holds a space.
 */
const scopedId = (owner: Principal, clientId: string): string => `${owner.id} ${clientId}`;

export async function openMqttBroker({ gate, identify, log, metrics }: MqttDeps): Promise<MqttBroker> {
  /** Who stands behind a conn, by the stream that aedes has. */
  const owners = new WeakMap<object, Principal>();
  const ownerOf = (client: Client | null): Principal | undefined => client?.conn && owners.get(client.conn);
  const broker = await Aedes.createBroker({
    id: 'gate',
    connectTimeout: patience,
    heartbeatInterval: 3_600_000, // for clusters of brokers, of which this is none
    maxClientsIdLength: longestId,
    maxTopicLevels: 16,
    maxInflightInbound: 1,
    preConnect(client, packet, done) {
      const owner = ownerOf(client);
      // No sessions: what a device missed it is told again by `tunnel notify`, and nothing piles up for one that is gone.
      packet.clean = true;
      delete packet.will;
      // [MQTT-3.1.3-6]: an empty id is given one.
      const id = packet.clientId || `gate-${randomBytes(8).toString('hex')}`;
      if (owner) packet.clientId = scopedId(owner, id);
      done(null, true);
    },
    authenticate(client, _user, _password, done) {
      const owner = ownerOf(client);
      if (!owner) return done(refused(5, 'no certificate'), false);
      if (client.id.length > longestId) return done(refused(2, 'identifier rejected'), false);
      done(null, true);
    },
    authorizePublish(client, packet, done) {
      if (client === null) return done(null);
      log.info(
        { device: ownerOf(client)?.id, topic: packet.topic.slice(0, 200) },
        'a device tried to publish; nobody may',
      );
      // MQTT 3.1.1 has no other word for no than the end of the connection [MQTT-3.3.5-2].
      done(new Error('publishing is not allowed here'));
    },
    authorizeSubscribe(client, subscription, done) {
      const owner = ownerOf(client);
      const own = owner && `$aws/things/${owner.id}/`;
      const count = Object.keys((client as unknown as { subscriptions: object }).subscriptions).length;
      if (own && subscription.topic.startsWith(own) && count < mostSubscriptions) return done(null, subscription);
      log.info(
        { device: owner?.id, topic: subscription.topic.slice(0, 200) },
        'a device asked for a topic that is not its own',
      );
      done(null, null); // 0x80 in the SUBACK
    },
  });
  broker.on('clientError', (client, error) => {
    if (!isWeather(error)) log.debug({ clientId: client.id, cause: error.message }, 'an MQTT client was disconnected');
  });
  broker.on('connectionError', (_, error) => {
    if (!isWeather(error)) log.debug({ cause: error.message }, 'an MQTT connection was refused');
  });
  let clients = 0;

  const serve = async (conn: Conn): Promise<void> => {
    try {
      const who = await identify(conn, AbortSignal.timeout(patience));
      if (who.kind !== 'device') {
        gate.refuse({ who, action: 'tunnel.subscribe', resource: 'device/*', from: conn.peer }, 'not a device');
        throw new Fault('unknown-caller', 'MQTT is for devices with a certificate of this gate');
      }
      const level = await peek(conn.stream, readProtocolLevel, { limit: 64, signal: AbortSignal.timeout(patience) });
      if (level === 5) {
        log.info(
          { device: who.id, from: conn.peer },
          'a device speaks MQTT 5; 3.1.1 is spoken here, and it was told so',
        );
        conn.stream.end(unsupportedVersion);
        await conn.close(AbortSignal.timeout(1000));
        return;
      }
      await using session = await gate.admit({
        ...{ who, action: 'tunnel.subscribe', resource: `device/${who.id}`, from: conn.peer },
        opened: 'tunnel.mqtt',
      });
      const stream = meteredStream(conn.stream);
      owners.set(stream, who);
      const ended = new Promise<void>(resolve => stream.once('close', () => resolve()));
      const cut = (): void => void stream.destroy();
      session.signal.addEventListener('abort', cut, { once: true });
      clients++;
      metrics.gauge('tunnel_mqtt_clients', {}, 1);
      try {
        const client = broker.handle(stream);
        if (session.signal.aborted) cut();
        await ended;
        if (client.id) session.note('client-id', client.id.slice(scopedId(who, '').length).slice(0, 128));
      } finally {
        clients--;
        metrics.gauge('tunnel_mqtt_clients', {}, -1);
        session.signal.removeEventListener('abort', cut);
      }
    } catch (error) {
      conn.stream.destroy();
      if (isWeather(error)) return;
      const fault = error instanceof Fault ? error : undefined;
      if (fault) log.info({ from: conn.peer, code: fault.code, ...fault.facts }, fault.message);
      else if (error instanceof DOMException) log.info({ from: conn.peer }, 'an MQTT client was too slow');
      else log.error({ from: conn.peer, error }, 'an MQTT client could not be served');
    }
  };

  return {
    serve,
    get clients() {
      return clients;
    },
    door: {
      path: '/mqtt',
      accept(request, conn, head) {
        acceptWebSocket(request, conn.stream, head, {
          maxMessage: longestPacket + 5,
          protocol: offered => ['mqtt', 'mqttv3.1'].find(name => offered.has(name)) ?? false,
        }).then(
          pipe => {
            const { peer, local, tls } = conn;
            const facts = { peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) };
            void serve(makeConn(streamOf(pipe), facts));
          },
          () => conn.stream.destroy(),
        );
      },
    },
    publish: (topic, payload) =>
      new Promise((resolve, reject) => {
        const done = (error?: Error): void => {
          if (error) reject(new Fault('unreachable', 'the broker did not take the notice', { cause: error }));
          else resolve();
        };
        broker.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, done);
      }),
    [Symbol.asyncDispose]: () => new Promise<void>(resolve => broker.close(() => resolve())),
  };
}

const refused = (returnCode: number, text: string): AuthenticateError =>
  Object.assign(new Error(text), { returnCode }) as AuthenticateError;
