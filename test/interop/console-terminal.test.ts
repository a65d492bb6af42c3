// The terminal in the browser with what others wrote: Chromium, the agent's own process, OpenSSH's server.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Page } from 'playwright-core';
import { startAgent } from '../fixtures/agent.ts';
import { freePorts, startGate, until } from '../fixtures/gate-process.ts';
import { openChromium } from '../fixtures/playwright.ts';
import { sshServer } from '../fixtures/ssh-server.ts';

async function house(t: TestContext) {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
device: { terminal: { recording: { devices: ['pump-*'] } } }
`,
  });
  const json = async (...args: string[]): Promise<never> => {
    const { status, stdout, stderr } = await gate.run(...args, '--json');
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout) as never;
  };
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  // What the device's service leads to, so that another SSH server can stand there the next time.
  let target = 0;
  const relay = createServer(socket => {
    const far = connect(target, '127.0.0.1');
    for (const end of [socket, far]) end.on('error', () => {});
    socket.pipe(far).pipe(socket);
    socket.on('close', () => far.destroy());
    far.on('close', () => socket.destroy());
  });
  relay.listen(0, '127.0.0.1');
  t.after(() => relay.close());
  await until('the relay listens', () => relay.listening);
  const address = relay.address() as { port: number };
  const { code } = await json('device', 'enroll', 'pump-7', '--service', `ssh=127.0.0.1:${address.port}`);
  await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
  await until('the device is online', async () => (await json('device', 'show', 'pump-7'))['state'] === 'online');
  const chromium = await openChromium(t, ca);
  const signIn = async (user: string, role: string): Promise<Page> => {
    await json('user', 'add', user, '--role', role);
    const { link } = await json('user', 'link', user);
    const page = await chromium.page();
    await page.goto(link);
    await page.locator('dialog .plain').click();
    return page;
  };
  const leadTo = (to: { readonly port: number }): void => {
    target = to.port;
  };
  return { gate, json, signIn, chromium, leadTo };
}

type Server = Awaited<ReturnType<typeof sshServer>>;

async function logIn(page: Page, { folder, user }: Server): Promise<void> {
  await page.getByRole('button', { name: 'Private key' }).click();
  await page.getByLabel('User on the device').fill(user);
  await page.locator('textarea[name=key]').fill(readFileSync(join(folder, 'user'), 'utf8'));
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
}
const shown = (page: Page, pattern: RegExp) =>
  page.locator('.xterm-rows').filter({ hasText: pattern }).waitFor({ state: 'visible', timeout: 60_000 });
async function run(page: Page, line: string): Promise<void> {
  await page.keyboard.insertText(line);
  await page.keyboard.press('Enter');
}
async function sizeOf(page: Page, mark: string): Promise<string> {
  await run(page, `echo ${mark}:$(stty size):`);
  await shown(page, new RegExp(`${mark}:\\d+ \\d+:`));
  const text = (await page.locator('.xterm-rows').textContent()) ?? '';
  return new RegExp(`${mark}:(\\d+ \\d+):`).exec(text.replaceAll('\u00a0', ' '))?.[1] ?? '';
}

test('a shell in the browser: types, resizes, speaks Japanese, is recorded, is cut, and knows its device', async t => {
  const { gate, json, signIn, chromium, leadTo } = await house(t);
  const first = await sshServer();
  t.after(() => first[Symbol.asyncDispose]());
  leadTo(first);
  const page = await signIn('alice', 'operator');
  await page.evaluate(`location.hash = '#/device/pump-7'`);
  await page.getByRole('link', { name: 'Terminal' }).click();
  await logIn(page, first);

  const fingerprint = /SHA256:\S+/.exec(
    execFileSync('ssh-keygen', ['-lf', join(first.folder, 'host.pub')], { encoding: 'utf8' }),
  )?.[0];
  assert.ok(fingerprint);
  await page.getByText(fingerprint).waitFor();
  await page.getByRole('button', { name: 'Yes, remember it' }).click();
  await page.getByRole('button', { name: 'End', exact: true }).waitFor();
  await run(page, 'export LC_ALL=C.UTF-8 PS1="$ "');
  await run(page, 'echo sum=$((6*7))');
  await shown(page, /sum=42/);
  await run(page, "printf '%s・%s\\n' 関所 こんにちは");
  await shown(page, /関所・こんにちは/);

  const before = await sizeOf(page, 'one');
  await page.setViewportSize({ width: 900, height: 600 });
  let after = before;
  for (let at = 0; after === before && at < 50; at++) after = await sizeOf(page, `n${at}x`);
  assert.notEqual(after, before, 'the window’s new size reaches the device');

  // More than every window on the way holds, and the shell is still there: the page, the gate and the device wait for each other.
  await run(page, 'seq 1 200000 | tail -c 700000; echo all-is-$((1+1))');
  await shown(page, /all-is-2/);

  await run(page, 'read -s -p ready-$((1+2)) secret');
  await shown(page, /ready-3/);
  await run(page, 'typed-without-echo');
  await run(page, 'echo length=$(printf %s "$secret" | wc -c)');
  await shown(page, /length=18/);

  const { sessions } = await json('session', 'list', '--action', 'device.terminal');
  const [session] = sessions as { id: string; resource: string; who: { id: string }; rule: string }[];
  assert.deepEqual([session?.resource, session?.who.id, session?.rule], ['device/pump-7', 'alice', 'role:operator']);
  await gate.run('session', 'cut', session?.id ?? '');
  await page.getByText('somebody has cut this session').waitFor();

  const folder = join(gate.data, 'recordings');
  const [file = ''] = readdirSync(folder);
  assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600);
  const cast = (await gate.run('audit', 'recording', session?.id ?? '')).stdout;
  const [header = '', ...events] = cast.trim().split('\n');
  assert.equal((JSON.parse(header) as { version: number }).version, 2);
  assert.match(cast, /関所・こんにちは/);
  assert.ok(events.every(line => ['o', 'r'].includes((JSON.parse(line) as string[])[1] ?? '')));
  assert.doesNotMatch(cast, /typed-without-echo/, 'what was typed without echo is in no recording');
  const everything = gate.log.join('\n') + (await gate.run('audit', 'export')).stdout;
  assert.doesNotMatch(
    everything,
    /OPENSSH PRIVATE KEY|typed-without-echo/,
    'nor is it, or the key, in a log or the audit',
  );

  // Another server under the same name.
  const second = await sshServer();
  t.after(() => second[Symbol.asyncDispose]());
  leadTo(second);
  await page.getByRole('button', { name: 'Connect again' }).click();
  await logIn(page, second);
  await page.getByRole('heading', { name: 'The device shows another key' }).waitFor();
  assert.match((await page.locator('main').textContent()) ?? '', new RegExp(fingerprint.replaceAll('+', '\\+')));
  const denied = await json('audit', 'search', '--event', 'device.denied');
  assert.match(JSON.stringify(denied), /host key/);
  await page.getByRole('button', { name: 'Forget the key' }).click();
  await page.getByText('Forgotten.').waitFor();
  await page.getByRole('button', { name: 'Connect again' }).click();
  await logIn(page, second);
  await page.getByRole('button', { name: 'Yes, remember it' }).click();
  await page.getByRole('button', { name: 'End', exact: true }).waitFor();
  await run(page, 'exit 3');
  await page.getByText('the shell has ended (3)').waitFor();
  const rows = JSON.stringify(await json('audit', 'search', '--event', 'device.*'));
  for (const event of ['terminal-opened', 'terminal-closed', 'host-key-trusted', 'host-key-removed'])
    assert.match(rows, new RegExp(`device\\.${event}`));
  assert.deepEqual(chromium.errors, [], 'the policy of the page stops nothing that the terminal needs');
});

test('whoever may not, is told so and reaches nothing', async t => {
  const { json, signIn, leadTo } = await house(t);
  const server = await sshServer();
  t.after(() => server[Symbol.asyncDispose]());
  leadTo(server);
  const page = await signIn('carol', 'approver');
  await page.evaluate(`location.hash = '#/device/pump-7/terminal/ssh'`);
  await logIn(page, server);
  await page.getByText('does not let you open a terminal').waitFor();
  const { sessions } = await json('session', 'list', '--action', 'device.*');
  assert.doesNotMatch(JSON.stringify(sessions), /device\.(terminal|stream)/);
  assert.match(JSON.stringify(await json('audit', 'search', '--event', 'device.denied')), /carol/);
});
