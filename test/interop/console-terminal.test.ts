// The terminal in the browser with what others wrote: Chromium, the agent's own process, OpenSSH's server.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sshServer } from '../fixtures/ssh-server.ts';
import { logIn, paste, run, shown, sizeOf, terminalHouse } from '../fixtures/terminal-house.ts';

test('a shell in the browser: types, resizes, speaks Japanese, is recorded, is cut, and knows its device', async t => {
  const { gate, json, signIn, chromium, leadTo } = await terminalHouse(t);
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

  await run(page, "printf '\\033[7mreverse\\033[0m \\033[38;2;240;240;10mbright\\033[0m \\033[2;37mdim\\033[0m\\n'");
  await shown(page, /reverse bright dim/);
  const colourOf = (text: string): Promise<unknown> =>
    page.evaluate(
      `getComputedStyle([...document.querySelectorAll('.xterm-rows span')].findLast(one => one.textContent.includes('${text}'))).color`,
    );
  const usual = await colourOf('関所');
  for (const text of ['reverse', 'bright']) assert.notEqual(await colourOf(text), usual, `${text} has its own colour`);

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

  // Several lines are shown before they run; what is refused is not typed.
  await paste(page, 'echo one-$((10+1))\necho two-$((20+2))\n');
  await page.locator('dialog .preview').getByText('echo one').waitFor();
  await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click();
  await run(page, 'echo not-$((3+3))');
  await shown(page, /not-6/);
  assert.doesNotMatch((await page.locator('.xterm-rows').textContent()) ?? '', /one-11/);
  await paste(page, 'echo one-$((10+1))\necho two-$((20+2))\n');
  await page.locator('dialog').getByRole('button', { name: 'Paste' }).click();
  await page.keyboard.press('Enter');
  await shown(page, /one-11/);
  await shown(page, /two-22/);
  await paste(page, 'echo single-$((7+0))');
  await page.keyboard.press('Enter');
  await shown(page, /single-7/);

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

  // Whoever may look at it plays it on the page, and takes it away as it is; and the record, signed.
  const auditor = await signIn('dora', 'auditor');
  await auditor.evaluate(`location.hash = '#/audit'`);
  const taken = async (name: string): Promise<string> => {
    const coming = auditor.waitForEvent('download');
    await auditor.getByRole('button', { name, exact: true }).first().click();
    return readFileSync(await (await coming).path(), 'utf8');
  };
  assert.equal(await taken('Download'), cast);
  assert.match(await taken('Signed, JSON lines'), /"signature":"[^"]+"\}\n$/);
  assert.match(await taken('Signed, CSV'), /^\ufeffseq,at,event[\s\S]*,audit\.export,signed,[\s\S]*\r\n$/);
  await auditor.getByRole('link', { name: 'Play' }).first().click();
  await auditor.getByRole('button', { name: 'Pause' }).click();
  await auditor.getByRole('button', { name: 'Go on' }).click();
  await auditor.getByLabel('Speed').selectOption('8');
  await shown(auditor, /single-7/);
  await auditor.getByRole('button', { name: 'From the beginning' }).click();
  await shown(auditor, /single-7/);

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
  const { json, signIn, leadTo } = await terminalHouse(t);
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
