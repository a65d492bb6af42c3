// Somebody writes in the database behind the gate's back: the record says so, and the gate stays usable.
import assert from 'node:assert/strict';
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { freePorts, type GateProcess, newFolder, runSekisho, startGate } from '../fixtures/gate-process.ts';

const config = async (): Promise<string> =>
  `gate: { listen: "tls://127.0.0.1:${(await freePorts(1))[0]}", workers: 0 }\n`;

/** As any program with access to the file can. */
function tamper(gate: Pick<GateProcess, 'data'>, ...statements: readonly string[]): void {
  const database = new DatabaseSync(join(gate.data, 'sekisho.db'), { timeout: 5000 });
  for (const statement of statements) database.exec(statement);
  database.close();
}
const addUsers = async (gate: GateProcess, ...names: readonly string[]): Promise<void> => {
  for (const name of names) assert.equal((await gate.run('user', 'add', name)).status, 0);
};
const verify = (gate: GateProcess) => gate.run('audit', 'verify');
const warnings = async (gate: GateProcess): Promise<string> =>
  (JSON.parse((await gate.run('status', '--json')).stdout) as { warnings: string[] }).warnings.join('\n');
const end = async (gate: GateProcess): Promise<void> => {
  gate.signal('SIGTERM');
  assert.equal(await gate.ended, 0);
};

test('tampering with the database of a running gate is found: a changed row, a removed row, an end that was cut off', async t => {
  const gate = await startGate(t, { config: await config() });
  await addUsers(gate, 'alice', 'bob', 'carol');
  const whole = await verify(gate);
  assert.equal(whole.status, 0);
  assert.match(whole.stdout, /the record is whole/);
  tamper(gate, "update audit set who_id = 'mallory' where seq = 3");
  const changed = await verify(gate);
  assert.equal(changed.status, 1);
  assert.match(changed.stdout, /NOT whole.*\b3\b.*changed/s);
  tamper(gate, "update audit set who_id = '' where seq = 3");
  assert.equal((await verify(gate)).status, 0, 'as it was, it is whole again');
  tamper(gate, 'create table stolen as select * from audit where seq = 4', 'delete from audit where seq = 4');
  assert.match((await verify(gate)).stdout, /row 4 is missing/);
  tamper(gate, 'insert into audit select * from stolen', 'drop table stolen');
  tamper(gate, 'delete from audit where seq > 4', 'delete from audit_head');
  const cut = await verify(gate);
  assert.equal(cut.status, 1);
  assert.match(cut.stdout, /the end is missing|missing/);
  await addUsers(gate, 'dave'); // the gate goes on
});

test('rows and signed heads that were cut off together while the gate was down: log, status and verify say so', async t => {
  const text = await config();
  const first = await startGate(t, { config: text });
  const { folder } = first;
  await addUsers(first, 'alice', 'bob', 'carol');
  await end(first);
  assert.equal(statSync(join(first.data, 'audit.head')).mode & 0o777, 0o600);
  tamper(first, 'delete from audit where seq > 4', 'delete from audit_head where seq > 4');

  const next = await startGate(t, { config: text, folder });
  await next.logged(/damaged while the gate was down: the rows from 5 to \d+ are gone/);
  assert.match(await warnings(next), /the rows from 5 to \d+ are gone/);
  const { status, stdout } = await verify(next);
  assert.equal(status, 1);
  assert.match(stdout, /NOT whole.*rows 5–\d+ are missing/s);
  await addUsers(next, 'dave');
  await end(next);
  const later = await startGate(t, { config: text, folder });
  assert.match(await warnings(later), /audit does not hold the row \d+ .* remove .*audit\.head/);
  assert.equal((await verify(later)).status, 1, 'the gap stays');
});

test('a backup that is restored is no tampering, in a new folder or in place of the old one', async t => {
  const text = await config();
  const gate = await startGate(t, { config: text });
  const [passphrase, backup] = [join(gate.folder, 'passphrase'), join(gate.folder, 'gate.backup')];
  writeFileSync(passphrase, 'correct horse battery\n', { mode: 0o600 });
  await addUsers(gate, 'alice');
  const made = await gate.run('backup', backup, '--passphrase-file', passphrase);
  assert.equal(made.status, 0, made.stderr);
  await addUsers(gate, 'bob', 'carol');
  await end(gate);
  const other = newFolder();
  for (const [folder, ...force] of [[other], [gate.folder, '--force']] as const) {
    const data = join(folder, 'data');
    const restored = await runSekisho(['restore', backup, '--data', data, '--passphrase-file', passphrase, ...force]);
    assert.equal(restored.status, 0, restored.stderr);
    assert.equal(existsSync(join(data, 'audit.head')), false);
    const next = await startGate(t, { config: text, folder });
    assert.equal(await warnings(next), '');
    assert.equal((await verify(next)).status, 0);
    await end(next);
  }
  rmSync(other, { recursive: true });
});
