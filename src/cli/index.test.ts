// Promises of the command line's frame: every command explains itself, mistakes are told in one sentence.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { Command } from 'commander';
import { type VerbName, verbs } from '../api/contract/routes.ts';
import type { Verb } from '../api/contract/verb.ts';
import type { Io } from './command.ts';
import { plant, run, seats } from './index.ts';

const nowhere = mkdtempSync(join(tmpdir(), 'sekisho-cli-'));
process.on('exit', () => rmSync(nowhere, { recursive: true, force: true }));

function fakeIo(env: Record<string, string> = {}) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const io: Io = { stdin, stdout, stderr, env: { HOME: nowhere, ...env }, signal: new AbortController().signal };
  return { io, out: () => textOf(stdout), err: () => textOf(stderr) };
}
/** What was written so far; Node 26 gives one written piece a read. */
function textOf(stream: PassThrough): string {
  let all = '';
  for (let part = stream.read(); part !== null; part = stream.read()) all += part;
  return all;
}
async function sekisho(...argv: string[]) {
  const { io, out, err } = fakeIo();
  const status = await run(argv, io);
  return { status, out: out(), err: err() };
}
const leaves = (command: Command): Command[] =>
  command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
const pathOf = (command: Command): string =>
  command.parent?.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

test('every command has a summary, and its help shows examples', async () => {
  const { program } = await plant(fakeIo().io, () => true);
  for (const leaf of leaves(program)) assert.notEqual(leaf.summary(), '', pathOf(leaf));
  for (const { name } of seats) {
    const { status, out } = await sekisho(name, '--help');
    assert.equal(status, 0, name);
    assert.match(out, /\nExamples:\n {2}\S/, name);
    assert.match(out, /--json/, name);
    assert.match(out, /--data <dir>/, name);
  }
});

test('the help of the whole names every command', async () => {
  const { out } = await sekisho();
  for (const { name, summary } of seats) assert.match(out, new RegExp(`^  ${name} +${summary.slice(0, 10)}`, 'm'));
});

test('every verb of the API that names a command has that command', async () => {
  const { program } = await plant(fakeIo().io, () => true);
  const paths = new Set(leaves(program).map(pathOf));
  for (const [name, { cli }] of Object.entries(verbs) as [VerbName, Verb][]) {
    if (cli !== undefined) assert.ok(paths.has(cli), `${name} says "${cli}"`);
  }
});

test('mistakes are one sentence on stderr with the status of their kind, and nothing on stdout', async () => {
  const rows: [string[], number, RegExp][] = [
    [['statsu'], 2, /^sekisho: unknown command "statsu"; did you mean status\?\n$/],
    [['cert', 'isue'], 2, /^sekisho: unknown command "isue"; did you mean issue\?\n$/],
    [['xyzzy'], 2, /^sekisho: unknown command "xyzzy"; see sekisho --help\n$/],
    [['session', 'cut'], 2, /^sekisho: missing required argument "id"; see sekisho session --help\n$/],
    [['status', '--bogus'], 2, /^sekisho: unknown option "--bogus"; see sekisho status --help\n$/],
    [['status', '--data'], 2, /^sekisho: option "--data <dir>" argument missing; see sekisho status --help\n$/],
    [['status', '--data', nowhere], 6, /^sekisho: no gate runs in .*; start one with "sekisho up"/],
    [['status', '--data', 'x', '--gate', 'https://y'], 2, /^sekisho: --data and --gate both/],
    [['status', '--gate', 'http://y'], 2, /^sekisho: "http:\/\/y" is not a gate's address; write https:/],
    [['status', '--gate', 'https://y'], 3, /^sekisho: nobody is signed in to https:\/\/y; try: sekisho login/],
    [['logout'], 4, /^sekisho: nobody is signed in\n$/],
    [['login'], 2, /^sekisho: say which gate/],
    [['cert', 'issue', 'x'], 2, /^sekisho: say where the certificate goes/],
    [['cert', 'issue', 'x', '--out', 'a', '--pem', 'b'], 2, /^sekisho: --out and --pem/],
    [['restore', 'x'], 2, /^sekisho: say where to/],
    [['completion', 'tcsh'], 2, /^sekisho: .*bash, zsh, fish/],
  ];
  for (const [argv, status, text] of rows) {
    const told = await sekisho(...argv);
    assert.match(told.err, text, argv.join(' '));
    assert.equal(told.status, status, argv.join(' '));
    assert.equal(told.out, '', argv.join(' '));
  }
});

test('a group of commands without a verb shows its help and is a mistake', async () => {
  const { status, err } = await sekisho('user');
  assert.equal(status, 2);
  assert.match(err, /^Usage: sekisho user/);
});

test('a bug is one line, and where it is only when asked for', async () => {
  const broken = { stdin: new PassThrough(), signal: new AbortController().signal };
  for (const [env, lines] of [
    [{}, 1],
    [{ SEKISHO_DEBUG: '1' }, 2],
  ] as const) {
    const stderr = new PassThrough();
    const stdout = new PassThrough();
    stdout.write = () => {
      throw new TypeError('broken inside');
    };
    assert.equal(await run([], { ...broken, stdout, stderr, env }), 1);
    const text = textOf(stderr);
    assert.match(text, /^sekisho: internal error: broken inside\n/);
    assert.equal(text.trimEnd().split('\n').length > 1, lines > 1);
  }
});

test('only the file of the command that was asked for is loaded', async () => {
  const loaded: string[] = [];
  const { program } = await plant(fakeIo().io, ({ name }) => {
    if (name === 'whoami') loaded.push(name);
    return name === 'whoami';
  });
  assert.deepEqual(loaded, ['whoami']);
  assert.equal(program.commands.find(command => command.name() === 'cert')?.commands.length, 0);
});
