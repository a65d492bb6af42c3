// Endpoints under a flood, and a thousand of them: an open session's latency beside connections that are refused, the
// time to open one more, memory of an idle one. Needs gcc.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { echoServer, newFolder, startGate } from '../test/fixtures/gate-process.ts';
import { endPolitely, profiled } from './device-path.ts';
import { inScope, median } from './load.ts';
import { cpuSeconds, describeMachine, memory } from './machine.ts';

const rate = 10_000;
const many = 1000;

/** Prints what it measures. */
export const underFlood = (seconds: number): Promise<void> =>
  inScope(async scope => {
    const folder = newFolder();
    scope.after(() => rmSync(folder, { recursive: true, force: true }));
    const flood = join(folder, 'flood');
    execFileSync('gcc', ['-O2', '-o', flood, join(import.meta.dirname, 'flood.c')]);
    const echo = await echoServer(scope);
    const target = `tcp://127.0.0.1:${echo.port}`;
    const gate = await startGate(scope, {
      folder,
      config:
        'gate: { listen: "tls://127.0.0.1:0", workers: 0 }\nendpoint: { limits: { per-user: 3000 } }\nlog: { level: warn }\n',
      env: profiled('gate'),
    });
    endPolitely(scope, gate.child);
    const pid = gate.child.pid ?? 0;
    const api = <T>(method: string, path: string, body?: object): Promise<T> =>
      ask(join(gate.data, 'sekisho.sock'), method, path, body);
    const open = (): Promise<Opened> => api('POST', '/v1/endpoints', { target, for: '1h', from: ['127.0.0.1/32'] });

    process.stdout.write(`${describeMachine()}, load ${loadavg()[0]?.toFixed(1)}\n`);

    // A flood of refused connections beside an open session, in turns.
    const one = await open();
    const socket = connect({ port: one.port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    await roundTrips(socket, 1);
    const calm: number[] = [];
    const stormy: number[] = [];
    let [connects, refused, busy] = [0, 0, 0];
    for (let turn = 0; turn < 3; turn++) {
      calm.push(...(await roundTrips(socket, seconds / 4)));
      const before = cpuSeconds(pid);
      const storm = spawn(flood, [String(one.port), '127.0.0.9', String(rate), String(seconds / 2)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [[said], times] = await Promise.all([once(storm.stdout, 'data'), roundTrips(socket, seconds / 2 - 0.2)]);
      if (storm.exitCode === null) await once(storm, 'exit');
      busy += cpuSeconds(pid) - before;
      const told = JSON.parse(String(said)) as { connects: number; refused: number };
      connects += told.connects;
      refused += told.refused;
      stormy.push(...times);
    }
    for (const times of [calm, stormy]) times.sort((a, b) => a - b);
    const perSecond = connects / (1.5 * seconds);
    process.stdout.write(`calm:          ${shown(calm)}\n`);
    process.stdout.write(`under a flood: ${shown(stormy)} (p50 × ${(at(stormy, 0.5) / at(calm, 0.5)).toFixed(2)})\n`);
    process.stdout.write(
      `refused:       ${perSecond.toFixed(0)} connections/s, ${refused} seen refused; ${((busy / connects) * 1e6).toFixed(1)} µs CPU each\n`,
    );
    socket.destroy();
    await new Promise(resolve => setTimeout(resolve, 16_000));
    const { rows } = await api<{ rows: { facts: { count: number } }[] }>(
      'GET',
      '/v1/audit?event=endpoint.denied&limit=1000',
    );
    const counted = rows.reduce((sum, { facts }) => sum + facts.count, 0);
    process.stdout.write(`audit:         ${rows.length} rows for ${counted} refusals\n`);

    // A thousand at once.
    const idle = memory(pid);
    const times: number[] = [];
    for (let count = 0; count < many; count++) {
      const began = performance.now();
      await open();
      times.push((performance.now() - began) * 1000);
    }
    const [first, last] = [median(times.slice(0, 100)), median(times.slice(-100))];
    process.stdout.write(
      `opening:       the first 100 ${first.toFixed(0)} µs, the last 100 of ${many} ${last.toFixed(0)} µs (× ${(last / first).toFixed(2)})\n`,
    );
    process.stdout.write(`memory:        ${((memory(pid) - idle) / many / 1024).toFixed(1)} kB an idle endpoint\n`);
  });

interface Opened {
  readonly id: string;
  readonly port: number;
}

function ask<T>(socketPath: string, method: string, path: string, body?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const sending = request(
      {
        socketPath,
        method,
        path,
        headers: { host: 'localhost', 'content-type': 'application/json' },
      },
      async answer => {
        const text = (await answer.setEncoding('utf8').toArray()).join('');
        if (answer.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(text));
      },
    );
    sending.on('error', reject).end(body ? JSON.stringify(body) : undefined);
  });
}
/** Round trips of 64 bytes, one after the other; microseconds, sorted. */
async function roundTrips(socket: Socket, length: number): Promise<number[]> {
  const message = Buffer.alloc(64, 'x');
  const times: number[] = [];
  const end = performance.now() + length * 1000;
  while (performance.now() < end) {
    const began = performance.now();
    socket.write(message);
    for (let got = 0; got < message.length; ) got += ((await once(socket, 'data')) as [Buffer])[0].length;
    times.push((performance.now() - began) * 1000);
    await new Promise(resolve => setTimeout(resolve, 1)); // a session in use, not a flood of its own
  }
  return times.sort((a, b) => a - b);
}
const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
const shown = (times: readonly number[]): string =>
  `p50 ${at(times, 0.5).toFixed(0)} µs, p99 ${at(times, 0.99).toFixed(0)} µs`;
