// Lines say what happened and never a secret; files are opened anew on request.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { Secret } from '../core/secret.ts';
import { openAppendFile } from './append-file.ts';
import { createLog } from './log.ts';

const folder = (): string => mkdtempSync(join(tmpdir(), 'sekisho-log-'));
const silent: Log = { child: () => silent, debug() {}, info() {}, warn() {}, error() {} };

function collect(format: 'json' | 'pretty' = 'json') {
  const lines: string[] = [];
  const log = createLog({ level: 'info', format, base: { room: 'test' }, write: line => lines.push(line) });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}

test('a line is one JSON object with time, level, facts and sentence', () => {
  const { log, last } = collect();
  log.child({ route: 'db' }).info({ bytes: 5 }, 'connection closed');
  const { time, ...rest } = last();
  assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.deepEqual(rest, { level: 'info', room: 'test', route: 'db', bytes: 5, msg: 'connection closed' });
});

test('no secret is written, wherever it hides', () => {
  const { log, lines } = collect();
  const pem = '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----';
  log.info({ password: 'hunter2', nested: { list: [{ 'set-cookie': 'hunter2' }] } }, 'a');
  log.info({ value: new Secret('hunter2'), text: pem, bytes: Buffer.from('hunter2') }, 'b');
  log.info({ url: 'postgres://sekisho:hunter2@db/x', map: new Map([['authorization', 'hunter2']]) }, 'c');
  log.child({ token: 'hunter2' }).info({ error: new Error(`cannot read ${pem}`) }, 'd');
  log.info({ cause: new Fault('bug', 'x', { cause: new Error('redis://:hunter2@h/') }) }, 'e');
  assert.equal(lines.length, 5);
  assert.doesNotMatch(lines.join(''), /hunter2/);
});

test('a hostile value cannot break a line, fill the disk or recurse for ever', () => {
  const { log, lines } = collect();
  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  log.info({ loop, text: 'x'.repeat(1_000_000), line: 'a\nb', list: Array(10_000).fill(1), big: 10n }, 'x');
  assert.equal(lines.length, 1);
  assert.ok((lines[0]?.length ?? 0) < 10_000);
  assert.equal(lines[0]?.trimEnd().includes('\n'), false);
});

test('the pretty form escapes what would steer a terminal', () => {
  const { log, lines } = collect('pretty');
  log.warn({ from: { host: '::1', port: 5 }, sni: '\u001b[2J' }, 'odd \u001b]0;name\u0007');
  assert.match(lines[0] ?? '', /^\d\d:\d\d:\d\d ! test: odd \\x1b\]0;name\\x07 {2}from=::1:5 sni=\\x1b\[2J\n$/);
});

test('the level can be changed while running, for children too', () => {
  const { log, lines } = collect();
  const child = log.child({ a: 1 });
  child.debug({}, 'quiet');
  log.change({ level: 'debug', format: 'json' });
  child.debug({}, 'loud');
  assert.equal(lines.length, 1);
});

test('log.file is opened anew on request and is not readable by everybody', () => {
  const path = join(folder(), 'gate.log');
  const log = createLog({ level: 'info', format: 'auto', file: path });
  log.info({}, 'one');
  renameSync(path, `${path}.1`);
  log.info({}, 'two');
  log.reopen();
  log.info({}, 'three');
  log.close();
  assert.match(readFileSync(`${path}.1`, 'utf8'), /one[\s\S]*two/);
  assert.match(readFileSync(path, 'utf8'), /^[^\n]*three[^\n]*\n$/);
  assert.equal(statSync(path).mode & 0o007, 0);
});

test('a log file that cannot be opened is told before anything starts', () => {
  assert.throws(
    () => createLog({ level: 'info', format: 'json', file: '/nowhere/at/all.log' }),
    (error: unknown) =>
      error instanceof Fault && error.code === 'invalid' && /all\.log cannot be opened/.test(error.message),
  );
});

test('access lines keep their order over a reopen, and none is lost', async () => {
  const path = join(folder(), 'access.log');
  const file = await openAppendFile({ path, log: silent });
  file.line('1');
  renameSync(path, `${path}.1`);
  const done = file.reopen();
  file.line('2');
  await done;
  file.line('3');
  await file[Symbol.asyncDispose]();
  assert.equal(readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8'), '1\n2\n3\n');
});

test('access lines that a stuck disk holds back are bounded and counted', async () => {
  const path = join(folder(), 'access.log');
  const file = await openAppendFile({ path, log: silent, limit: 11 });
  for (let i = 0; i < 10; i++) file.line('12345');
  await file[Symbol.asyncDispose]();
  assert.equal(readFileSync(path, 'utf8'), '12345\n12345\n# 8 lines dropped: the disk was too slow\n');
});

test('an access log whose folder vanished keeps the old file on reopen', async () => {
  const path = join(folder(), 'access.log');
  await assert.rejects(openAppendFile({ path: join(path, 'x', 'y'), log: silent }), /cannot be opened for writing/);
  assert.equal(existsSync(path), false);
});
