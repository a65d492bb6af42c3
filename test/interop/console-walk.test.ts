// One walk through the console as people take it: a device joins, an endpoint is asked for in Japanese, approved by somebody
// else and used by a TCP client, and is cut; axe-core looks at every page, and none is wider than a phone. Every page in both
// languages, by day and by night: test/lab/console-pages.test.ts.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { startAgent } from '../fixtures/agent.ts';
import { complaints, go, keep, narrow, pages, shots, sideways } from '../fixtures/console-pages.ts';
import { echoServer, freePorts, startGate, talk, until } from '../fixtures/gate-process.ts';
import { openChromium } from '../fixtures/playwright.ts';

test('a walk through the console, with a device, an approval, a TCP client and axe on every page', async t => {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
proxy: { far: { listen: 'tcp://127.0.0.1:0', to: 'tcp://127.0.0.1:9' } }
access:
  - { allow: endpoint.open, to: device/*, who: { user: bob }, for: 1h, approve: { group: staff } }
web: { forward: { pac: { path: /proxy.pac, public: true }, hosts: { office1: 'tcp://10.0.1.30:80' } } }
vpn: { hubs: { office: {} } }
`,
  });
  const { json } = gate;
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const chromium = await openChromium(t, ca);
  const signIn = async (user: string, role: string, language: 'en' | 'ja'): Promise<Page> => {
    await json('user', 'add', user, '--role', role);
    const { link } = await json('user', 'link', user);
    const page = await chromium.page({ language, dark: language === 'ja' });
    await page.goto(link);
    await page.locator('dialog .plain').click();
    return page;
  };
  const admin = await signIn('alice', 'admin', 'en');
  await json('group', 'add', 'staff', 'alice');

  // A device joins by the line of the page.
  const echo = await echoServer(t);
  await go(admin, 'device');
  await admin.getByRole('button', { name: 'Let a device join' }).click();
  await admin.getByLabel('Name', { exact: true }).fill('pump-7');
  await admin.getByLabel('Service', { exact: true }).fill('echo');
  await admin.getByLabel('Address on the device').fill(`127.0.0.1:${echo.port}`);
  await admin.locator('dialog button[type=submit]').click();
  const line = (await admin.locator('dialog .copy code').textContent()) ?? '';
  await admin.getByRole('img', { name: 'The line as a QR code' }).waitFor();
  const code = /--enroll '([^']+)'/.exec(line)?.[1] ?? '';
  await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
  await admin.getByText('The device has joined').waitFor();
  await admin.locator('dialog').getByRole('button', { name: 'Close' }).click();

  // Somebody who needs a yes asks for an endpoint, in Japanese.
  const member = await signIn('bob', 'member', 'ja');
  await go(member, 'endpoint');
  await member.getByRole('button', { name: 'エンドポイントを開く' }).click();
  await member.getByLabel('接続先', { exact: true }).fill('device://pump-7/echo');
  assert.equal(
    await member.locator('input[name=from]').inputValue(),
    '127.0.0.1',
    'the asker’s own address is filled in',
  );
  await member.locator('input[name=reason]').fill('ポンプの点検');
  await member.locator('dialog button[type=submit]').click();
  await member.getByText('承認を待っています。').waitFor();
  await member.locator('dialog').getByRole('button', { name: '閉じる' }).click();

  await go(admin, 'endpoint');
  await admin.getByText('ポンプの点検').waitFor();
  await admin.getByRole('button', { name: 'Approve' }).click();
  await until('it is open', async () => {
    const { endpoints } = await json('endpoint', 'list');
    return (endpoints as { state: string }[]).some(({ state }) => state === 'open');
  });
  const { endpoints } = await json('endpoint', 'list');
  const [endpoint] = endpoints as { id: string; port: number }[];
  const client = await talk(t, endpoint?.port ?? 0);
  assert.equal(await client.say('hello pump\n'), 'hello pump\n');

  // It is seen on the first page, and cut from there.
  await go(admin, 'status');
  const row = admin.locator('tr', { hasText: 'endpoint.connect' });
  await row.getByRole('button', { name: 'Cut' }).click();
  await admin.locator('dialog').getByRole('button', { name: 'Cut' }).click();
  await client.over;

  // A revoked device takes its ways with it.
  const again = await talk(t, endpoint?.port ?? 0);
  assert.equal(await again.say('still there\n'), 'still there\n');
  for (const to of pages) {
    await go(admin, to);
    assert.equal(await admin.locator('main [role=alert]').count(), 0, to);
    assert.deepEqual(await complaints(admin), [], to);
    await keep(admin, to);
  }
  await admin.setViewportSize({ width: narrow, height: 844 });
  for (const to of pages) {
    await go(admin, to);
    assert.deepEqual(await sideways(admin), [], `${to} on a phone`);
    await keep(admin, `${to}-narrow`);
  }
  await admin.setViewportSize({ width: 1280, height: 860 });
  await go(admin, 'device/pump-7');
  await admin.getByRole('button', { name: 'Revoke' }).click();
  await admin.locator('dialog').getByRole('button', { name: 'Revoke' }).click();
  await again.over;
  await admin.getByText('revoked').first().waitFor();
  // A member is refused some of what a page asks for, which Chromium notes; policy and scripts are what counts.
  const complained = chromium.errors.filter(text => !text.startsWith('Failed to load resource'));
  if (shots === undefined) assert.deepEqual(complained, []);
});
