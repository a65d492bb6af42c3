// Devices: gate + agent beside ssh -L doing the same job, in turn; then what 1,000 idle devices and an idle agent cost.
// npm run bench -- device [--seconds 3] [--turns 3] [--idle 1000] [--agent-node /usr/bin/node]
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { parseArgs } from 'node:util';
import { makeRequest, newDeviceKey } from '../src/features/device/agent/csr.ts';
import { serveLink } from '../src/features/device/agent/serve-link.ts';
import { makeConn } from '../src/net/conn.ts';
import { cpuSeconds, describeMachine, memory } from './machine.ts';

let [gatePort, gatePid, agentPid] = [0, 0, 0];
const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    turns: { type: 'string', default: '3' },
    idle: { type: 'string', default: '1000' },
    'agent-node': { type: 'string', default: process.execPath },
  },
});
const [seconds, turns, idle] = [Number(options.seconds), Number(options.turns), Number(options.idle)];
const main = join(import.meta.dirname, '../src/main.ts');
const dir = mkdtempSync(join(tmpdir(), 'sekisho-bench-device-'));
const children: ChildProcess[] = [];
const sekisho = (...args: string[]): string =>
  execFileSync(process.execPath, [main, ...args, '--data', join(dir, 'data')], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });

type Service = 'echo' | 'sink' | 'pour';
const services: Readonly<Record<Service, number>> = {
  echo: await serveEcho(),
  sink: await serveSink(),
  pour: await servePour(),
};

/** One way to the three services. */
interface Subject {
  readonly name: string;
  readonly ports: Readonly<Record<Service, number>>;
  /** Whose CPU time counts. */
  readonly pids: () => number[];
}

try {
  const subjects = [await startSsh(), await startGate()];
  process.stdout.write(
    `${new Date().toISOString().slice(0, 10)}, ${describeMachine()}, Node ${process.version}, agent on ${options['agent-node']}\n\n`,
  );
  process.stdout.write(
    '| row | subject | wall | per CPU-second | p50 | ratio wall | ratio CPU |\n|---|---|---|---|---|---|---|\n',
  );
  if (turns > 0) for (const row of rows()) await measure(row, subjects);
  await measureIdle();
} finally {
  for (const child of children.reverse()) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
process.exitCode = 0;
setTimeout(() => process.kill(process.pid, 'SIGKILL'), 500);

interface Sample {
  readonly work: number;
  readonly p50?: number;
}
interface Row {
  readonly name: string;
  readonly unit: string;
  readonly run: (subject: Subject) => Promise<Sample>;
}
function rows(): Row[] {
  return [
    { name: 'down, 1 stream', unit: 'MB', run: ({ ports }) => bulk(ports.pour, 1, 'down') },
    { name: 'down, 64 streams', unit: 'MB', run: ({ ports }) => bulk(ports.pour, 64, 'down') },
    { name: 'up, 1 stream', unit: 'MB', run: ({ ports }) => bulk(ports.sink, 1, 'up') },
    { name: 'up, 64 streams', unit: 'MB', run: ({ ports }) => bulk(ports.sink, 64, 'up') },
    { name: 'echo 64 B, 1 stream', unit: 'trips', run: ({ ports }) => echoes(ports.echo, 1) },
    { name: 'echo 64 B, 64 streams', unit: 'trips', run: ({ ports }) => echoes(ports.echo, 64) },
    { name: 'opens, 16 at once', unit: 'opens', run: ({ ports }) => opens(ports.echo, 16) },
  ];
}

async function measure({ name, unit, run }: Row, subjects: readonly Subject[]): Promise<void> {
  const all = subjects.map(() => [] as { wall: number; cpu: number; p50: number }[]);
  for (const subject of subjects) await run(subject); // warm
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, subject] of subjects.entries()) {
      const cpu = (): number => subject.pids().reduce((sum, pid) => sum + cpuSeconds(pid), 0);
      const [before, began] = [cpu(), performance.now()];
      const { work, p50 = 0 } = await run(subject);
      const wall = (performance.now() - began) / 1000;
      all[index]?.push({ wall: work / wall, cpu: work / Math.max(0.01, cpu() - before), p50 });
    }
  }
  const of = (index: number, key: 'wall' | 'cpu' | 'p50'): number => median((all[index] ?? []).map(one => one[key]));
  for (const [index, subject] of subjects.entries()) {
    const [wall, cpu, p50] = [of(index, 'wall'), of(index, 'cpu'), of(index, 'p50')];
    const ratio = (key: 'wall' | 'cpu'): string => (of(index, key) / of(0, key)).toFixed(2);
    const cells = [
      name,
      subject.name,
      `${wall.toFixed(0)} ${unit}/s`,
      cpu.toFixed(0),
      p50 ? `${p50.toFixed(0)} µs` : '',
      ratio('wall'),
      ratio('cpu'),
    ];
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

async function bulk(port: number, streams: number, way: 'up' | 'down'): Promise<Sample> {
  let bytes = 0;
  const block = Buffer.alloc(65_536);
  const sockets = await Promise.all(Array.from({ length: streams }, () => open(port)));
  for (const socket of sockets) {
    if (way === 'down') {
      socket.on('data', chunk => {
        bytes += chunk.length;
      });
      continue;
    }
    const pour = (): void => {
      do bytes += block.length;
      while (socket.write(block));
    };
    socket.on('drain', pour);
    pour();
  }
  await new Promise(resolve => setTimeout(resolve, seconds * 1000));
  for (const socket of sockets) socket.destroy();
  return { work: bytes / 1e6 };
}

async function echoes(port: number, streams: number): Promise<Sample> {
  const times: number[] = [];
  const block = Buffer.alloc(64, 1);
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: streams }, async () => {
      const socket = await open(port);
      let [got, at] = [0, performance.now()];
      await new Promise<void>(resolve => {
        socket.on('close', resolve);
        socket.on('data', chunk => {
          got += chunk.length;
          if (got < 64) return;
          const now = performance.now();
          times.push(now - at);
          [got, at] = [0, now];
          if (now > end) resolve();
          else socket.write(block);
        });
        socket.write(block);
      });
      socket.destroy();
    }),
  );
  return { work: times.length, p50: median(times) * 1000 };
}

