// The CA's next root on a gate, as OpenSSL judges it with either root alone. With agents, people, a restart and a backup:
// test/lab/rotation.test.ts.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openGate } from '../e2e/console-rig.ts';
import { until } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

interface State {
  readonly stage: string;
  readonly roots: readonly { readonly cert: string; readonly role: string }[];
}

test('who knows one root alone verifies the gate through prepare and switch, and only the next one after retire', async t => {
  const { gate, local, port } = await openGate(t);
  const rotate = (step: string): Promise<State> => local('POST', '/v1/certs/rotation', { step, force: true });
  const verifies = async (name: string): Promise<boolean> => {
    const known = ['-CAfile', join(gate.folder, name), '-verify_return_error', '-verify_hostname', 'localhost'];
    const asked = ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'localhost', ...known, '-brief'];
    const { stdout, stderr } = await run('openssl', asked, { input: '' });
    return /Verification: OK/.test(stdout + stderr);
  };
  const save = (name: string, text = ''): void => writeFileSync(join(gate.folder, name), text);
  await assert.rejects(rotate('switch'), /what can follow is prepare/);
  const prepared = await rotate('prepare');
  assert.deepEqual([prepared.stage, prepared.roots.map(({ role }) => role)], ['prepared', ['issuing', 'next']]);
  save('old.pem', prepared.roots[0]?.cert);
  save('new.pem', prepared.roots[1]?.cert);
  assert.deepEqual([await verifies('old.pem'), await verifies('new.pem')], [true, false]);
  assert.equal((await rotate('switch')).stage, 'switched');
  await until('the gate shows a certificate from under the next root', () => verifies('new.pem'));
  assert.ok(await verifies('old.pem'), 'by the certificate between the roots');
  assert.equal((await rotate('retire')).stage, 'steady');
  await until('nothing leads to the former root any more', async () => !(await verifies('old.pem')));
  assert.ok(await verifies('new.pem'));
  assert.equal((await gate.run('audit', 'verify')).status, 0);
});
