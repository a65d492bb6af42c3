// Two network namespaces with a line between them, and programs that run in one of them.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export const inside = (namespace: string): readonly string[] => ['ip', 'netns', 'exec', namespace];
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

/** Why there can be none here, or nothing. */
export const whyNot = (): string | undefined =>
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : spawnSync('ip', ['-V']).status !== 0
      ? 'iproute2 is not installed'
      : undefined;

export interface Line {
  readonly left: string;
  readonly right: string;
  /** The right end's addresses, as the left one reaches them, and the other way round. */
  readonly rightHost: string;
  readonly rightHost6: string;
  readonly leftHost: string;
  readonly leftHost6: string;
  /** What spoils the line. */
  readonly by: 'netem' | 'a TUN bridge' | 'nothing';
}

/** `10.77.0.1 — 10.77.0.2`, with delay (ms) and loss (percent) in each direction. Undone at the end of the test. */
export async function layLine(
  t: Pick<TestContext, 'after'>,
  spoil?: { readonly delay: number; readonly loss: number },
): Promise<Line> {
  const [left, right] = ['left', 'right'].map(
    side => `sekisho-${side}-${process.pid}-${Math.random().toString(36).slice(2, 6)}`,
  ) as [string, string];
  for (const name of [left, right]) {
    ip('netns', 'add', name);
    t.after(() => ip('netns', 'del', name));
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }
  const line = {
    left,
    right,
    leftHost: '10.77.0.1',
    rightHost: '10.77.0.2',
    leftHost6: 'fd77::1',
    rightHost6: 'fd77::2',
  };
  if (spoil && !hasNetem(left)) {
    if (!existsSync('/dev/net/tun')) throw new Error('neither netem nor /dev/net/tun: no bad line can be laid here');
    const bridge = spawn(
      'python3',
      [join(import.meta.dirname, 'tun-bridge.py'), left, right, String(spoil.delay), String(spoil.loss)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    t.after(() => bridge.kill('SIGKILL'));
    await once(bridge.stdout, 'data');
    return { ...line, by: 'a TUN bridge' };
  }
  ip('link', 'add', 'lab0', 'netns', left, 'type', 'veth', 'peer', 'name', 'lab0', 'netns', right);
  for (const [name, own] of [
    [left, 1],
    [right, 2],
  ] as const) {
    ip('-n', name, 'addr', 'add', `10.77.0.${own}/24`, 'dev', 'lab0');
    ip('-n', name, '-6', 'addr', 'add', `fd77::${own}/64`, 'dev', 'lab0', 'nodad');
    ip('-n', name, 'link', 'set', 'lab0', 'up');
    if (spoil) netem(name, 'lab0', spoil);
  }
  return { ...line, by: spoil ? 'netem' : 'nothing' };
}

const netem = (name: string, device: string, { delay, loss }: { delay: number; loss: number }): void =>
  ip(
    'netns',
    'exec',
    name,
    'tc',
    'qdisc',
    'add',
    'dev',
    device,
    'root',
    'netem',
    'delay',
    `${delay}ms`,
    'loss',
    `${loss}%`,
  );
const hasNetem = (name: string): boolean =>
  spawnSync('ip', ['netns', 'exec', name, 'tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '0ms'])
    .status === 0 && spawnSync('ip', ['netns', 'exec', name, 'tc', 'qdisc', 'del', 'dev', 'lo', 'root']).status === 0;

/** Runs a program of the lab (a .ts file beside this one) in a namespace; its stdout is JSON lines. */
export function runInside(
  t: TestContext,
  namespace: string,
  file: string,
  argument: unknown,
): ChildProcess & { answer(): Promise<unknown> } {
  const [program = '', ...rest] = [
    ...inside(namespace),
    process.execPath,
    join(import.meta.dirname, file),
    JSON.stringify(argument),
  ];
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout?.on('data', part => {
    text += part;
  });
  return Object.assign(child, {
    async answer() {
      while (!text.includes('\n')) {
        if (child.exitCode !== null) throw new Error(`${file} ended with ${child.exitCode}`);
        await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'exit')]);
      }
      const [first = '', ...others] = text.split('\n');
      text = others.join('\n');
      return JSON.parse(first) as unknown;
    },
  });
}
