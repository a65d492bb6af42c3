// A gate for the demonstration, on loopback with a folder of its own, and a device that dials in with our agent.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../core/parts.ts';
import { runAgent } from './agent.ts';
import { parseConfig } from './config-file.ts';
import { callApi as call } from './demo-api.ts';
import { openGateway } from './gateway.ts';
import { version } from './places.ts';

export interface DemoGate extends AsyncDisposable {
  /** The gate's own port. */
  readonly port: number;
  /** Enrols pump-7 and links it over this address of the gate; `at` is where its service listens. */
  device(gate: number, at: number): Promise<void>;
  /** Opens an endpoint with TLS in front of the device's service; its port. */
  endpoint(): Promise<number>;
  /** The file with the gate's CA. */
  readonly ca: string;
}

const patience = 20_000;

export async function openDemoGate(folder: string, log: Log, signal: AbortSignal): Promise<DemoGate> {
  const text = 'gate: { name: localhost, listen: "tls://127.0.0.1:0", workers: 0 }\n';
  const file = parseConfig(text, { name: 'demo', folder });
  await using stack = new AsyncDisposableStack();
  const data = join(folder, 'data');
  const gateway = stack.use(await openGateway({ file, data, workers: 0, write: () => {} }));
  const end = new AbortController();
  stack.defer(() => end.abort());
  const own = gateway.listeners().find(({ name }) => name === 'gate')?.listen ?? '';
  const socket = join(data, 'sekisho.sock');
  const { cert } = await call<{ cert: string }>(socket, 'GET', '/v1/certs/ca');
  const ca = join(folder, 'gate-ca.pem');
  await writeFile(ca, cert);
  const parts = stack.move();
  return {
    ca,
    port: Number(own.split(':').at(-1)),
    async device(gate, at) {
      const services = { sensor: `127.0.0.1:${at}` };
      const { code } = await call<{ code: string }>(socket, 'POST', '/v1/devices', { name: 'pump-7', services });
      const linked = Promise.withResolvers<void>();
      const running = runAgent({
        ...{ gate: `https://127.0.0.1:${gate}`, enroll: code, dir: join(folder, 'device'), env: {}, version, log },
        signal: AbortSignal.any([signal, end.signal]),
        linked: () => linked.resolve(),
      });
      running.catch(linked.reject);
      AbortSignal.timeout(patience).addEventListener('abort', () =>
        linked.reject(new Error('the device did not link')),
      );
      await linked.promise;
    },
    async endpoint() {
      const body = { target: 'device://pump-7/sensor', for: '5m', from: ['127.0.0.1/32'], tls: 'end' };
      return (await call<{ port: number }>(socket, 'POST', '/v1/endpoints', body)).port;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
