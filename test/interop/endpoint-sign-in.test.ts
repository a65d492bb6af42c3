// The page that lets an address in to an endpoint, in Chromium: by a link in Japanese, by a password in English.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { echoServer, freePorts, runSekisho, startGate } from '../fixtures/gate-process.ts';
import { openChromium } from '../fixtures/playwright.ts';

interface Opened {
  readonly id: string;
  readonly port: number;
  readonly link: string;
}

async function house(t: TestContext) {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\naccess: [ { allow: endpoint.open, who: { user: ann } } ]\n`,
  });
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const echo = await echoServer(t);
  await gate.run('user', 'add', 'ann');
  const { stdout } = await gate.run('token', 'create', 'ann', '--scope', 'endpoint.*', '--json');
  const { token } = JSON.parse(stdout) as { token: string };
  const asAnn = async (): Promise<Opened> => {
    const body = JSON.stringify({ target: `tcp://127.0.0.1:${echo.port}`, signIn: true, from: ['127.0.0.0/8'] });
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const asked = request({
      host: 'localhost',
      port,
      path: '/v1/endpoints',
      method: 'POST',
      headers,
      ca: readFileSync(ca),
    });
    asked.end(body);
    const [answer] = await once(asked, 'response');
    let text = '';
    for await (const chunk of answer) text += chunk;
    assert.equal(answer.statusCode, 200, text);
    return JSON.parse(text) as Opened;
  };
  const chromium = await openChromium(t, ca);
  return { gate, chromium, asAnn, origin: `https://localhost:${port}` };
}

/** What the endpoint's port answers to a word; nothing while the address is not let in. */
async function say(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {});
  socket.end('hello');
  let heard = '';
  socket.on('data', chunk => {
    heard += chunk;
  });
  await new Promise(resolve => socket.once('close', resolve)); // refused ones are reset
  return heard;
}

test('a link lets in whoever opens it, once, and leaves no code in the address bar', async t => {
  const { chromium, asAnn } = await house(t);
  const { port, link } = await asAnn();
  assert.equal(await say(port), '');
  const page = await chromium.page({ language: 'ja' });
  await page.goto(link);
  assert.equal(new URL(page.url()).hash, '');
  await page.getByRole('heading', { name: 'このアドレスからの接続を許可' }).waitFor();
  await page.getByRole('button', { name: '許可する' }).click();
  await page.getByText('許可しました: 127.0.0.1').waitFor();
  assert.equal(await say(port), 'hello');
  const again = await chromium.page();
  await again.goto(link);
  await again.getByRole('button', { name: 'Let me in' }).click();
  await again.getByText('Not let in.').waitFor();
});

test('a password lets in its owner, but not alone where there is a second factor', async t => {
  const { gate, chromium, asAnn, origin } = await house(t);
  const set = ['user', 'passwd', 'ann', '--data', gate.data];
  assert.equal((await runSekisho(set, { input: 'correct horse battery\n' })).status, 0);
  const { id, port } = await asAnn();
  const page = await chromium.page();
  const signIn = async (password: string): Promise<void> => {
    await page.goto(`${origin}/endpoint/${id}`);
    await page.getByLabel('User').fill('ann');
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Let me in' }).click();
  };
  await signIn('wrong horse battery');
  await page.getByText('Not let in.').waitFor();
  await gate.run('user', 'totp', 'ann');
  await signIn('correct horse battery');
  await page.getByText('Not let in.').waitFor();
  assert.equal(await say(port), '');
  await gate.run('user', 'totp', 'ann', '--remove');
  await signIn('correct horse battery');
  await page.getByText('Let in: 127.0.0.1').waitFor();
  assert.equal(await say(port), 'hello');
});
