// What an operator does while people work: another database, backup and restore, revoking, checking the record elsewhere.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePorts, newFolder, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { startPostgres } from '../interop/postgres.ts';
import { ask, assertTidy, assertWhole, auditRows, ca, endProperly, head, liveSessions, terminate } from './house.ts';
import { backend, closing, dialTls, echo, load, within } from './streams.ts';

test('PostgreSQL keeps what SQLite keeps; a second gate on the same database is refused with a sentence', async t => {
  using postgres = startPostgres();
  const url = postgres.database();
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const config = `store: "${url}"\n${head(2)}${terminate('tls', port, server.port)}`;
  const gate = await startGate(t, { config });
  await using traffic = load({ dial: dialTls(port, { ca: ca.cert }), clients: 6 });
  await until('it serves', () => traffic.done() > 100 || traffic.failures.length > 0);

  const other = newFolder();
  writeFileSync(join(other, 'sekisho.yaml'), `store: "${url}"\ngate: { listen: "tls://127.0.0.1:0" }\n`);
  const second = await runSekisho(['up', '-c', join(other, 'sekisho.yaml'), '--data', join(other, 'data')]);
  assert.equal(second.status, 4, second.stderr);
  assert.match(second.stderr, /another gate/);
  t.diagnostic(second.stderr.trim().split('\n').at(-1) ?? '');

  await traffic.stop();
  assert.deepEqual(traffic.failures, []);
  const rows = await assertTidy(gate);
  assert.ok(rows.filter(({ event }) => event === 'proxy.closed').length >= traffic.done());
  await endProperly(gate);
  const next = await startGate(t, { config, folder: gate.folder });
  assert.ok((await assertTidy(next)).length > rows.length, 'the record goes on after a restart');
  await endProperly(next);
});

test('a backup under load restores into an empty folder: users, CA and record are there, and the record is whole', async t => {
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const config = head(2) + terminate('tls', port, server.port);
  const gate = await startGate(t, { config });
  assert.equal((await gate.run('user', 'add', 'alice')).status, 0);
  const authority = (await gate.run('cert', 'ca')).stdout;
  await using traffic = load({ dial: dialTls(port, { ca: ca.cert }), clients: 6 });
  await until('there is load', () => traffic.done() > 100);
  const acknowledged = await auditRows(gate);
  const secret = join(gate.folder, 'secret');
  writeFileSync(secret, 'correct horse battery staple\n', { mode: 0o600 });
  const file = join(gate.folder, 'gate.backup');
  const made = await gate.run('backup', file, '--passphrase-file', secret);
  assert.equal(made.status, 0, made.stderr);
  await until('load goes on', () => traffic.done() > 150);
  await traffic.stop();
  assert.deepEqual(traffic.failures, []);
  assert.ok(!readFileSync(file).includes('PRIVATE KEY'), 'it is encrypted');
  await assertTidy(gate);
  await endProperly(gate);

  const folder = newFolder();
  const wrong = join(folder, 'wrong');
  writeFileSync(wrong, 'something else\n', { mode: 0o600 });
  const data = join(folder, 'data');
  const refused = await runSekisho(['restore', file, '--data', data, '--passphrase-file', wrong]);
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /passphrase/);
  const restored = await runSekisho(['restore', file, '--data', data, '--passphrase-file', secret]);
  assert.equal(restored.status, 0, restored.stderr);
  const next = await startGate(t, { config, folder });
  assert.equal((await next.run('cert', 'ca')).stdout, authority);
  assert.match((await next.run('user', 'list')).stdout, /alice/);
  await assertWhole(next);
  const kept = new Map((await auditRows(next)).map(row => [row.seq, JSON.stringify(row)]));
  const lost = acknowledged.filter(row => kept.get(row.seq) !== JSON.stringify(row));
  assert.deepEqual(lost, [], 'what was written before the backup is in it');
  await using again = load({ dial: dialTls(port, { ca: ca.cert }), clients: 1 });
  await until('the restored gate serves', () => again.done() > 5);
  await again.stop();
  await endProperly(next);
});

