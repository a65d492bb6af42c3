// npm run bench: Sekisho beside nginx, HAProxy and stunnel in one run, in turn, per CPU-second and in wall time.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../test/fixtures/ports.ts';
import { buildLoad, holdLoad, type Mode, median, runLoad, startBackend as startLoadBackend } from './load.ts';
import { cpuSeconds, describeMachine, memory } from './machine.ts';
import { type Peer, peers, type Setup, sekisho, type Way, ways } from './peers.ts';
import { type Cell, renderTable } from './table.ts';

const root = join(import.meta.dirname, '..');

/** One measurement: what `load run` is asked for, and what is counted as work. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly mode: Mode;
  readonly conns: number;
  readonly kind?: 'tls12';
  /** Only where the client speaks TLS to the program under test. */
  readonly needsTls?: true;
  readonly quick?: true;
}

const rows: readonly Row[] = [
  { name: 'bulk down, 4 conns', unit: 'MB', mode: 'D', conns: 4, quick: true },
  { name: 'bulk up, 4 conns', unit: 'MB', mode: 'U', conns: 4, quick: true },
  { name: 'echo 64 B, 1 conn', unit: 'trips', mode: 'E', conns: 1, quick: true },
  { name: 'echo 64 B, 10 conns', unit: 'trips', mode: 'E', conns: 10 },
  { name: 'echo 64 B, 64 conns', unit: 'trips', mode: 'E', conns: 64, quick: true },
  { name: 'echo 64 B, 100 conns', unit: 'trips', mode: 'E', conns: 100 },
  { name: 'echo 64 B, 1,000 conns', unit: 'trips', mode: 'E', conns: 1000 },
  { name: 'echo 64 B, 5,000 conns', unit: 'trips', mode: 'E', conns: 5000 },
  { name: 'new conns, 16 at once', unit: 'conns', mode: 'C', conns: 16, quick: true },
  { name: 'new conns, resumed', unit: 'conns', mode: 'R', conns: 16, needsTls: true, quick: true },
  { name: 'bulk down, TLS 1.2', unit: 'MB', mode: 'D', conns: 4, kind: 'tls12', needsTls: true },
  { name: 'new conns, TLS 1.2', unit: 'conns', mode: 'C', conns: 16, kind: 'tls12', needsTls: true },
  { name: 'memory, 1,000 idle', unit: 'kB per conn', mode: 'H', conns: 1000, quick: true },
];

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    pairs: { type: 'string' },
    seconds: { type: 'string' },
    way: { type: 'string', multiple: true },
    rows: { type: 'string', multiple: true }, // parts of row names
    peers: { type: 'string', multiple: true },
    subject: { type: 'string', multiple: true }, // name=command with {way} {listen} {backend} {cert} {key} {ca} {dir}
    workers: { type: 'string', multiple: true }, // worker processes of ours; default 0 and 1
    tree: { type: 'string', multiple: true }, // checkouts of ours; default this one
    write: { type: 'string' },
    json: { type: 'string' },
  },
});

interface Subject {
  readonly name: string;
  readonly version: string;
  readonly prepare: (setup: Setup) => readonly string[];
}
interface Running {
  readonly name: string;
  readonly child: ChildProcess;
  readonly port: number;
  /** What it has printed so far. */
  readonly output: () => string;
  /** Starts another of the same, cold. */
  readonly again: () => Promise<Running>;
}

const pairs = Number(options.pairs ?? (options.quick ? 2 : 7));
const seconds = Number(options.seconds ?? (options.quick ? 1 : 2));
const dir = mkdtempSync(join(tmpdir(), 'sekisho-bench-'));
const children: ChildProcess[] = [];

async function main(): Promise<void> {
  buildLoad();
  const certificate = makeCertificate();
  const { subjects, notes } = listSubjects();
  const wanted = (options.way ?? (options.quick ? ['terminate'] : ways)) as Way[];
  const cells: Cell[] = [];
  for (const way of wanted) cells.push(...(await measureWay(way, subjects, certificate)));
  const table = renderTable(cells, [
    `${new Date().toISOString().slice(0, 10)}, ${describeMachine()}, Node ${process.versions.node} with OpenSSL ${process.versions.openssl}.`,
    subjects.map(subject => `${subject.name} ${subject.version}`).join(', '),
    `${pairs} turns of ${seconds} s each, in turn; TLS 1.3 unless said, AES-128-GCM, P-256 certificate, X25519.`,
    ...notes,
  ]);
  process.stdout.write(table);
  if (options.write ?? !options.quick) {
    const path = options.write ?? join(root, 'bench/latest.md');
    writeFileSync(path, table);
    process.stderr.write(`written to ${path}\n`);
  }
  if (options.json) writeFileSync(options.json, JSON.stringify(cells, undefined, 1));
}