async function opens(port: number, streams: number): Promise<Sample> {
  let work = 0;
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: streams }, async () => {
      while (performance.now() < end) {
        const socket = await open(port);
        socket.write('x');
        await Promise.race([once(socket, 'data'), once(socket, 'close')]);
        socket.destroy();
        work++;
      }
    }),
  );
  return { work };
}

/** ssh -L to an sshd on loopback: client, server and what the server forked. */
async function startSsh(): Promise<Subject> {
  const at = (name: string): string => join(dir, name);
  for (const name of ['host', 'own']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)]);
  const [port = 0, echo = 0, sink = 0, pour = 0] = await freePorts(4);
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${at('host')}`,
    `AuthorizedKeysFile ${at('own.pub')}`,
  ];
  writeFileSync(
    at('sshd.conf'),
    [...lines, 'StrictModes no', 'PidFile none', 'PermitRootLogin yes', 'UsePAM no', ''].join('\n'),
  );
  mkdirSync('/run/sshd', { recursive: true });
  const server = start('/usr/sbin/sshd', ['-D', '-f', at('sshd.conf')]);
  await answers(port);
  const forwards = Object.entries({ echo, sink, pour }).flatMap(([name, own]) => [
    '-L',
    `${own}:127.0.0.1:${services[name as Service]}`,
  ]);
  const quiet = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-F', 'none'];
  const client = start('ssh', [
    '-N',
    '-q',
    ...quiet,
    '-i',
    at('own'),
    '-p',
    String(port),
    ...forwards,
    'root@127.0.0.1',
  ]);
  await answers(pour);
  return {
    name: 'ssh -L',
    ports: { echo, sink, pour },
    pids: () => [client.pid ?? 0, ...descendants(server.pid ?? 0)],
  };
}

async function startGate(): Promise<Subject> {
  const [port = 0, echo = 0, sink = 0, pour = 0] = await freePorts(4);
  const routes = Object.entries({ echo, sink, pour }).map(
    ([name, own]) => `  ${name}: { listen: "tcp://127.0.0.1:${own}", to: "device://pump-7/${name}" }`,
  );
  const text = [
    `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }`,
    'log: { level: warn }',
    'proxy:',
    ...routes,
    '',
  ].join('\n');
  writeFileSync(join(dir, 'sekisho.yaml'), text);
  const gate = start(process.execPath, [
    ...profile('gate'),
    main,
    'up',
    '-c',
    join(dir, 'sekisho.yaml'),
    '--data',
    join(dir, 'data'),
  ]);
  await answers(pour);
  const offered = Object.entries(services).flatMap(([name, own]) => ['--service', `${name}=127.0.0.1:${own}`]);
  const { code } = JSON.parse(sekisho('device', 'enroll', 'pump-7', ...offered, '--json')) as { code: string };
  const { buildAgent } = await import('../src/daemon/agent-bundle.ts');
  writeFileSync(join(dir, 'agent.js'), await buildAgent());
  const url = `https://127.0.0.1:${port}`;
  const agent = start(options['agent-node'], [
    ...profile('agent'),
    join(dir, 'agent.js'),
    '--gate',
    url,
    '--enroll',
    code,
    '--dir',
    join(dir, 'agent'),
  ]);
  while (!/"online"/.test(sekisho('device', 'list', '--json'))) await new Promise(resolve => setTimeout(resolve, 200));
  gatePort = port;
  gatePid = gate.pid ?? 0;
  agentPid = agent.pid ?? 0;
  return { name: 'Sekisho', ports: { echo, sink, pour }, pids: () => [gatePid, agentPid] };
}

