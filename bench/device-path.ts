// The ways that benches of devices compare: a gate with one linked device, and OpenSSH doing the same job.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildAgent } from '../src/daemon/agent-bundle.ts';
import {
  freePorts,
  type GateProcess,
  isClosed,
  newFolder,
  type Scope,
  startGate,
  until,
} from '../test/fixtures/gate-process.ts';
import { sshServer } from '../test/fixtures/ssh-server.ts';
import type { Way } from './beside.ts';
import { buildLoad, startBackend } from './load.ts';
import { memory } from './machine.ts';

export const device = 'pump-7';
export const service = 'bench';

/** The service at the far end of every way: load.c's own. */
export async function startService(scope: Scope): Promise<number> {
  buildLoad();
  const { child, port } = await startBackend();
  scope.after(() => child.kill('SIGKILL'));
  return port;
}

/** Bytes. `asItIs`: the heap before its garbage was collected; `total`: what the system counts (PSS), afterwards. */
export type MemoryReport = Readonly<Record<'asItIs' | 'heapUsed' | 'external' | 'total', number>>;

export interface LinkedGate {
  readonly gate: GateProcess;
  readonly port: number;
  readonly folder: string;
  readonly caFile: string;
  /** The agent's file, which is `tunnel connect` as well. */
  readonly agentFile: string;
  readonly gatePid: number;
  readonly agentPid: number;
  /** Of the gate, after a collection of its garbage. */
  memory(): Promise<MemoryReport>;
  /** `sekisho …`, its JSON. */
  call<T>(...args: string[]): Promise<T>;
}

/** A gate in one process, and the agent of one device that offers the service. */
export async function startLinkedGate(
  scope: Scope,
  backend: number,
  config = '',
  agentNode = process.execPath,
): Promise<LinkedGate> {
  const [port = 0] = await freePorts(1);
  const folder = newFolder();
  scope.after(() => rmSync(folder, { recursive: true, force: true }));
  const text = `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0, drain: 1s }\nlog: { level: warn }\n${config}\n`;
  const gate = await startGate(scope, {
    folder,
    config: text,
    env: profiled('gate', `--import=${join(import.meta.dirname, 'memory-report.ts')}`),
  });
  endPolitely(scope, gate.child);
  const call = async <T>(...args: string[]): Promise<T> => {
    const { status, stdout, stderr } = await gate.run(...args, '--json');
    if (status !== 0) throw new Error(`sekisho ${args.join(' ')}: ${stderr}`);
    return JSON.parse(stdout) as T;
  };
  const [caFile, agentFile] = [join(folder, 'ca.pem'), join(folder, 'agent.js')];
  writeFileSync(caFile, (await gate.run('cert', 'ca')).stdout);
  writeFileSync(agentFile, await buildAgent());
  const { code } = await call<{ code: string }>(
    'device',
    'enroll',
    device,
    '--service',
    `${service}=127.0.0.1:${backend}`,
  );
  const agent = startProgram(scope, agentNode, [
    ...[agentFile, '--gate', `https://localhost:${port}`],
    ...['--enroll', code, '--dir', join(folder, 'agent')],
  ]);
  await until(
    'the device is online',
    async () => /"online"/.test((await gate.run('device', 'list', '--json')).stdout),
    60_000,
  );
  const gatePid = gate.child.pid ?? 0;
  let reports = 0;
  const report = async (): Promise<MemoryReport> => {
    gate.signal('SIGUSR2');
    const line = await gate.logged(new RegExp(`^memory ${++reports} `));
    return { ...JSON.parse(line.slice(line.indexOf('{'))), total: memory(gatePid) };
  };
  return { gate, port, folder, caFile, agentFile, gatePid, agentPid: agent, memory: report, call };
}

/** A source beside clients: `sekisho tunnel connect` by the agent's file. */
export async function startSource(scope: Scope, linked: LinkedGate): Promise<Way> {
  const { port, folder, caFile, agentFile, gatePid, agentPid, call } = linked;
  const [own = 0] = await freePorts(1);
  const tokenFile = join(folder, 'source-token');
  await call('tunnel', 'open', device, '--service', service, '--source-token-file', tokenFile);
  const source = startProgram(scope, process.execPath, [
    ...[agentFile, 'tunnel', 'connect', '--gate', `https://localhost:${port}`, '--ca', caFile],
    ...['--token-file', tokenFile, '--listen', `${service}=127.0.0.1:${own}`],
  ]);
  await answers(own);
  return { name: 'Sekisho: source, gate, agent', port: own, pids: [source, gatePid, agentPid] };
}

/** `-L`: the client's side listens, as a source does; `-R`: the server's, as a gate does for its devices. */
export async function startSsh(scope: Scope, flag: '-L' | '-R', backend: number): Promise<Way> {
  const server = await sshServer();
  scope.after(() => server[Symbol.asyncDispose]());
  const [own = 0] = await freePorts(1);
  const client = startProgram(scope, 'ssh', [
    ...['-N', '-q', '-o', 'ExitOnForwardFailure=yes', ...server.options, '-p', String(server.port)],
    ...[flag, `127.0.0.1:${own}:127.0.0.1:${backend}`, `${server.user}@127.0.0.1`],
  ]);
  await answers(own);
  return { name: `ssh ${flag}`, port: own, pids: [client, server.pid] };
}

/** @returns its process id */
function startProgram(scope: Scope, program: string, args: readonly string[]): number {
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...profiled('agent') },
  });
  endPolitely(scope, child);
  return child.pid ?? 0;
}

/** PROFILE=DIR: a profile of each process's CPU, by `--cpu-prof`. */
export function profiled(name: string, ...more: readonly string[]): Record<string, string> {
  const folder = process.env['PROFILE'];
  const flags = [...(folder ? ['--cpu-prof', `--cpu-prof-dir=${join(folder, name)}`] : []), ...more];
  return flags.length > 0 ? { NODE_OPTIONS: flags.join(' ') } : {};
}

/** A profile is written at the end. */
export function endPolitely(scope: Scope, child: ChildProcess): void {
  scope.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    child.kill('SIGTERM');
    await once(child, 'exit');
    clearTimeout(late);
  });
}

const answers = (port: number): Promise<void> =>
  until(`port ${port} is listened on`, async () => !(await isClosed(port)), 30_000);
