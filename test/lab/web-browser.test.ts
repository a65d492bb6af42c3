// Full size, from real browsers: 1 GiB up through the forward proxy and through a renamed site, streamed, the gate no larger
// for it; and a certificate that is revoked while the upload is under way.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Origin, openOrigin } from '../e2e/web/rig.ts';
import type { Issued } from '../fixtures/certificates.ts';
import { type Browser, openBrowser } from '../fixtures/chromium.ts';
import { openFirefox } from '../fixtures/firefox.ts';
import { freePorts, type GateProcess, newFolder, startGate } from '../fixtures/gate-process.ts';

const size = 1024 * 1024 * 1024;
/** What the gate may grow by while a gigabyte passes: kB. */
const room = 256 * 1024;

/** Reads uploads and says how long they were and what was in them. */
const openSink = (arrived: (bytes: number) => void = () => {}): Promise<Origin> =>
  openOrigin((request, response) => {
    if (request.method === 'GET') {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>t</title><input type="file">');
      return;
    }
    let got = 0;
    const hash = createHash('sha256');
    request.on('data', chunk => {
      got += chunk.length;
      hash.update(chunk);
      arrived(got);
    });
    request.on('end', () => response.end(JSON.stringify({ got, hash: hash.digest('hex') })));
  });

interface House {
  readonly gate: GateProcess;
  readonly folder: string;
  readonly port: number;
  readonly identity: Issued;
  readonly ca: string;
  readonly pac: string;
}

async function openHouse(t: TestContext, origin: Origin): Promise<House> {
  const [port = 0] = await freePorts(1);
  const folder = newFolder();
  const to = `tcp://127.0.0.1:${origin.port}`;
  const config = `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }
access: [ { allow: web.request, who: { user: staff01 }, to: web/* } ]
web:
  forward: { name: proxy.example.com, pac: { public: true }, hosts: { "server1:8081": "${to}" } }
  domain: example.com
  sites: { server1-8081: { to: "http://server1:8081/", at: "${to}" } }
`;
  const gate = await startGate(t, { folder, config });
  const issued = await gate.run('cert', 'issue', 'staff01', '--pem', join(folder, 'pem'));
  assert.equal(issued.status, 0, issued.stderr);
  const [cert, key, ca] = ['staff01.crt', 'staff01.key', 'ca.crt'].map(file => join(folder, 'pem', file)) as [
    string,
    string,
    string,
  ];
  const identity = { fullchainFile: cert, keyFile: key } as Issued;
  return { gate, folder, port, identity, ca, pac: `https://localhost:${port}/proxy.pac` };
}

const openChromium = ({ identity, ca, pac, port }: House): Promise<Browser> => {
  const asked = ['proxy.example.com', 'server1-8081.example.com'].map(name =>
    JSON.stringify({ pattern: `https://${name}:${port}`, filter: {} }),
  );
  return openBrowser({
    ...{ trusts: [ca], identity, pac, policy: { AutoSelectCertificateForUrls: asked } },
    args: ['--host-resolver-rules=MAP *.example.com 127.0.0.1'],
  });
};

/** A file that is not one block over and over, and its hash. */
function bigFile(folder: string): { readonly path: string; readonly hash: string } {
  const path = join(folder, 'big');
  const hash = createHash('sha256');
  writeFileSync(path, '');
  for (let at = 0; at < 64; at++) {
    const block = Buffer.alloc(size / 64, createHash('sha256').update(String(at)).digest());
    hash.update(block);
    writeFileSync(path, block, { flag: 'a' });
  }
  return { path, hash: hash.digest('hex') };
}

const rss = ({ child }: GateProcess): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]);

/** What the gate grows by, at most, while this goes on: kB. */
async function grown(gate: GateProcess, work: () => Promise<void>): Promise<number> {
  const before = rss(gate);
  let most = before;
  const look = setInterval(() => {
    most = Math.max(most, rss(gate));
  }, 50);
  try {
    await work();
  } finally {
    clearInterval(look);
  }
  return most - before;
}

async function choose(browser: Browser, path: string): Promise<void> {
  const { root } = await browser.command<{ root: { nodeId: number } }>('DOM.getDocument');
  const { nodeId } = await browser.command<{ nodeId: number }>('DOM.querySelector', {
    ...{ nodeId: root.nodeId, selector: 'input' },
  });
  await browser.command('DOM.setFileInputFiles', { nodeId, files: [path] });
}

const send = `fetch('/up', { method: 'POST', body: document.querySelector('input').files[0] }).then(answer => answer.json())`;

test('Chromium uploads 1 GiB by both ways, byte for byte, and the gate stays as small as it was', async t => {
  await using origin = await openSink();
  const house = await openHouse(t, origin);
  const { path, hash } = bigFile(house.folder);
  await using browser = await openChromium(house);
  for (const url of ['http://server1:8081/', `https://server1-8081.example.com:${house.port}/`]) {
    assert.equal((await browser.open(url)).url, url);
    await choose(browser, path);
    const more = await grown(house.gate, async () => {
      assert.deepEqual(await browser.run(send), { got: size, hash });
    });
    t.diagnostic(`${url}: the gate grew by ${Math.round(more / 1024)} MiB`);
    assert.ok(more < room, `the gate grew by ${more} kB`);
  }
  execFileSync('rm', [path]);
});

test('Firefox uploads 1 GiB through the forward proxy, and the gate stays as small as it was', async t => {
  await using origin = await openSink();
  const house = await openHouse(t, origin);
  await using browser = await openFirefox({
    ...{ trusts: [house.ca], identity: house.identity, pac: house.pac, script: 400_000 },
    prefs: { 'network.dns.localDomains': 'proxy.example.com' },
  });
  await browser.open('http://server1:8081/');
  const blob = 'new Blob(Array(64).fill(new Blob([new Uint8Array(16777216).fill(7)])))';
  const more = await grown(house.gate, async () => {
    const answer = await browser.run<{ got: number }>(
      `fetch('/up', { method: 'POST', body: ${blob} }).then(answer => answer.json())`,
    );
    assert.equal(answer.got, size);
  });
  t.diagnostic(`the gate grew by ${Math.round(more / 1024)} MiB`);
  assert.ok(more < room, `the gate grew by ${more} kB`);
});

test('a certificate that is revoked ends the upload of a browser in its middle', async t => {
  let got = 0;
  const moving = Promise.withResolvers<void>();
  await using origin = await openSink(bytes => {
    got = bytes;
    if (bytes > 50_000_000) moving.resolve();
  });
  const house = await openHouse(t, origin);
  const { path } = bigFile(house.folder);
  await using browser = await openChromium(house);
  await browser.open('http://server1:8081/');
  await choose(browser, path);
  const upload = browser.run(send).then(
    () => 'all of it',
    (error: Error) => error.message,
  );
  await moving.promise;
  const { certs } = await house.gate.json<{ certs: { name: string; serial: string }[] }>('cert', 'list');
  const serial = certs.find(({ name }) => name === 'staff01')?.serial ?? '';
  assert.equal((await house.gate.run('cert', 'revoke', serial)).status, 0);
  assert.match(await upload, /Failed to fetch/);
  assert.ok(got < size, 'it was ended in its middle');
  assert.match((await browser.open('http://server1:8081/')).text, /does not count|revoked|ERR_/);
  execFileSync('rm', [path]);
});
