// Real applications behind both ways of the web gate, in real browsers: Fossil, a wiki and tracker that signs people in
// with cookies and redirects and checks where its forms come from; Radicale, which is WebDAV under a page of scripts and
// refuses a Destination that does not bear its own name. No address of the inside shows on a renamed site.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openOrigin, openRig } from '../e2e/web/rig.ts';
import { ca, openSitesRig, staff } from '../e2e/web/sites-rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { type Browser, openBrowser } from '../fixtures/chromium.ts';
import { openFirefox } from '../fixtures/firefox.ts';
import { freePorts } from '../fixtures/gate-process.ts';
import { run, serving } from '../fixtures/programs.ts';

type Driven = Pick<Browser, 'open' | 'run'>;
interface Application extends AsyncDisposable {
  readonly port: number;
}
/** A browser of somebody with a certificate, and where the application is for it. */
interface Way extends AsyncDisposable {
  readonly browser: Driven;
  readonly base: string;
}

async function openFossil(): Promise<Application> {
  const folder = temporaryFolder('fossil');
  const repository = join(folder, 'wiki.fossil');
  const env = { HOME: folder, USER: 'root' };
  for (const args of [
    ['new', repository, '--admin-user', 'admin'],
    ['user', 'password', 'admin', 'correct horse', '-R', repository],
  ])
    assert.equal((await run('fossil', args, { env })).code, 0);
  const [port = 0] = await freePorts(1);
  const args = ['server', repository, '--localhost', '--port', String(port), '--nojail'];
  return { ...(await serving('fossil', args, /Listening/, { env })), port };
}

async function openRadicale(): Promise<Application> {
  const folder = temporaryFolder('radicale');
  const [port = 0] = await freePorts(1);
  writeFileSync(join(folder, 'users'), 'yamamoto:correct horse\n');
  const args = [
    ...[
      '--config',
      '',
      '--logging-level',
      'info',
      '--server-hosts',
      `127.0.0.1:${port}`,
      '--storage-filesystem-folder',
      join(folder, 'data'),
    ],
    ...['--auth-type', 'htpasswd', '--auth-htpasswd-filename', join(folder, 'users')],
    ...['--auth-htpasswd-encryption', 'plain'],
  ];
  return { ...(await serving('radicale', args, /Radicale server ready/)), port };
}

/** `http://wiki:8080/` as it was always called, through the proxy. */
async function original({ port }: Application): Promise<Way> {
  const rig = await openRig({
    forward: { pac: { public: true }, hosts: { 'wiki:8080': `tcp://127.0.0.1:${port}` } },
  });
  const { text, type } = rig.web.form('pac');
  const pac = await openOrigin((_, response) => void response.writeHead(200, { 'content-type': type }).end(text));
  const { ProxySettings: _, ...policy } = JSON.parse(rig.web.form('chrome').text) as Record<string, unknown>;
  const pacUrl = `http://127.0.0.1:${pac.port}/proxy.pac`;
  const browser = await openBrowser({ trusts: [ca.certFile], identity: staff, policy, pac: pacUrl });
  return {
    ...{ browser, base: 'http://wiki:8080' },
    async [Symbol.asyncDispose]() {
      for (const one of [browser, rig, pac]) await one[Symbol.asyncDispose]();
    },
  };
}

const nowhere = 'data:,function FindProxyForURL(){return "DIRECT"}';

/** `https://wiki.example.com/`. */
async function renamed({ port }: Application, program: 'chromium' | 'firefox'): Promise<Way> {
  const rig = await openSitesRig({
    sites: { wiki: { to: 'http://wiki:8080/', at: `tcp://127.0.0.1:${port}`, rewrite: 'links' } },
  });
  const base = `https://wiki.example.com:${rig.port}`;
  const known = { trusts: [ca.certFile], identity: staff, pac: nowhere };
  const browser =
    program === 'firefox'
      ? await openFirefox({ ...known, prefs: { 'network.dns.localDomains': 'wiki.example.com' } })
      : await openBrowser({
          ...known,
          policy: { AutoSelectCertificateForUrls: [JSON.stringify({ pattern: base, filter: {} })] },
          args: ['--host-resolver-rules=MAP *.example.com 127.0.0.1'],
        });
  return {
    ...{ browser, base },
    async [Symbol.asyncDispose]() {
      for (const one of [browser, rig]) await one[Symbol.asyncDispose]();
    },
  };
}

/** Posts the form that a page holds, as the page would; answers where that led. */
const posting = (path: string, fields: Readonly<Record<string, string>>): string => `(async () => {
  const page = await (await fetch(${JSON.stringify(path)})).text();
  const form = new DOMParser().parseFromString(page, 'text/html').forms[0];
  const body = new URLSearchParams(new FormData(form));
  for (const [name, value] of Object.entries(${JSON.stringify(fields)})) body.set(name, value);
  const answer = await fetch(${JSON.stringify(path)}, { method: 'POST', body });
  return { url: answer.url, status: answer.status };
})()`;