test('revoking a certificate cuts its live session within a second, keeps others, and it does not get in again', async t => {
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `${head(2)}${terminate('tls', port, server.port, ', clients: required')}access:\n  - { allow: proxy.connect, to: proxy/tls }\n`,
  });
  for (const name of ['alice', 'bob']) {
    assert.equal((await gate.run('user', 'add', name)).status, 0);
    const issued = await gate.run('cert', 'issue', name, '--pem', gate.folder);
    assert.equal(issued.status, 0, issued.stderr);
  }
  const dialAs = (name: string) =>
    dialTls(port, {
      ca: ca.cert,
      cert: readFileSync(join(gate.folder, `${name}.crt`)),
      key: readFileSync(join(gate.folder, `${name}.key`)),
    });
  const say = async (socket: Awaited<ReturnType<ReturnType<typeof dialTls>>>): Promise<void> => {
    socket.write('hello');
    const [answer] = await within(5000, once(socket, 'data'), () => 'no answer');
    assert.equal(String(answer), 'hello');
  };
  const [alice, bob] = [await dialAs('alice')(), await dialAs('bob')()];
  t.after(() => [alice, bob].map(socket => socket.destroy()));
  await say(alice);
  await say(bob);
  assert.equal(await liveSessions(gate), 2);
  const { certs } = await ask<{ certs: { serial: string }[] }>(gate, 'cert', 'list', '--user', 'alice');
  let cutAt = Number.POSITIVE_INFINITY;
  const over = closing(alice.resume()).then(() => {
    cutAt = performance.now();
  });
  // The command line takes its time to start; what counts is from the audit row of the revocation to the cut.
  const { status, stderr } = await gate.run('cert', 'revoke', certs[0]?.serial ?? '', '--reason', 'keyCompromise');
  const answered = performance.now();
  assert.equal(status, 0, stderr);
  await within(1000, over, () => 'still there a second after the revocation was answered');
  t.diagnostic(`cut ${Math.round(answered - cutAt)} ms before the command had ended`);
  await say(bob);
  const back = await dialAs('alice')().then(
    async socket => {
      socket.write('hello');
      return new Promise(resolve => {
        socket.once('data', () => resolve('in'));
        void closing(socket).then(() => resolve('out'));
      });
    },
    () => 'out',
  );
  assert.equal(back, 'out');
  bob.end();
  const rows = await assertTidy(gate);
  const closed = rows.find(({ event, who }) => event === 'proxy.closed' && who.id === 'alice');
  assert.equal(closed?.facts['cause'], 'revoked');
  assert.ok(
    rows.some(({ outcome, resource }) => outcome === 'denied' && resource === 'proxy/tls'),
    `the second try is in the record:\n${rows.map(row => `${row.event} ${row.outcome} ${row.resource}`).join('\n')}`,
  );
  await endProperly(gate);
});

/** The verifier that src/access/README.md prints. */
const script = /```python\n([\s\S]*?)```/.exec(
  readFileSync(join(import.meta.dirname, '../../src/access/README.md'), 'utf8'),
)?.[1];

test('an export is checked without us: the README’s Python for the chain, openssl for the signature; every tampering is found', async t => {
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: head(1) + terminate('tls', port, server.port) });
  await using traffic = load({ dial: dialTls(port, { ca: ca.cert }), clients: 4 });
  await until('there are rows', () => traffic.done() > 60);
  await traffic.stop();
  await gate.run('user', 'add', '医療 事業部', '--json');
  const [file, key] = [join(gate.folder, 'audit.jsonl'), join(gate.folder, 'audit.pub')];
  const made = await gate.run('audit', 'export', '--out', file, '--public-key', key);
  assert.equal(made.status, 0, made.stderr);
  await endProperly(gate);

  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const python = (text: readonly string[]): { ok: boolean; out: string } => {
    const { status, stdout, stderr } = spawnSync('python3', ['-c', script ?? ''], {
      input: `${text.join('\n')}\n`,
      encoding: 'utf8',
    });
    return { ok: status === 0, out: stdout + stderr };
  };
  const good = python(lines);
  assert.ok(good.ok, good.out);
  assert.match(good.out, new RegExp(`^${lines.length - 1} rows`));

  // The signed end, by openssl alone.
  const end = JSON.parse(lines.at(-1) ?? '') as {
    head: { seq: number; hash: string; at: string; signature: string };
    scope: string;
    rows: number;
    digest: string;
    signature: string;
  };
  const signed = (text: string, signature: string): boolean => {
    const [body, seal] = [join(gate.folder, 'text'), join(gate.folder, 'signature')];
    writeFileSync(body, text);
    writeFileSync(seal, Buffer.from(signature, 'base64'));
    return (
      spawnSync('openssl', ['pkeyutl', '-verify', '-pubin', '-inkey', key, '-rawin', '-in', body, '-sigfile', seal])
        .status === 0
    );
  };
  const { head: top } = end;
  const headText = ['sekisho audit head', top.seq, top.hash, top.at, ''].join('\n');
  assert.ok(signed(headText, top.signature), 'openssl accepts the head');
  assert.ok(!signed(headText.replace(top.at, '2020-01-01T00:00:00.000Z'), top.signature));
  const exportText = ['sekisho audit export', end.scope, end.rows, end.digest, top.seq, top.hash, ''].join('\n');
  assert.ok(signed(exportText, end.signature), 'openssl accepts the export');
  t.diagnostic(
    `digest ${
      end.digest ===
      createHash('sha256')
        .update(`${lines.slice(0, -1).join('\n')}\n`)
        .digest('hex')
        ? 'is the SHA-256 of the lines before it'
        : 'is of another form'
    }`,
  );

  const swap = (a: number, b: number): string[] =>
    lines.map((line, at) => lines[at === a ? b : at === b ? a : at] ?? line);
  const tampered: Record<string, string[]> = {
    changed: lines.map((line, at) => (at === 20 ? line.replace('127.0.0.1', '127.0.0.9') : line)),
    missing: lines.filter((_, at) => at !== 20),
    reordered: swap(20, 21),
    'without its last rows': [...lines.slice(0, -5), lines.at(-1) ?? ''],
    'without its end': lines.slice(0, -1),
  };
  for (const [how, text] of Object.entries(tampered)) {
    assert.ok(!python(text).ok, `Python finds an export that is ${how}`);
    const bad = join(gate.folder, 'bad.jsonl');
    writeFileSync(bad, `${text.join('\n')}\n`);
    const verified = await runSekisho(['audit', 'verify', '--file', bad, '--key', key]);
    assert.notEqual(verified.status, 0, `sekisho finds an export that is ${how}`);
  }
  assert.equal((await runSekisho(['audit', 'verify', '--file', file, '--key', key])).status, 0);
});
