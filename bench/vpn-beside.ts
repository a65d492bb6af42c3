// The hub beside Debian's vpnserver: the same real client, in the same run, in turns. A client, both servers and a
// private net stand in network namespaces of their own; iperf3 and ping measure what a kernel behind the client sees.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, loadavg, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, serving } from '../test/fixtures/programs.ts';
import {
  addAddress,
  administer,
  cell,
  startVpnClient,
  startVpnServer,
  type VpnClient,
} from '../test/fixtures/softether-programs.ts';
import { inside, type Line, layLine } from '../test/lab/namespaces.ts';
import { inScope } from './load.ts';
import { cpuSeconds, describeMachine, memory } from './machine.ts';

export interface BesideOptions {
  readonly seconds: number;
  readonly turns: number;
  /** Idle members. */
  readonly members: number;
  /** Parts of rows' names, and of subjects'; all when there are none. */
  readonly rows: readonly string[];
  readonly subjects: readonly string[];
  /** Another checkout of ours, as a further subject. */
  readonly before: string | undefined;
}

interface Subject {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  /** The address of its TAP device, in 192.168.N.0/24. */
  readonly net: number;
  /** It collects its garbage when it is sent SIGUSR2 (memory-report.ts). */
  readonly collects?: true;
}
/** One row of the table: what was measured of each subject, a number a turn. */
type Samples = Map<string, Map<string, number[]>>;

const hubs = { nat: 'lab', tap: 'tapped' } as const;
const [user, password] = ['alice', 'secret of alice'];
const admin = 'a long password';
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

const streams = {
  '1 stream up': [],
  '1 stream down': ['-R'],
  '4 streams up': ['-P', '4'],
  '4 streams down': ['-P', '4', '-R'],
} as const;

/** Prints a table of medians, ours beside theirs. */
export async function besideSoftEther(options: BesideOptions): Promise<void> {
  await inScope(scope => measure(scope, options));
}

async function measure(scope: { after(call: () => unknown): void }, options: BesideOptions): Promise<void> {
  const line = await layLine(scope);
  const far = await privateNet(scope, line);
  await using _iperf = await serving('ip', [...far.slice(1), 'iperf3', '-s', '--forceflush'], /listening/);
  const subjects: Subject[] = [];
  for (const [name, start] of Object.entries({ vpnserver: startTheirs, Sekisho: startOurs }))
    if (isWanted(options.subjects, name)) subjects.push(await start(scope, line));
  if (options.before !== undefined)
    subjects.push(await startOurs(scope, line, { name: 'before', folder: options.before, port: 444, net: 43 }));
  const near = inside(line.right);
  await using _near = await serving('ip', [...near.slice(1), 'iperf3', '-s', '--forceflush'], /listening/);
  const samples: Samples = new Map();
  // First of all: after bytes have moved, what is idle sits in room that was made for them.
  if (isWanted(options.rows, 'idle'))
    for (const subject of subjects) await measureIdle(line, subject, options.members, samples);
  const client = await startVpnClient(scope, line.left);
  likeUs(line.left);
  // A just-in-time compiler shows what it can do after some thousands of frames; the other gets the same.
  for (const subject of subjects)
    for (const part of [measureNat, measureTap])
      await part(client, line, subject, { ...options, seconds: 2 }, new Map());
  const loads: number[] = [];
  for (let turn = 0; turn < options.turns; turn++) {
    for (const subject of subjects) {
      loads.push(loadavg()[0] ?? 0);
      for (const part of [measureNat, measureTap]) await part(client, line, subject, options, samples);
    }
  }
  const middle = median(loads).toFixed(1);
  console.log(
    `\n${describeMachine()}; ${options.turns} turns of ${options.seconds} s, load ${middle}, both at nice ${getPriority()}`,
  );
  print(samples, subjects);
}

/** 10.0.1.26 behind the servers. @returns the words before a program there */
async function privateNet(scope: { after(call: () => unknown): void }, line: Line): Promise<readonly string[]> {
  const far = `sekisho-benchfar-${process.pid}`;
  ip('netns', 'add', far);
  scope.after(() => ip('netns', 'del', far));
  ip('link', 'add', 'priv0', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'priv0', 'netns', far);
  ip('-n', line.right, 'addr', 'add', '10.0.1.1/24', 'dev', 'priv0');
  ip('-n', line.right, 'link', 'set', 'priv0', 'up');
  ip('-n', far, 'addr', 'add', '10.0.1.26/24', 'dev', 'priv0');
  for (const device of ['lo', 'priv0']) ip('-n', far, 'link', 'set', device, 'up');
  return inside(far);
}