async function useFossil({ browser, base }: Way): Promise<void> {
  assert.ok((await browser.open(`${base}/login`)).url.startsWith(base));
  const signedIn = await browser.run<{ url: string; status: number }>(
    posting('/login', { u: 'admin', p: 'correct horse', in: 'Login' }),
  );
  assert.ok(signedIn.status === 200 && signedIn.url.startsWith(base), JSON.stringify(signedIn));
  assert.doesNotMatch((await browser.open(`${base}/setup_config`)).text, /Login Name|not authorized/i);
  // Fossil answers a form only when it comes from its own pages: Referer and Origin have to be put right.
  const saved = await browser.run<{ url: string; status: number }>(
    posting('/setup_config', { pn: '関所', submit: 'Apply Changes' }),
  );
  assert.ok(saved.status === 200 && saved.url.startsWith(base), JSON.stringify(saved));
  const home = await browser.open(`${base}/index`);
  assert.ok(home.url.startsWith(base), home.url);
  const html = await browser.run<string>('document.documentElement.outerHTML');
  assert.match(html, /関所/);
  assert.match(html, /href="[^"]*logout/i);
  if (base.startsWith('https:')) assert.doesNotMatch(html, /http:\/\/wiki:8080/);
}

async function useRadicale({ browser, base }: Way): Promise<void> {
  assert.equal((await browser.open(`${base}/`)).url, `${base}/.web/`); // a redirect of its own
  // Its own page signs in by PROPFIND and shows what it found.
  const shown = await browser.run<string>(`(async () => {
    const shows = async scene => {
      while (document.querySelector(scene).classList.contains('hidden')) await new Promise(go => setTimeout(go, 20));
    };
    await shows('#loginscene'); // before that its form would be the browser's
    document.querySelector('#loginscene [data-name=user]').value = 'yamamoto';
    document.querySelector('#loginscene [data-name=password]').value = 'correct horse';
    document.querySelector('#loginscene button').click();
    await shows('#collectionsscene');
    return document.querySelector('#logoutview').innerText;
  })()`);
  assert.match(shown, /yamamoto/);
  const told = await browser.run<(number | boolean)[]>(`(async () => {
    const authorization = 'Basic ' + btoa('yamamoto:correct horse');
    const dav = (method, path, headers = {}, body) =>
      fetch(path, { method, headers: { authorization, ...headers }, ...(body ? { body } : {}) });
    const home = '/yamamoto/';
    const card = 'BEGIN:VCARD\\r\\nVERSION:3.0\\r\\nUID:u1\\r\\nFN:山本\\r\\nN:山本;;;;\\r\\nEND:VCARD\\r\\n';
    const made = await dav('MKCOL', home + 'a/', { 'content-type': 'text/xml' },
      '<mkcol xmlns="DAV:" xmlns:R="urn:ietf:params:xml:ns:carddav"><set><prop><resourcetype><collection/><R:addressbook/></resourcetype></prop></set></mkcol>');
    const put = await dav('PUT', home + 'a/one.vcf', { 'content-type': 'text/vcard' }, card);
    const moved = await dav('MOVE', home + 'a/one.vcf', { destination: location.origin + home + 'a/two.vcf' });
    const got = await dav('GET', home + 'a/two.vcf');
    const listed = await dav('PROPFIND', home + 'a/', { depth: '1' });
    // Without "omit" the browser itself would ask the user for another password.
    const wrong = await fetch(home, { method: 'PROPFIND', credentials: 'omit', headers: { authorization: 'Basic eDp5' } });
    return [made.status, put.status, moved.status, got.status, (await got.text()).includes('山本'), listed.status,
      (await listed.text()).includes('two.vcf'), wrong.status === 401 || wrong.status === 403];
  })()`);
  assert.deepEqual(told, [201, 201, 201, 200, true, 207, true, true]);
}

const applications = [
  ['Fossil: sign-in with cookies and redirects, a setting written and read', openFossil, useFossil],
  ['Radicale: WebDAV under scripts, a card made, moved and read', openRadicale, useRadicale],
] as const;
const ways = [
  ['under its original address, in Chromium', original],
  ['on a renamed site, in Chromium', (application: Application) => renamed(application, 'chromium')],
  ['on a renamed site, in Firefox', (application: Application) => renamed(application, 'firefox')],
] as const;
for (const [what, open, use] of applications) {
  for (const [where, reach] of ways) {
    test(`${what} ${where}`, async () => {
      await using application = await open();
      await using way = await reach(application);
      await use(way);
    });
  }
}
