// Promises of the executable itself: its exit status, its pipes, its signals, its terminal.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { SessionView } from '../../src/access/index.ts';
import { openHouse } from './api-house.ts';
import { spawnSekisho } from './cli-run.ts';

const launcher = join(import.meta.dirname, '..', '..', 'src', 'main.ts');

async function endOf(child: ChildProcess): Promise<{ status: number | null; out: string; err: string }> {
  const read = async (stream: ChildProcess['stdout']): Promise<string> =>
    stream?.destroyed ? '' : Buffer.concat(await Array.fromAsync((stream ?? []) as AsyncIterable<Buffer>)).toString();
  const [out, err] = await Promise.all([read(child.stdout), read(child.stderr)]);
  if (child.exitCode === null) await once(child, 'exit');
  return { status: child.exitCode, out, err };
}

test('the executable answers on stdout, refuses on stderr, and ends with the status of the fault', async t => {
  const house = await openHouse(t);
  const good = await endOf(spawnSekisho(['whoami', '--json'], { SEKISHO_DATA: house.dir }));
  assert.deepEqual([good.status, JSON.parse(good.out).roles, good.err], [0, ['admin'], '']);
  const bad = await endOf(spawnSekisho(['session', 'show', 'none', '--data', house.dir]));
  assert.deepEqual([bad.status, bad.out], [4, '']);
  assert.equal(bad.err, 'sekisho: no live session none; it may have ended\n');
});

test('a follower prints rows as they come, and ends quietly when nobody reads it any more', async t => {
  const house = await openHouse(t);
  const child = spawnSekisho(['audit', 'tail', '--follow', '--json', '--data', house.dir]);
  const lines = createInterface({ input: child.stdout ?? process.stdin })[Symbol.asyncIterator]();
  await house.local('/v1/users', { body: { name: 'alice' } });
  const seen: string[] = [];
  while (!seen.includes('user.added')) seen.push(JSON.parse(String((await lines.next()).value)).event);
  child.stdout?.destroy();
  const err = endOf(child);
  await house.local('/v1/users', { body: { name: 'bob' } });
  await house.local('/v1/users', { body: { name: 'carol' } });
  assert.deepEqual([(await err).status, (await err).err], [0, '']);
});

test('^C ends a follower at once, quietly, and the gate knows that it has gone', async t => {
  const house = await openHouse(t);
  const opened = new Promise<void>(resolve =>
    house.sessions.on('opened', view => view.action === 'audit.tail' && resolve()),
  );
  const closed = new Promise<void>(resolve =>
    house.sessions.on('closed', view => view.action === 'audit.tail' && resolve()),
  );
  const child = spawnSekisho(['audit', 'tail', '--follow', '--data', house.dir]);
  const ended = endOf(child);
  await opened;
  child.kill('SIGINT');
  assert.deepEqual([(await ended).status, (await ended).err], [130, '']);
  await closed;
});

test('a gate that dies in the middle of an answer is said so, and a file that is not whole is not kept', async t => {
  const house = await openHouse(t);
  const ending = Promise.withResolvers<void>();
  house.house.backup = async () =>
    (async function* () {
      yield Buffer.from('the beginning');
      await ending.promise;
      throw new Error('gone');
    })();
  const file = join(house.dir, 'gate.backup');
  await writeFile(join(house.dir, 'pass'), 'a long passphrase');
  const child = spawnSekisho(['backup', file, '--passphrase-file', join(house.dir, 'pass'), '--data', house.dir]);
  const ended = endOf(child);
  ending.resolve();
  const { status, err } = await ended;
  assert.equal(status, 6);
  assert.match(err, /^sekisho: the gate in .* closed the connection/);
  assert.equal(existsSync(file), false);
});

test('a follower says so when the gate goes away in the middle of a line', async t => {
  const house = await openHouse(t);
  const child = spawnSekisho(['audit', 'tail', '--follow', '--data', house.dir]);
  const ended = endOf(child);
  const [view] = await new Promise<[SessionView]>(resolve => house.sessions.on('opened', one => resolve([one])));
  assert.equal(view.action, 'audit.tail');
  await house.api[Symbol.asyncDispose](); // at once: conns are destroyed, answers cut off
  const { status, err } = await ended;
  assert.equal(status, 6);
  assert.match(err, /closed the connection/);
});

test('on a real terminal a password is asked for, not echoed, and the terminal is left as it was', async t => {
  const house = await openHouse(t);
  await house.directory.add({ name: 'alice' });
  // util-linux script gives it a pseudo-terminal; its own stdin is what is typed.
  const line = `'${process.execPath}' '${launcher}' user passwd alice --data '${house.dir}'; echo "status $?"; stty -a`;
  const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  const answers: [RegExp, string][] = [
    [/New password for alice: $/, 'correct horse\r'],
    [/New password for alice again: $/, 'correct horse\r'],
  ];
  child.stdout.on('data', chunk => {
    text += String(chunk);
    if (answers[0]?.[0].test(text)) child.stdin.write(answers.shift()?.[1] ?? '');
  });
  await once(child, 'close');
  assert.match(text, /the password of alice is set/);
  assert.match(text, /status 0/);
  assert.doesNotMatch(text, /horse/);
  assert.match(text, / echo /, text);
  assert.ok(house.directory.hasPassword('alice'));
});

test('the completion scripts are taken by bash, which then completes commands and options', async t => {
  const { out } = await endOf(spawnSekisho(['completion', 'bash']));
  const house = await openHouse(t);
  const file = join(house.dir, 'completion.bash');
  await writeFile(file, out);
  const complete = (...words: string[]): string[] => {
    const script = `source '${file}'; COMP_WORDS=(${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _sekisho; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8', cwd: house.dir }).trim().split('\n');
  };
  assert.deepEqual(complete('sekisho', 'stat'), ['status']);
  assert.deepEqual(complete('sekisho', 'cert', 'rev'), ['revoke']);
  assert.deepEqual(complete('sekisho', '--data', 'status', 'cert', 'iss'), ['issue']);
  assert.deepEqual(complete('sekisho', 'cert', 'issue', 'x', '--pe'), ['--pem']);
  assert.ok(complete('sekisho', 'cert', 'issue', 'x', '--').includes('--json'));
  assert.deepEqual(complete('sekisho', 'cert', 'issue', 'x', '--out', 'compl'), ['completion.bash']);
  assert.deepEqual(complete('sekisho', 'user', 'add', 'x', '--role', 'comp'), ['']);
  for (const shell of ['zsh', 'fish']) {
    const script = await endOf(spawnSekisho(['completion', shell]));
    assert.equal(script.status, 0);
    for (const word of ['approval', 'revoke', '--pem'])
      assert.ok(script.out.includes(word.replace(/^--(?=pem)/, shell === 'fish' ? '-l ' : '--')), `${shell} ${word}`);
  }
});
