// bench/load.c from Node: built, run as the backend, run as one measurement. And what a run cleans up behind itself.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Scope } from '../test/fixtures/gate-process.ts';

const root = join(import.meta.dirname, '..');
const program = join(root, 'build/load');

/** Ends what was handed in when the work is over, the newest first. */
export async function inScope(work: (scope: Scope) => Promise<void>): Promise<void> {
  const undo: (() => unknown)[] = [];
  try {
    await work({
      after: call => void undo.unshift(call),
      diagnostic: text => void process.stderr.write(`${text}\n`),
    });
  } finally {
    for (const call of undo) {
      try {
        await call();
      } catch {
        // gone with what it was in
      }
    }
  }
}

export function buildLoad(): void {
  mkdirSync(join(root, 'build'), { recursive: true });
  const args = ['-O2', '-o', program, join(root, 'bench/load.c'), '-lssl', '-lcrypto'];
  const { status, error } = spawnSync('gcc', args, { stdio: 'inherit' });
  if (error || status !== 0) {
    throw new Error('bench/load.c could not be built; it needs gcc and libssl-dev (apt-get install gcc libssl-dev)');
  }
}

export type Mode = 'D' | 'U' | 'E' | 'C' | 'R' | 'H';

export interface LoadRun {
  readonly port: number;
  readonly kind: 'plain' | 'tls12' | 'tls13';
  readonly mode: Mode;
  readonly conns: number;
  readonly seconds: number;
  /** Ends earlier, after that many. */
  readonly operations?: number;
}
/** p50 and p99 in µs. */
export type LoadResult = Readonly<
  Record<'seconds' | 'bytes' | 'operations' | 'resumed' | 'errors' | 'p50' | 'p99', number>
>;

/** @returns what was measured, and what `cpu` grew by meanwhile */
export async function runLoad(run: LoadRun, cpu: () => number): Promise<LoadResult & { readonly spent: number }> {
  const { port, kind, mode, conns, seconds, operations } = run;
  const args = ['run', port, kind, mode, conns, seconds, ...(operations === undefined ? [] : [operations])].map(String);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const first = (await lines.next()).value as string | undefined;
  const before = cpu();
  // Where no connection could be opened there is nothing but the result.
  const text = first === 'ready' ? ((await lines.next()).value as string | undefined) : first;
  const spent = cpu() - before;
  if (text === undefined) throw new Error(`the load ended without a result: ${args.join(' ')}`);
  return { ...(JSON.parse(text) as LoadResult), spent };
}

export async function startBackend(
  ...certificate: readonly string[]
): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = spawn(program, ['backend', '0', ...certificate], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, port: Number(line.split(' ')[1]) };
}

/** Opens connections that stay, one echo each. */
export async function holdLoad(port: number, kind: LoadRun['kind'], count: number) {
  const child = spawn(program, ['hold', String(port), kind, String(count)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { errors } = JSON.parse(line) as { errors: number };
  return {
    errors,
    async release() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return (sorted.length % 2 ? sorted[middle] : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2) ?? 0;
}