/** Peers that are here, then ours; what is missing is said in the notes. */
function listSubjects(): { subjects: Subject[]; notes: string[] } {
  const notes: string[] = [];
  const subjects: Subject[] = [];
  const ours = (options.tree ?? [root]).flatMap((tree, index) =>
    (options.workers ?? ['0', '1']).map(workers =>
      sekisho(
        `Sekisho${index > 0 ? ` ${index}` : ''}, ${workers === '0' ? 'one process' : `${workers} worker`}`,
        Number(workers),
        tree,
      ),
    ),
  );
  for (const peer of [...peers, ...ours] satisfies Peer[]) {
    if (options.peers && !options.peers.some(name => peer.name.startsWith(name))) continue;
    const version = peer.version();
    if (version === undefined) notes.push(`${peer.name} is not installed here: not measured.`);
    else subjects.push({ name: peer.name, version, prepare: setup => peer.prepare(setup) });
  }
  for (const text of options.subject ?? []) {
    const [, name = '', command = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
    subjects.push({ name, version: '', prepare: setup => fill(command, setup) });
  }
  return { subjects, notes };
}

const fill = (command: string, setup: Setup): string[] =>
  command.split(/\s+/).map(word => word.replace(/\{(\w+)\}/g, (_, key) => String(setup[key as keyof Setup])));

async function measureWay(way: Way, subjects: Subject[], certificate: { cert: string; key: string }): Promise<Cell[]> {
  const cells: Cell[] = [];
  const backend = await startBackend(way, certificate);
  const running: Running[] = [];
  for (const subject of subjects) {
    const one = await startSubject(subject, { way, backend: backend.port, ...certificate });
    if (one) running.push(one);
    else process.stderr.write(`${subject.name} does not do ${way}\n`);
  }
  for (const one of running) await warmUp(one, way);
  for (const row of rows.filter(row => isWanted(row, way))) {
    const results = new Map<string, Sample[]>(running.map(one => [one.name, []]));
    for (let pair = 0; pair < pairs; pair++) {
      for (const one of running) results.get(one.name)?.push(await measure(row, way, one));
    }
    const base = results.get(running[0]!.name)!;
    for (const one of running) {
      const samples = results.get(one.name)!;
      const cell = { way, row: row.name, unit: row.unit, subject: one.name, ...summarise(samples, base) };
      process.stderr.write(`${way} · ${row.name} · ${one.name}: ${brief(cell)}\n`);
      cells.push(cell);
    }
  }
  for (const one of [...running, backend]) await stop(one.child);
  return cells;
}

/**
 * A just-in-time compiler needs some thousand connections before it shows what it can do; the others get the same. By
 * number, not by time: on a busy machine a second holds few.
 */
async function warmUp(one: Running, way: Way): Promise<void> {
  const kind = way === 'terminate' ? 'tls13' : 'plain';
  for (const [mode, conns, time, operations] of options.quick ? quickWarmUp : fullWarmUp)
    await runLoad({ port: one.port, kind, mode, conns, seconds: time, operations }, () => 0);
}

const never = 1e9;
type WarmUp = readonly [mode: Row['mode'], conns: number, seconds: number, operations: number];
const quickWarmUp: readonly WarmUp[] = [
  ['C', 16, 1.5, 1500],
  ['E', 16, 0.5, 10_000],
  ['D', 4, 0.3, never],
];
const fullWarmUp: readonly WarmUp[] = [
  ['C', 16, 60, 6000],
  ['E', 16, 10, 30_000],
  ['D', 4, 1, never],
  ['U', 4, 1, never],
];

function isWanted(row: Row, way: Way): boolean {
  if (row.needsTls && way !== 'terminate') return false;
  if (options.rows) return options.rows.some(part => row.name.includes(part));
  return !options.quick || row.quick === true;
}

/** `rate` is work per CPU-second (memory: kB per conn), `wall` work per second, `tail` the 99th percentile in µs. */
interface Sample {
  readonly rate: number;
  readonly wall: number;
  readonly tail: number;
  readonly errors: number;
}

async function measure(row: Row, way: Way, one: Running): Promise<Sample> {
  if (row.mode === 'H') return measureIdle(row, way, one);
  const kind = way === 'terminate' ? (row.kind ?? 'tls13') : 'plain';
  const { port, child } = one;
  const cpu = (): number => cpuSeconds(child.pid!);
  const result = await runLoad({ port, kind, mode: row.mode, conns: row.conns, seconds }, cpu);
  if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${one.name} has ended: ${one.output()}`);
  const work = row.unit === 'MB' ? result.bytes / 1e6 : row.mode === 'R' ? result.resumed : result.operations;
  return { rate: work / result.spent, wall: work / result.seconds, tail: result.p99, errors: result.errors };
}

/** In a fresh process: what earlier rows left in its heap would be used again and hide the cost. */
async function measureIdle(row: Row, way: Way, warmed: Running): Promise<Sample> {
  const one = await warmed.again();
  const kind = way === 'terminate' ? 'tls13' : 'plain';
  const hold = (count: number) => holdLoad(one.port, kind, count);
  const settle = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 1000));
  const warm = await hold(20);
  await warm.release();
  await settle();
  const before = memory(one.child.pid!);
  const full = await hold(row.conns);
  await settle();
  const each = (memory(one.child.pid!) - before) / 1024 / row.conns;
  await full.release();
  await stop(one.child);
  return { rate: each, wall: each, tail: 0, errors: full.errors };
}

function summarise(samples: Sample[], base: Sample[]): Omit<Cell, 'way' | 'row' | 'unit' | 'subject'> {
  return {
    rate: median(samples.map(sample => sample.rate)),
    wall: median(samples.map(sample => sample.wall)),
    tail: median(samples.map(sample => sample.tail)),
    ratio: median(samples.map((sample, index) => sample.rate / base[index]!.rate)),
    errors: samples.reduce((sum, sample) => sum + sample.errors, 0),
  };
}

const brief = (cell: Cell): string =>
  `${cell.rate.toFixed(1)} ${cell.unit}/cpu-s, ${cell.wall.toFixed(1)}/s, ratio ${cell.ratio.toFixed(2)}, errors ${cell.errors}`;

function makeCertificate(): { cert: string; key: string; ca: string } {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const text = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj /CN=localhost -addext subjectAltName=DNS:localhost`;
  const { status } = spawnSync('openssl', [...text.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
  if (status !== 0) throw new Error('the certificate could not be made; it needs the program openssl');
  return { cert, key, ca: cert };
}

async function startBackend(way: Way, { cert, key }: { cert: string; key: string }): Promise<Running> {
  const { child, port } = await startLoadBackend(...(way === 'originate' ? [cert, key] : []));
  children.push(child);
  return {
    name: 'backend',
    child,
    port,
    output: () => '',
    again: () => startBackend(way, { cert, key }),
  };
}

async function startSubject(
  subject: Subject,
  known: Omit<Setup, 'listen' | 'dir' | 'ca'> & { ca?: string },
): Promise<Running | undefined> {
  const listen = await freePort();
  const own = join(dir, `${subject.name.replace(/\W+/g, '-')}-${known.way}-${listen}`);
  mkdirSync(own, { recursive: true });
  const [program, ...args] = subject.prepare({ ca: known.cert, ...known, listen, dir: own });
  if (program === undefined) return undefined;
  const out = openSync(join(own, 'output'), 'w');
  const child = spawn(program, args, { cwd: own, stdio: ['ignore', out, out] });
  children.push(child);
  for (let tries = 0; !(await answers(listen)); tries++) {
    if (tries > 200 || child.exitCode !== null) {
      process.stderr.write(readFileSync(join(own, 'output'), 'utf8'));
      throw new Error(`${subject.name} did not open its port: ${program} ${args.join(' ')}`);
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  const output = (): string => readFileSync(join(own, 'output'), 'utf8');
  return {
    name: subject.name,
    child,
    port: listen,
    output,
    again: () => startSubject(subject, known) as Promise<Running>,
  };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

try {
  await main();
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
