// Terminals that are let in by what a person types: OpenSSH's server with PAM, on accounts that are mounted for it alone; and
// the end of one in which nobody types. As root.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Page } from 'playwright-core';
import { type Account, sshServer } from '../fixtures/ssh-server.ts';
import { run, shown, terminalHouse } from '../fixtures/terminal-house.ts';

const secret = 'once upon a midnight';

async function enter(t: TestContext, by: Account['by'], idle?: string) {
  const server = await sshServer({ name: 'walker', password: secret, by });
  t.after(() => server[Symbol.asyncDispose]());
  const house = await terminalHouse(t, idle);
  house.leadTo(server);
  const page = await house.signIn('alice', 'operator');
  const connect = async (password: string): Promise<void> => {
    await page.evaluate(`location.hash = '#/device/pump-7/terminal/ssh'`);
    await page.getByLabel('User on the device').fill('walker');
    await page.getByLabel('Password on the device').fill(password);
    await page.getByRole('button', { name: 'Connect', exact: true }).click();
  };
  return { ...house, page, connect };
}
const accept = (page: Page): Promise<void> => page.getByRole('button', { name: 'Yes, remember it' }).click();
const isIn = async (page: Page): Promise<void> => {
  await page.getByRole('button', { name: 'End', exact: true }).waitFor();
  await run(page, 'echo i-am-$(id -un)-$((1+1))');
  await shown(page, /i-am-walker-2/);
};

test('a password lets in, a wrong one does not, and neither is written anywhere', async t => {
  const { gate, page, connect } = await enter(t, 'password');
  await connect('not this one');
  await accept(page);
  await page.getByText('the device did not accept this user, password or key').waitFor();
  await page.getByRole('button', { name: 'Connect again' }).click();
  await connect(secret);
  await isIn(page);
  const everything = gate.log.join('\n') + (await gate.run('audit', 'export')).stdout;
  assert.doesNotMatch(everything, /upon a midnight|not this one/);
});

test('what PAM asks, the page asks; a password that was typed already answers it', async t => {
  const { gate, page, connect } = await enter(t, 'keyboard-interactive');
  await connect('');
  await accept(page);
  await page.locator('dialog').getByLabel('Password:').fill(secret);
  await page.locator('dialog').getByRole('button', { name: 'Answer' }).click();
  await isIn(page);
  await run(page, 'exit');
  await page.getByRole('button', { name: 'Connect again' }).click();
  await connect(secret);
  await isIn(page);
  assert.doesNotMatch(gate.log.join('\n') + (await gate.run('audit', 'export')).stdout, /upon a midnight/);
});

test('a terminal in which nobody types ends, whatever the device prints', async t => {
  const { json, page, connect } = await enter(t, 'password', '5s');
  await connect(secret);
  await accept(page);
  await isIn(page);
  await run(page, 'while true; do date; sleep 1; done');
  await page.getByText('nothing was typed for a long time').waitFor();
  const { sessions } = await json('session', 'list', '--action', 'device.terminal');
  assert.deepEqual(sessions, []);
  const rows = JSON.stringify(await json('audit', 'search', '--event', 'device.terminal-closed'));
  assert.match(rows, /"cause":"idle"/);
});
