// Every page of the console in both languages, by day and by night, on a desk and on a phone: axe-core finds nothing serious,
// no page scrolls sideways. With SEKISHO_SCREENSHOTS=/folder each is kept as an image, for eyes.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startAgent } from '../fixtures/agent.ts';
import { complaints, go, keep, narrow, pages, sideways } from '../fixtures/console-pages.ts';
import { echoServer, freePorts, startGate, until } from '../fixtures/gate-process.ts';
import { openChromium } from '../fixtures/playwright.ts';

test('every page in two languages, two lights and two widths', { timeout: 900_000 }, async t => {
  const [port = 0] = await freePorts(1);
  const echo = await echoServer(t);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
proxy: { far: { listen: 'tcp://127.0.0.1:0', to: 'tcp://127.0.0.1:9' } }
access: [ { allow: endpoint.open, to: device/*, who: { user: bob }, for: 1h, approve: { group: staff } } ]
web: { forward: { pac: { path: /proxy.pac, public: true }, hosts: { office1: 'tcp://10.0.1.30:80' } } }
vpn: { hubs: { office: {} } }
`,
  });
  const { json } = gate;
  // Something to see: a long name, somebody in Japanese, a device that is there, one that waits, an endpoint.
  await json('user', 'add', 'alice', '--role', 'admin', '--group', 'night-shift');
  await json('user', 'add', '山本太郎', '--role', 'operator', '--role', 'approver', '--group', '医療事業部');
  await json('user', 'add', 'a-rather-long-name-of-somebody.at.example.com', '--role', 'member');
  for (const name of ['alice', '山本太郎'])
    await json('cert', 'issue', name, '--ou', '医療事業部', '--pem', join(gate.folder, name));
  const { code } = await json('device', 'enroll', 'pump-7', '--service', `ssh=127.0.0.1:${echo.port}`);
  await json('device', 'enroll', 'a-device-with-a-long-name-in-the-north-building-3');
  await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code ?? '']);
  await until('the device is there', async () => (await json('device', 'show', 'pump-7'))['state'] === 'online');
  await json('endpoint', 'open', 'device://pump-7/ssh', '--for', '1h', '--from', '127.0.0.1');
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const chromium = await openChromium(t, ca);
  for (const language of ['en', 'ja'] as const) {
    for (const dark of [false, true]) {
      const page = await chromium.page({ language, dark });
      const light = dark ? 'dark' : 'light';
      await page.goto(`https://127.0.0.1:${port}/`);
      await page.locator('form').waitFor();
      for (const width of [1280, narrow]) {
        await page.setViewportSize({ width, height: 860 });
        assert.deepEqual([...(await sideways(page)), ...(await complaints(page))], [], `sign-in ${language} ${light}`);
        await keep(page, `sign-in-${language}-${light}-${width}`);
      }
      const { link } = await json('user', 'link', 'alice');
      await page.goto(link ?? '');
      await page.locator('dialog .plain').click();
      for (const width of [1280, narrow]) {
        await page.setViewportSize({ width, height: 860 });
        for (const to of pages) {
          await go(page, to);
          const what = `${to} ${language} ${light} ${width}`;
          assert.equal(await page.locator('main [role=alert]').count(), 0, what);
          assert.deepEqual(await complaints(page), [], what);
          assert.deepEqual(await sideways(page), [], what);
          await keep(page, `${to}-${language}-${light}-${width}`);
        }
      }
      await page.context().close();
    }
  }
  // Who is not signed in yet is told so, which Chromium notes.
  assert.deepEqual(
    chromium.errors.filter(text => !/ 401 .*\/v1\/whoami:/.test(text)),
    [],
  );
});