async function startOurs(
  scope: { after(call: () => unknown): void },
  line: Line,
  { name, folder: checkout, port, net } = {
    ...{ name: 'Sekisho', folder: join(import.meta.dirname, '..'), port: 443, net: 41 },
  },
): Promise<Subject> {
  const main = join(checkout, 'src/main.ts');
  const tap = `tap_${net}`;
  const folder = mkdtempSync(join(tmpdir(), 'sekisho-bench-vpn-'));
  scope.after(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, 'data');
  writeFileSync(
    join(folder, 's.yaml'),
    `gate: { name: gate.test, listen: "tls://0.0.0.0:${port}", workers: 0 }
log: { level: warn }
vpn:
  hubs:
    ${hubs.nat}: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.200, routes: [ 10.0.1.0/24 ] } } }
    ${hubs.tap}: { bridge: ${tap} }
`,
  );
  const profile = process.env['PROFILE'] ? ['--cpu-prof', `--cpu-prof-dir=${process.env['PROFILE']}`] : [];
  const [program = '', ...there] = inside(line.right);
  const args = [
    ...there,
    process.execPath,
    ...profile,
    `--import=${join(import.meta.dirname, 'memory-report.ts')}`,
    main,
    'up',
    '-c',
    join(folder, 's.yaml'),
    '--data',
    data,
    '--json',
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.on('data', (text: Buffer) => {
    if (!text.toString().startsWith('memory ')) process.stderr.write(text);
  });
  scope.after(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGTERM'); // a profile is written at a proper end
    await gone;
  });
  await once(child.stdout, 'data');
  for (const hub of Object.values(hubs))
    execFileSync(process.execPath, [main, 'vpn', 'user', 'add', `${hub}/${user}`, '--password-stdin', '--data', data], {
      input: `${password}\n`,
      stdio: ['pipe', 'ignore', 'inherit'],
    });
  addAddress(line.right, tap, `192.168.${net}.1/24`);
  ip('-n', line.right, 'link', 'set', tap, 'up');
  return { name, port, pid: child.pid ?? 0, net, collects: true };
}

async function startTheirs(scope: { after(call: () => unknown): void }, line: Line): Promise<Subject> {
  const { pid } = await startVpnServer(scope, line.right);
  const under = inside(line.right);
  const made = await administer('localhost:5555', '', [`ServerPasswordSet "${admin}"`, 'ListenerDelete 443'], {
    under,
  });
  const lines = Object.values(hubs).flatMap(hub => [
    ...[`HubCreate ${hub} /PASSWORD:none`, `Hub ${hub}`, `UserCreate ${user} /GROUP:none /REALNAME:none /NOTE:none`],
    ...[`UserPasswordSet ${user} "/PASSWORD:${password}"`, 'ExtOptionSet DisableUdpAcceleration /VALUE:1'],
  ]);
  const set = await administer(
    'localhost:5555',
    admin,
    [
      ...lines,
      `BridgeCreate ${hubs.tap} /DEVICE:theirs /TAP:yes`,
      `Hub ${hubs.nat}`,
      'SecureNatEnable',
      'SecureNatStatusGet',
    ],
    { under },
  );
  if ([...made.codes, ...set.codes].some(code => code !== 0)) throw new Error(made.text + set.text);
  console.log(
    `\nvpnserver's SecureNAT: kernel mode ${cell(set.text, 'Operating in Kernel Mode') ?? 'no'}, raw IP mode ${cell(set.text, 'Operating in Raw IP Mode') ?? 'no'}`,
  );
  // It makes the device in its own time.
  while ((await run('ip', ['-n', line.right, 'link', 'show', 'tap_theirs'])).code !== 0)
    await new Promise(resolve => setTimeout(resolve, 200));
  addAddress(line.right, 'tap_theirs', '192.168.42.1/24');
  ip('-n', line.right, 'link', 'set', 'tap_theirs', 'up');
  likeUs(line.right);
  return { name: 'vpnserver', port: 5555, pid, net: 42 };
}

/** SoftEther's programs give themselves nice -20; beside us they get what we have, every thread. */
function likeUs(namespace: string): void {
  const pids = execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).trim().split('\n');
  for (const pid of pids)
    try {
      for (const task of readdirSync(`/proc/${pid}/task`)) setPriority(Number(task), getPriority());
    } catch {
      // it has ended meanwhile
    }
}

async function connectTo(client: VpnClient, subject: Subject, hub: string): Promise<void> {
  await client.connect(subject.name, {
    ...{ server: `10.77.0.2:${subject.port}/tcp`, hub, user, password },
  });
  for (let tries = 0; !/Session Established/.test(await client.status(subject.name)); tries++) {
    if (tries > 200) throw new Error(`${subject.name} did not take the client:\n${client.log()}`);
    await new Promise(resolve => setTimeout(resolve, 200));
  }
}

async function measureNat(
  client: VpnClient,
  line: Line,
  subject: Subject,
  options: BesideOptions,
  samples: Samples,
): Promise<void> {
  if (!isWanted(options.rows, 'SecureNAT')) return;
  await connectTo(client, subject, hubs.nat);
  ip('-n', line.left, 'addr', 'flush', 'dev', client.device);
  addAddress(line.left, client.device, '192.168.30.50/24');
  ip('-n', line.left, 'route', 'replace', '10.0.1.0/24', 'via', '192.168.30.1');
  await ping(line, subject, '192.168.30.1', 'SecureNAT ping', samples);
  for (const [name, args] of Object.entries(streams))
    await iperf(line, subject, '10.0.1.26', options, args, `SecureNAT ${name}`, samples);
  await client.disconnect(subject.name);
}

