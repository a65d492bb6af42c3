// Chromium on a renamed site, as somebody without a proxy would use it: login with cookies and absolute redirects, form,
// upload, WebSocket; and the same site for Python and Node.
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { ca, openOrigin, openSitesRig, staff } from '../e2e/web/sites-rig.ts';
import { openBrowser } from '../fixtures/chromium.ts';
import { run } from '../fixtures/programs.ts';

const megabyte = 1 << 20;

/** An application that knows only its old name and says so everywhere. */
const application: RequestListener = (request, response) => {
  const { url = '', method, headers } = request;
  if (headers.host !== 'server1:8081') {
    response.writeHead(400).end('strange Host');
  } else if (method === 'POST' && url === '/login') {
    request.resume().on('end', () => {
      response.writeHead(302, {
        location: 'http://server1:8081/home',
        'set-cookie': 'session=s1; Domain=server1; Path=/; HttpOnly',
      });
      response.end();
    });
  } else if (method === 'POST') {
    let size = 0;
    request.on('data', chunk => {
      size += chunk.length;
    });
    request.on('end', () => response.end(JSON.stringify({ size, origin: headers.origin })));
  } else {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(
      `<!doctype html><title>t</title><p>${url} ${headers.cookie ?? 'no cookie'}</p><a href="http://server1:8081/next">次へ</a><form method="post" action="http://server1:8081/login"></form>`,
    );
  }
};

test('Chromium logs in, follows absolute redirects, keeps cookies, uploads and holds a WebSocket', async () => {
  await using origin = await openOrigin(application);
  const sockets = new WebSocketServer({ server: origin.server });
  const origins: (string | undefined)[] = [];
  sockets.on('connection', (socket, request) => {
    origins.push(request.headers.origin);
    socket.on('message', data => socket.send(String(data)));
  });
  await using rig = await openSitesRig({
    sites: { 'server1-8081': { to: 'http://server1:8081/', at: `tcp://127.0.0.1:${origin.port}`, rewrite: 'links' } },
  });
  const site = `https://server1-8081.example.com:${rig.port}`;
  // Instead of DNS: a PAC file cannot name addresses, so the names are told to the browser.
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    identity: staff,
    policy: { AutoSelectCertificateForUrls: [JSON.stringify({ pattern: site, filter: {} })] },
    pac: 'data:,function FindProxyForURL(){return "DIRECT"}',
    args: [`--host-resolver-rules=MAP *.example.com 127.0.0.1`],
  });
  const home = await browser.open(`${site}/`);
  assert.match(home.text, /^\/ no cookie/);
  const moved = browser.loaded();
  await browser.run('document.forms[0].submit()');
  await moved;
  const after = await browser.run<{ url: string; text: string }>(
    '({ url: location.href, text: document.body.innerText })',
  );
  assert.equal(after.url, `${site}/home`);
  assert.match(after.text, /session=s1/);
  assert.equal(await browser.run('document.links[0].href'), `${site}/next`);

  const size = 32 * megabyte;
  const upload = await browser.run<{ size: number; origin: string }>(
    `fetch('/upload', { method: 'POST', body: new Blob([new Uint8Array(${size})]) }).then(answer => answer.json())`,
  );
  assert.deepEqual(upload, { size, origin: 'http://server1:8081' });

  const echo = await browser.run(`new Promise((resolve, reject) => {
    const socket = new WebSocket('wss://' + location.host + '/ws');
    socket.onopen = () => socket.send('through the gate');
    socket.onmessage = ({ data }) => { resolve(data); socket.close(); };
    socket.onerror = () => reject(new Error('no WebSocket'));
  })`);
  assert.equal(echo, 'through the gate');
  assert.deepEqual(origins, ['http://server1:8081']);
  assert.ok(rig.lines.some(({ version }) => version === '2.0'));
});

test('Chromium without a certificate is told what is missing', async () => {
  await using origin = await openOrigin(application);
  await using rig = await openSitesRig({ sites: { server1: { to: `http://127.0.0.1:${origin.port}/` } } });
  await using browser = await openBrowser({
    trusts: [ca.certFile],
    policy: {},
    pac: 'data:,function FindProxyForURL(){return "DIRECT"}',
    args: [`--host-resolver-rules=MAP *.example.com 127.0.0.1`],
  });
  const page = await browser.open(`https://server1.example.com:${rig.port}/`);
  assert.match(page.text, /No client certificate[\s\S]*Staff CA[\s\S]*クライアント証明書/);
  assert.equal(origin.seen.length, 0);
});

test('Python and Node clients with a certificate follow the same redirect', async () => {
  await using origin = await openOrigin((request, response) => {
    if (request.url === '/old') response.writeHead(302, { location: 'http://server1/new' }).end();
    else response.end(`hello ${request.url}`);
  });
  await using rig = await openSitesRig({
    sites: { server1: { to: 'http://server1/', at: `tcp://127.0.0.1:${origin.port}` } },
  });
  const script = `
import http.client, ssl, socket
context = ssl.create_default_context(cafile=${JSON.stringify(ca.certFile)})
context.load_cert_chain(${JSON.stringify(staff.fullchainFile)}, ${JSON.stringify(staff.keyFile)})
name, port = 'server1.example.com', ${rig.port}
def ask(path):
    connection = http.client.HTTPSConnection(name, port, context=context)
    connection.sock = context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname=name)
    connection.request('GET', path)
    answer = connection.getresponse()
    return answer.status, answer.getheader('location'), answer.read().decode()
status, location, _ = ask('/old')
print(status, location, ask('/new')[2])
`;
  const python = await run('python3', ['-c', script]);
  const location = `https://server1.example.com:${rig.port}/new`;
  assert.equal(python.stdout.trim(), `302 ${location} hello /new`, python.stderr);
  const answer = await new Promise<string>((resolve, reject) => {
    httpsRequest(
      {
        ...{ host: '127.0.0.1', port: rig.port, servername: 'server1.example.com', path: '/old', ca: ca.cert },
        ...{
          cert: staff.fullchain,
          key: staff.key,
          headers: { host: `server1.example.com:${rig.port}` },
          agent: false,
        },
      },
      response => {
        response.resume();
        resolve(`${response.statusCode} ${response.headers.location}`);
      },
    )
      .on('error', reject)
      .end();
  });
  assert.equal(answer, `302 ${location}`);
});
