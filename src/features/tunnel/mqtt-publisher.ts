// Notices by somebody else's broker (Mosquitto, EMQX, AWS IoT): connect, publish with QoS 1, wait for the PUBACK, leave.
// Notices are rare, so no connection is kept.
import { randomBytes } from 'node:crypto';
import { Fault, toFault } from '../../core/fault.ts';
import type { Conn, Log } from '../../core/parts.ts';
import { dialTcp } from '../../net/tcp.ts';
import { dialTls } from '../../net/tls.ts';
import {
  encodeConnect,
  encodeDisconnect,
  encodePublish,
  type Packet,
  packetTypes,
  readPacket,
} from '../../wire/mqtt.ts';
import type { Notifier } from './deps.ts';

export interface PublisherOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** PEM; absent = the system's. */
  readonly ca?: string;
  readonly identity?: { readonly cert: string; readonly key: string };
  readonly user?: string;
  readonly password?: string;
  readonly log: Log;
}

/** Milliseconds for one try, all its steps together. */
const patience = 10_000;
const tries = 3;

export function createPublisher(options: PublisherOptions): Notifier {
  const where = `${options.host}:${options.port}`;
  return {
    async publish(topic, payload) {
      for (let attempt = 1; ; attempt++) {
        try {
          await publishOnce(options, topic, payload);
          return;
        } catch (error) {
          const fault =
            error instanceof DOMException ? new Fault('timeout', 'it did not answer in time') : toFault(error);
          const text = fault.code === 'bug' ? String((error as Error).message) : fault.message;
          options.log.info({ broker: where, attempt, cause: text }, 'the MQTT broker did not take a notice');
          if (attempt >= tries || fault.code === 'denied') {
            throw new Fault('unreachable', `the MQTT broker ${where} did not take the notice: ${text}`, {
              cause: error,
            });
          }
          await new Promise(resolve => setTimeout(resolve, 200 * 2 ** attempt * (0.5 + Math.random() / 2)));
        }
      }
    },
  };
}

async function publishOnce(options: PublisherOptions, topic: string, payload: string): Promise<void> {
  const signal = AbortSignal.timeout(patience);
  const conn = await dial(options, signal);
  const { stream } = conn;
  const abort = (): void => void stream.destroy(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const packets = packetsOf(conn);
    const { user, password } = options;
    const clientId = `sekisho-${randomBytes(6).toString('hex')}`;
    stream.write(
      encodeConnect({
        clientId,
        ...(user === undefined ? {} : { user }),
        ...(password === undefined ? {} : { password }),
      }),
    );
    const { body } = await next(packets, packetTypes.connack);
    const code = body[1] ?? 255;
    if (code !== 0) throw new Fault('denied', connackTexts[code] ?? `it refused the connection (${code})`);
    stream.write(encodePublish(topic, payload, 1));
    await next(packets, packetTypes.puback);
    stream.end(encodeDisconnect());
  } finally {
    signal.removeEventListener('abort', abort);
    stream.destroy();
  }
}

const connackTexts: Readonly<Record<number, string>> = {
  1: 'it does not speak MQTT 3.1.1',
  2: 'it refused the client id',
  3: 'it says that it is not available',
  4: 'the user or the password is wrong',
  5: 'it does not allow this gate in',
};

function dial({ host, port, tls, ca, identity }: PublisherOptions, signal: AbortSignal): Promise<Conn> {
  if (!tls) return dialTcp({ host, port, timeout: patience }, signal);
  return dialTls(
    {
      ...{ host, port, connect: patience, handshake: patience, servername: host },
      verify: { name: host, ...(ca === undefined ? {} : { ca: [ca] }) },
      ...(identity ? { identity } : {}),
    },
    signal,
  );
}

async function* packetsOf({ stream }: Conn): AsyncGenerator<Packet> {
  let bytes: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    for (let read = readPacket(bytes, 64 * 1024); read !== 'more'; read = readPacket(bytes, 64 * 1024)) {
      bytes = bytes.subarray(read.used);
      yield read.packet;
    }
  }
}

async function next(packets: AsyncGenerator<Packet>, type: number): Promise<Packet> {
  for (;;) {
    const { value, done } = await packets.next();
    if (done || !value) throw new Fault('unreachable', 'it closed the connection');
    if (value.type === type) return value;
  }
}
