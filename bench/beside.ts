// Ways to one service beside each other, in alternating turns: bulk, round trips, new connections; in wall time and per
// CPU-second of all processes of the way. The first way is what the others are compared with.
import { loadavg } from 'node:os';
import { type LoadRun, median, runLoad } from './load.ts';
import { cpuSeconds, describeMachine } from './machine.ts';

export interface Way {
  readonly name: string;
  readonly port: number;
  /** Whose CPU time counts, their children included. */
  readonly pids: readonly number[];
}
export interface Turns {
  readonly seconds: number;
  readonly turns: number;
  /** Parts of rows' names; all when there are none. */
  readonly rows: readonly string[];
}
/** parseArgs options of every bench of this kind. */
export const turnOptions = {
  seconds: { type: 'string', default: '2' },
  turns: { type: 'string', default: '5' },
  rows: { type: 'string', multiple: true, default: [] as string[] },
} as const;
export const turnsOf = (values: { seconds: string; turns: string; rows: string[] }): Turns => ({
  seconds: Number(values.seconds),
  turns: Number(values.turns),
  rows: values.rows,
});

interface Row extends Pick<LoadRun, 'mode' | 'conns'> {
  readonly name: string;
  readonly unit: string;
}
const rows: readonly Row[] = [
  { name: 'bulk down, 1 stream', unit: 'MB', mode: 'D', conns: 1 },
  { name: 'bulk down, 64 streams', unit: 'MB', mode: 'D', conns: 64 },
  { name: 'bulk up, 1 stream', unit: 'MB', mode: 'U', conns: 1 },
  { name: 'bulk up, 64 streams', unit: 'MB', mode: 'U', conns: 64 },
  { name: 'echo 64 B, 1 stream', unit: 'trips', mode: 'E', conns: 1 },
  { name: 'echo 64 B, 64 streams', unit: 'trips', mode: 'E', conns: 64 },
  { name: 'new connections, 16 at once', unit: 'conns', mode: 'C', conns: 16 },
];

interface Sample {
  readonly wall: number;
  readonly perCpu: number;
  readonly p50: number;
  readonly errors: number;
}

/** Writes a table. */
export async function beside(ways: readonly Way[], { seconds, turns, rows: wanted }: Turns): Promise<void> {
  print(
    `${new Date().toISOString().slice(0, 10)}, ${describeMachine()}, Node ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}; ${turns} turns of ${seconds} s`,
  );
  print('');
  print('| | way | a second | per CPU-second | p50 | ratio: a second | per CPU-second | p50 |');
  print('|---|---|---|---|---|---|---|---|');
  for (const way of ways) await warmUp(way);
  for (const row of rows) {
    if (wanted.length > 0 && !wanted.some(part => row.name.includes(part))) continue;
    const samples = ways.map(() => [] as Sample[]);
    for (let turn = 0; turn < turns; turn++) {
      const order = [...ways.keys()];
      for (const at of turn % 2 ? order.reverse() : order) samples[at]?.push(await measure(row, ways[at]!, seconds));
    }
    for (const [at, way] of ways.entries()) print(line(row, way.name, samples[at] ?? [], samples[0] ?? []));
  }
  print('');
}

/** By number, not by time: on a busy machine a second holds few. */
async function warmUp({ port, pids }: Way): Promise<void> {
  for (const [mode, conns, seconds, operations] of [
    ['C', 16, 10, 3000],
    ['E', 16, 5, 20_000],
    ['D', 4, 1, undefined],
    ['U', 4, 1, undefined],
  ] as const) {
    await runLoad(
      { port, kind: 'plain', mode, conns, seconds, ...(operations === undefined ? {} : { operations }) },
      () => 0,
    );
  }
  await quiet(cpuOf(pids));
}

async function measure({ mode, conns, unit }: Row, { port, pids }: Way, seconds: number): Promise<Sample> {
  const cpu = cpuOf(pids);
  const result = await runLoad({ port, kind: 'plain', mode, conns, seconds }, cpu);
  const work = unit === 'MB' ? result.bytes / 1e6 : result.operations;
  const { p50, errors } = result;
  await quiet(cpu);
  return { wall: work / result.seconds, perCpu: work / Math.max(0.01, result.spent), p50, errors };
}

const cpuOf = (pids: readonly number[]) => (): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);

/** What was on its way when the load ended is dealt with, and not in the next one's time. Ten seconds at most. */
async function quiet(cpu: () => number): Promise<void> {
  for (let waited = 0, before = cpu(); waited < 10_000; waited += 200) {
    await new Promise(resolve => setTimeout(resolve, 200));
    const now = cpu();
    if (now - before < 0.02) return;
    before = now;
  }
}

function line({ name, unit, mode }: Row, way: string, samples: readonly Sample[], base: readonly Sample[]): string {
  const of = (key: keyof Sample): number => median(samples.map(sample => sample[key]));
  const ratio = (key: keyof Sample): string =>
    median(samples.map((sample, turn) => sample[key] / (base[turn]?.[key] || 1))).toFixed(2);
  const errors = samples.reduce((sum, sample) => sum + sample.errors, 0);
  const trips = mode === 'E';
  const cells = [
    `${name}, ${unit}`,
    errors > 0 ? `${way} (${errors} errors)` : way,
    ...[of('wall').toFixed(0), of('perCpu').toFixed(0), trips ? `${of('p50').toFixed(0)} µs` : ''],
    ...[ratio('wall'), ratio('perCpu'), trips ? ratio('p50') : ''],
  ];
  return `| ${cells.join(' | ')} |`;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);
