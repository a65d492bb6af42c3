// Chromium behind the forward proxy, as staff would use it: PAC file, policy, client certificate, original addresses.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { TestClock } from '../../src/core/clock.ts';
import { ca, type Origin, openOrigin, openRig, type Rig, type RigOptions, staff } from '../e2e/web/rig.ts';
import { openBrowser } from '../fixtures/chromium.ts';

const megabyte = 1 << 20;

/** An application that knows nothing of the gate: absolute redirects, a cookie, a form, uploads, a WebSocket. */
const application: RequestListener = (request, response) => {
  const { url = '', method, headers } = request;
  if (url === '/login') {
    response.writeHead(302, { location: `http://${headers.host}/home`, 'set-cookie': 'session=s1; HttpOnly' }).end();
  } else if (method === 'POST') {
    let size = 0;
    let text = '';
    request.on('data', chunk => {
      size += chunk.length;
      if (size < 1000) text += chunk;
    });
    request.on('end', () => response.end(JSON.stringify({ size, text })));
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>t</title><p>${headers.host} ${url} ${headers.cookie ?? 'no cookie'}</p>`);
  }
};

/** RFC 6455, as little as an echo of short text frames needs. */
function echoWebSockets(server: Server): void {
  server.on('upgrade', (request, socket: Socket) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    socket.on('error', () => {});
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on('data', (frame: Buffer) => {
      if ((frame[0] ?? 0) !== 0x81) return void socket.end();
      const length = (frame[1] ?? 0) & 0x7f;
      const mask = frame.subarray(2, 6);
      const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ (mask[at % 4] ?? 0)));
      socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
    });
  });
}

/** The proxy, and the policy that it writes for Chromium, as it stands. */
async function openGate(origin: Origin, more: Partial<RigOptions> = {}): Promise<{ rig: Rig; policy: object }> {
  const rig = await openRig({
    forward: {
      pac: { public: true },
      hosts: {
        'server1:8081': `tcp://127.0.0.1:${origin.port}`,
        'intra.corp.example': `tcp://127.0.0.1:${origin.port}`,
      },
    },
    ...more,
  });
  const policy = JSON.parse(rig.web.form('chrome').text) as object;
  return { rig, policy };
}

test('Chromium opens the original addresses: redirect, cookie, form, upload, WebSocket, over HTTP/2', async () => {
  await using origin = await openOrigin(application);
  echoWebSockets(origin.server);
  const { rig, policy } = await openGate(origin);
  await using _rig = rig;
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    identity: staff,
    policy,
  });

  const home = await browser.open('http://server1:8081/login');
  assert.deepEqual(home, { url: 'http://server1:8081/home', text: 'server1:8081 /home session=s1' });

  const form = await browser.run<{ size: number; text: string }>(
    "fetch('/form', { method: 'POST', body: new URLSearchParams({ name: '山本' }) }).then(answer => answer.json())",
  );
  assert.equal(form.text, `name=${encodeURIComponent('山本')}`);

  const size = 64 * megabyte;
  const upload = await browser.run<{ size: number }>(
    `fetch('/upload', { method: 'POST', body: new Blob([new Uint8Array(${size})]) }).then(answer => answer.json())`,
  );
  assert.equal(upload.size, size);

  const echo = await browser.run(`new Promise((resolve, reject) => {
    const socket = new WebSocket('ws://server1:8081/ws');
    socket.onopen = () => socket.send('through the gate');
    socket.onmessage = ({ data }) => { resolve(data); socket.close(); };
    socket.onerror = () => reject(new Error('no WebSocket'));
  })`);
  assert.equal(echo, 'through the gate');

  assert.equal((await browser.open('http://intra.corp.example/')).text, 'intra.corp.example / no cookie');
  assert.match((await browser.open('http://gate.check/')).text, /Your proxy is on, and you are known\.[\s\S]*staff01/);
  assert.ok(
    rig.lines.some(line => line.version === '2.0' && line.method === 'GET'),
    'HTTP/2 is spoken',
  );
  assert.ok(origin.seen.every(({ headers }) => headers[headers.indexOf('Host') + 1] !== 'localhost'));
});

test('Chromium without a certificate is told what is missing', async () => {
  await using origin = await openOrigin(application);
  const { rig, policy } = await openGate(origin);
  await using _rig = rig;
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    policy,
  });
  const page = await browser.open('http://server1:8081/');
  assert.match(page.text, /No client certificate[\s\S]*Staff CA[\s\S]*クライアント証明書/);
  assert.match((await browser.open('http://gate.check/')).text, /Your proxy is on, but nobody knows you\./);
  assert.equal(origin.seen.length, 0);
});

test('Chromium with a revoked certificate is cut off in the middle of a session', async () => {
  const clock = new TestClock();
  await using origin = await openOrigin(application);
  echoWebSockets(origin.server);
  const { rig, policy } = await openGate(origin, { clock });
  await using _rig = rig;
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    identity: staff,
    policy,
  });
  await browser.open('http://server1:8081/');
  await browser.run(`new Promise(resolve => {
    self.socket = new WebSocket('ws://server1:8081/ws');
    self.ended = new Promise(done => { socket.onclose = ({ wasClean }) => done(wasClean); });
    socket.onopen = resolve;
  })`);
  rig.revoked.add('staff01');
  const cut = browser.run<boolean>('ended');
  for (const admission of rig.gate.open()) admission.end('revoked');
  assert.equal(await cut, false);
  await Promise.all(rig.gate.admissions.map(({ ended }) => ended));
  clock.move(2000); // an answer about a certificate holds for a second
  assert.match((await browser.open('http://server1:8081/again')).text, /does not count[\s\S]*revoked/);
});
