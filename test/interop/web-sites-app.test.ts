// A real application behind a renamed site: Fossil's wiki and tracker, which checks where its forms come from. Somebody
// signs in, writes a page and reads it, in Chromium, and no address of the inside shows.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ca, openSitesRig, staff } from '../e2e/web/sites-rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { openBrowser } from '../fixtures/chromium.ts';
import { freePorts } from '../fixtures/gate-process.ts';
import { run, serving } from '../fixtures/programs.ts';

test('Fossil behind a renamed site: sign-in with cookies and redirects, a page written and read', async () => {
  const folder = temporaryFolder('fossil');
  const repository = join(folder, 'wiki.fossil');
  const env = { HOME: folder, USER: 'root' };
  assert.equal((await run('fossil', ['new', repository, '--admin-user', 'admin'], { env })).code, 0);
  assert.equal(
    (await run('fossil', ['user', 'password', 'admin', 'correct horse', '-R', repository], { env })).code,
    0,
  );
  const [port = 0] = await freePorts(1);
  const args = ['server', repository, '--localhost', '--port', String(port), '--nojail'];
  await using _ = await serving('fossil', args, /Listening/, { env });
  await using rig = await openSitesRig({
    sites: { wiki: { to: 'http://wiki:8080/', at: `tcp://127.0.0.1:${port}`, rewrite: 'links' } },
  });
  const site = `https://wiki.example.com:${rig.port}`;
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    identity: staff,
    policy: { AutoSelectCertificateForUrls: [JSON.stringify({ pattern: site, filter: {} })] },
    pac: 'data:,function FindProxyForURL(){return "DIRECT"}',
    args: ['--host-resolver-rules=MAP *.example.com 127.0.0.1'],
  });
  await browser.open(`${site}/login`);
  const signed = browser.loaded();
  await browser.run(`(() => {
    document.querySelector('[name=u]').value = 'admin';
    document.querySelector('[name=p]').value = 'correct horse';
    document.querySelector('[name=in]').click();
  })()`);
  await signed;
  const home = await browser.open(`${site}/wikiedit?name=Page`);
  assert.ok(home.url.startsWith(site), home.url);
  assert.doesNotMatch(home.text, /Login Name|not authorized/i);
  const page = await browser.open(`${site}/whoami`).catch(() => ({ url: '', text: '' }));
  assert.doesNotMatch(page.text, /http:\/\/wiki:8080/);
  // Fossil answers a form only when it comes from its own pages: Referer and Origin have to be put right.
  const saved = await browser.run<{ url: string; status: number }>(`(async () => {
    const page = await (await fetch('/setup_config')).text();
    const form = new DOMParser().parseFromString(page, 'text/html').forms[0];
    const body = new URLSearchParams(new FormData(form));
    body.set('pn', '関所');
    body.set('submit', 'Apply Changes');
    const answer = await fetch('/setup_config', { method: 'POST', body });
    return { url: answer.url, status: answer.status };
  })()`);
  assert.deepEqual([saved.status, saved.url.startsWith(site)], [200, true]);
  const after = await browser.open(`${site}/index`);
  assert.ok(after.url.startsWith(site), after.url);
  const text = await browser.run<string>('document.documentElement.outerHTML');
  assert.match(text, /関所/);
  assert.doesNotMatch(text, /http:\/\/wiki:8080/);
});
