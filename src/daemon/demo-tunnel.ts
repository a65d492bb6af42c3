// Article 002 for the demonstration: a whole gate, a device that is told over MQTT, and both ends of its tunnel.
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Log } from '../core/parts.ts';
import { joinTunnel } from '../features/tunnel/local.ts';
import { encodeConnect, encodeSubscribe, packetTypes, readPacket } from '../wire/mqtt.ts';
import { parseConfig } from './config-file.ts';
import { callApi } from './demo-api.ts';
import { openGateway } from './gateway.ts';

export interface TunnelPlay extends AsyncDisposable {
  /** Where the operator's ssh would connect. */
  readonly port: number;
  /** The notice as it came, its token hidden. */
  readonly notice: string;
  /** Closes the tunnel by API; what both ends were told. */
  close(): Promise<string>;
}

export interface TunnelPlayOptions {
  readonly folder: string;
  /** The device's application. */
  readonly application: number;
  /** Stands in the legs to the gate: gives the port to dial instead. */
  readonly between: (leg: 'source' | 'destination', gate: number) => Promise<number>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const thing = 'TunnelTestDevice';

export async function openTunnelPlay(options: TunnelPlayOptions): Promise<TunnelPlay> {
  const { folder, application, between, log, signal } = options;
  await using stack = new AsyncDisposableStack();
  const data = join(folder, 'gate');
  const file = parseConfig('gate: { listen: "tls://127.0.0.1:0", workers: 0 }\n', { name: 'demo', folder });
  const gateway = stack.use(await openGateway({ file, data, workers: 0, write: () => {} }));
  const listen = gateway.listeners().find(({ name }) => name === 'gate')?.listen ?? '';
  const port = Number(/:(\d+)$/.exec(listen)?.[1]);
  const api = <T>(method: string, path: string, body?: object): Promise<T> =>
    callApi(join(data, 'sekisho.sock'), method, path, body);

  // The device has its certificate, listens to its topic, and knows nothing else.
  const { cert: ca } = await api<{ cert: string }>('GET', '/v1/certs/ca');
  const { issued } = await api<Enrolled>('POST', '/v1/devices', { name: thing, pem: true });
  const certificate = { cert: issued.cert + issued.chain.join(''), key: issued.key };
  const device = connectTls({ port, host: 'localhost', ca, ...certificate, ALPNProtocols: ['x-amzn-mqtt-ca'] });
  stack.defer(() => void device.destroy());
  device.on('error', () => {});
  const packets = packetsOf(device);
  device.write(encodeConnect({ clientId: thing }));
  await next(packets, packetTypes.connack);
  device.write(encodeSubscribe(`$aws/things/${thing}/tunnels/notify`, 1));
  await next(packets, packetTypes.suback);

  const opened = await api<Opened>('POST', '/v1/tunnels', { thing, services: ['ssh'], for: '30m' });
  const told = noticeOf(await next(packets, packetTypes.publish));
  const { clientAccessToken } = JSON.parse(told) as { clientAccessToken: string };
  const end = (mode: 'source' | 'destination', token: string, place: { host: string; port: number }) =>
    between(mode, port).then(to =>
      joinTunnel({ endpoint: `localhost:${to}`, ca, mode, token, services: { ssh: place }, signal, log }),
    );
  const destination = await end('destination', clientAccessToken, { host: '127.0.0.1', port: application });
  stack.defer(() => destination.close());
  const source = await end('source', opened.sourceToken, { host: '127.0.0.1', port: 0 });
  stack.defer(() => source.close());
  const parts = stack.move();
  const at = source.listening['ssh'];
  return {
    port: at && 'port' in at ? at.port : 0,
    notice: told.replace(clientAccessToken, `${clientAccessToken.slice(0, 9)}…`),
    async close() {
      await api('POST', `/v1/tunnels/${opened.tunnel.id}/close`, {});
      const [there] = await Promise.all([source.ended, destination.ended]);
      return there.text;
    },
    [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
  };
}

interface Enrolled {
  readonly issued: { readonly cert: string; readonly chain: readonly string[]; readonly key: string };
}
interface Opened {
  readonly tunnel: { readonly id: string };
  readonly sourceToken: string;
}

async function* packetsOf(socket: TLSSocket): AsyncGenerator<Buffer & { type?: number }> {
  let bytes: Buffer = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    for (let read = readPacket(bytes, 65_536); read !== 'more'; read = readPacket(bytes, 65_536)) {
      bytes = bytes.subarray(read.used);
      yield Object.assign(Buffer.from(read.packet.body), { type: read.packet.type });
    }
  }
}

async function next(packets: AsyncGenerator<Buffer & { type?: number }>, type: number): Promise<Buffer> {
  for (;;) {
    const { value, done } = await packets.next();
    if (done || !value) throw new Error('the device was cut off');
    if (value.type === type) return value;
  }
}

/** Behind the topic with its length and, with QoS 1, two bytes that may be anything (MQTT 3.1.1 §3.3.2). */
const noticeOf = (body: Buffer): string => body.toString('utf8', 2 + body.readUInt16BE(0) + 2);