async function measureTap(
  client: VpnClient,
  line: Line,
  subject: Subject,
  options: BesideOptions,
  samples: Samples,
): Promise<void> {
  if (!isWanted(options.rows, 'TAP')) return;
  await connectTo(client, subject, hubs.tap);
  ip('-n', line.left, 'addr', 'flush', 'dev', client.device);
  addAddress(line.left, client.device, `192.168.${subject.net}.50/24`);
  const host = `192.168.${subject.net}.1`;
  await ping(line, subject, host, 'TAP ping', samples);
  for (const name of ['1 stream up', '1 stream down'] as const)
    await iperf(line, subject, host, options, streams[name], `TAP ${name}`, samples);
  await client.disconnect(subject.name);
}

async function ping(line: Line, subject: Subject, host: string, row: string, samples: Samples): Promise<void> {
  const { stdout } = await run('ip', [...inside(line.left).slice(1), 'ping', '-c', '200', '-i', '0.01', host]);
  const times = [...stdout.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms));
  if (times.length < 100) throw new Error(`${subject.name} does not answer ${host}:\n${stdout}`);
  add(samples, `${row} p50, ms`, subject, median(times));
}

async function iperf(
  line: Line,
  subject: Subject,
  host: string,
  { seconds, rows }: BesideOptions,
  args: readonly string[],
  row: string,
  samples: Samples,
): Promise<void> {
  if (!isWanted(rows, row)) return;
  const before = cpuSeconds(subject.pid);
  const { stdout } = await run('ip', [
    ...inside(line.left).slice(1),
    ...['iperf3', '-J', '-c', host, '-t', String(seconds), ...args],
  ]);
  const spent = cpuSeconds(subject.pid) - before;
  const parsed = JSON.parse(stdout) as { end: { sum_received: { bytes: number; bits_per_second: number } } };
  const { bytes, bits_per_second: bits } = parsed.end.sum_received;
  add(samples, `${row}, Mbit/s`, subject, bits / 1e6);
  add(samples, `${row}, CPU s/GB`, subject, spent / (bytes / 1e9));
}

/** Members of our own kind, so that only the servers differ; each with one connection and nothing to say. */
async function measureIdle(line: Line, subject: Subject, members: number, samples: Samples): Promise<void> {
  const hold = join(import.meta.dirname, 'vpn-idle.ts');
  const start = async (count: number) => {
    const [program = '', ...there] = inside(line.left);
    const child = spawn(
      program,
      [...there, process.execPath, hold, '10.77.0.2', String(subject.port), hubs.nat, user, String(count)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    child.stdin.write(`${password}\n`);
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('the idle members were not let in')));
    await Promise.race([once(child.stdout, 'data'), ended]);
    ended.catch(() => {});
    return async () => {
      const gone = once(child, 'exit');
      child.stdin.end();
      await gone;
    };
  };
  const settle = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
  const memoryNow = async (): Promise<number> => {
    await settle(5000);
    if (subject.collects) process.kill(subject.pid, 'SIGUSR2');
    await settle(2000);
    return memory(subject.pid);
  };
  // What the second lot costs: with the first one a server has made what it makes once.
  const leaveFirst = await start(members);
  const before = await memoryNow();
  const leaveSecond = await start(members);
  add(samples, `${members} idle members, kB each`, subject, ((await memoryNow()) - before) / members / 1000);
  await leaveSecond();
  await leaveFirst();
}

const isWanted = (parts: readonly string[], name: string): boolean =>
  parts.length === 0 || parts.some(part => name.includes(part) || part.includes(name));

function add(samples: Samples, row: string, subject: Subject, value: number): void {
  const bySubject = samples.get(row) ?? new Map<string, number[]>();
  samples.set(row, bySubject);
  bySubject.set(subject.name, [...(bySubject.get(subject.name) ?? []), value]);
}

/** The ratio is the median of the turns' own ratios. */
function print(samples: Samples, subjects: readonly Subject[]): void {
  const ours = subjects.find(({ name }) => name === 'Sekisho');
  const others = subjects.filter(subject => subject !== ours);
  const shown = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const heads = others.flatMap(({ name }) => [name, 'ratio']);
  console.log(`| | ${['Sekisho', ...heads].join(' | ')} |\n|---|---|${heads.map(() => '---|').join('')}`);
  for (const [row, values] of samples) {
    const mine = values.get('Sekisho') ?? [];
    const cells = others.flatMap(({ name }) => {
      const other = values.get(name) ?? [];
      return [shown(median(other)), median(mine.map((value, turn) => value / (other[turn] ?? Number.NaN))).toFixed(2)];
    });
    console.log(`| ${row} | ${[shown(median(mine)), ...cells].join(' | ')} |`);
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