function profile(name: string): string[] {
  const folder = process.env['PROFILE'];
  return folder ? ['--cpu-prof', `--cpu-prof-dir=${join(folder, name)}`] : [];
}

/** Devices of this process, each with a certificate of its own; what the gate grew by is divided by their number. */
async function measureIdle(): Promise<void> {
  const spent = cpuSeconds(agentPid);
  await new Promise(resolve => setTimeout(resolve, 5000));
  process.stdout.write(
    `\nidle agent: ${(memory(agentPid) / 1024 / 1024).toFixed(0)} MB RSS after the rows above, ${(((cpuSeconds(agentPid) - spent) / 5) * 100).toFixed(2)} % CPU\n`,
  );
  const names = Array.from({ length: idle + 20 }, (_, n) => `d${n}`);
  const own: Identity[] = [];
  for (const name of names) own.push(await enrolled(name));
  const quiet = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
  const requests = {
    hello: () => ({ version: '0', node: '0', platform: '', services: {} }),
    renew: async () => '',
    identity() {},
  };
  const linkUp = async (identity: Identity): Promise<void> => {
    const socket = tlsConnect({
      ...identity,
      host: '127.0.0.1',
      port: gatePort,
      rejectUnauthorized: false,
      ALPNProtocols: ['sekisho-device'],
    });
    await once(socket, 'secureConnect');
    serveLink(makeConn(socket, { peer: { host: '', port: 0 } }), {
      services: { find: () => undefined, all: () => ({}) },
      requests,
      log: quiet,
    });
  };
  for (const identity of own.slice(0, 20)) await linkUp(identity);
  await new Promise(resolve => setTimeout(resolve, 2000));
  const before = memory(gatePid);
  for (const identity of own.slice(20)) await linkUp(identity);
  await new Promise(resolve => setTimeout(resolve, 3000));
  process.stdout.write(
    `${idle} idle devices: ${((memory(gatePid) - before) / 1024 / idle).toFixed(1)} kB of gate memory each\n`,
  );
}

interface Identity {
  readonly cert: string;
  readonly key: string;
}
/** Over the gate's own socket: a thousand command lines would take longer than all the rest. */
async function enrolled(name: string): Promise<Identity> {
  const key = await newDeviceKey(); // P-256, as the agent makes it: a thousand RSA keys would take minutes
  const body = JSON.stringify({ name, csr: makeRequest(key, name) });
  const headers = { host: 'localhost', 'content-type': 'application/json', 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const asking = request(
      { socketPath: join(dir, 'data/sekisho.sock'), path: '/v1/devices', method: 'POST', headers },
      answer => {
        let text = '';
        answer.on('data', chunk => {
          text += chunk;
        });
        answer.on('end', () => {
          const { issued } = JSON.parse(text) as { issued: { cert: string; chain: string[] } };
          resolve({
            cert: issued.cert + issued.chain.join(''),
            key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
          });
        });
      },
    );
    asking.on('error', reject).end(body);
  });
}

function start(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  return child;
}

function descendants(pid: number): number[] {
  try {
    const inside = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return [pid, ...(inside === '' ? [] : inside.split(' ').map(Number).flatMap(descendants))];
  } catch {
    return [];
  }
}

async function answers(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const stands = await new Promise(resolve =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    socket.destroy();
    if (stands) return;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map(server => once(server, 'listening')));
  const ports = servers.map(server => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports;
}

async function serve(on: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    socket.on('error', () => {});
    on(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}
function serveEcho(): Promise<number> {
  return serve(socket => void socket.pipe(socket));
}
function serveSink(): Promise<number> {
  return serve(socket => void socket.resume().on('end', () => socket.end()));
}
function servePour(): Promise<number> {
  const block = Buffer.alloc(65_536);
  return serve(socket => {
    const pour = (): void => {
      while (socket.write(block));
    };
    socket.on('drain', pour);
    pour();
  });
}
