// Clients that others wrote, at the proxy with a client certificate: Firefox, curl, Python, Node.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type RequestListener } from 'node:http';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { ca, type Origin, openOrigin, openRig, type Rig, staff } from '../e2e/web/rig.ts';
import { openFirefox } from '../fixtures/firefox.ts';
import { run } from '../fixtures/programs.ts';

/** Logs in with a redirect and a cookie, takes forms and files, answers WebSockets, serves long files. */
const application: RequestListener = (request, response) => {
  const { url = '', method, headers } = request;
  if (url === '/login') {
    response.writeHead(302, { location: `http://${headers.host}/home`, 'set-cookie': 'session=s1; HttpOnly' }).end();
  } else if (method === 'POST' || method === 'PUT') {
    const hash = createHash('sha256');
    let size = 0;
    request.on('data', chunk => {
      size += chunk.length;
      hash.update(chunk);
    });
    request.on('end', () => response.end(JSON.stringify({ size, hash: hash.digest('hex') })));
  } else if (url === '/endless') {
    response.writeHead(200);
    response.write('begun');
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>t</title><p>${headers.host} ${url} ${headers.cookie ?? 'no cookie'}</p>`);
  }
};

async function openHouse(): Promise<{ rig: Rig; origin: Origin } & AsyncDisposable> {
  const origin = await openOrigin(application);
  const sockets = new WebSocketServer({ server: origin.server });
  sockets.on('connection', socket => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  const rig = await openRig({
    forward: { pac: { public: true }, hosts: { 'server1:8081': `tcp://127.0.0.1:${origin.port}` } },
  });
  return {
    ...{ rig, origin },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      await rig[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    },
  };
}
const pacServer = ({ web }: Rig): Promise<Origin> => {
  const { text, type } = web.form('pac');
  return openOrigin((_, response) => void response.writeHead(200, { 'content-type': type }).end(text));
};

test('Firefox opens the original addresses: redirect, cookie, form, upload, WebSocket; and is cut off when revoked', async () => {
  await using house = await openHouse();
  const { rig } = house;
  await using pac = await pacServer(rig);
  const pacUrl = `http://127.0.0.1:${pac.port}/proxy.pac`;
  await using browser = await openFirefox({ trusts: [ca.certFile], identity: staff, pac: pacUrl });
  const home = await browser.open('http://server1:8081/login');
  assert.deepEqual(home, { url: 'http://server1:8081/home', text: 'server1:8081 /home session=s1' });
  const size = 32 << 20;
  const upload = await browser.run<{ size: number }>(
    `fetch('/upload', { method: 'POST', body: new Blob([new Uint8Array(${size})]) }).then(answer => answer.json())`,
  );
  assert.equal(upload.size, size);
  const opened = `new Promise((resolve, reject) => {
    const socket = new WebSocket('ws://server1:8081/ws');
    window.wrappedJSObject ? window.wrappedJSObject.held = socket : window.held = socket;
    socket.onopen = () => socket.send('through the gate');
    socket.onmessage = ({ data }) => resolve(data);
    socket.onerror = () => reject(new Error('no WebSocket'));
  })`;
  assert.equal(await browser.run(opened), 'through the gate');
  assert.match((await browser.open('http://gate.check/')).text, /Your proxy is on, and you are known\.[\s\S]*staff01/);
  assert.ok(rig.lines.some(line => line.version === '2.0' && line.who === 'staff01'));
  rig.revoked.add('staff01');
  for (const admission of rig.gate.open()) admission.end('revoked');
  await new Promise(resolve => setTimeout(resolve, 1100)); // an answer about a certificate holds for a second
  assert.match((await browser.open('http://server1:8081/again')).text, /does not count[\s\S]*revoked/);
});

test('Firefox without a certificate is told what is missing', async () => {
  await using house = await openHouse();
  await using pac = await pacServer(house.rig);
  await using browser = await openFirefox({ trusts: [ca.certFile], pac: `http://127.0.0.1:${pac.port}/proxy.pac` });
  assert.match((await browser.open('http://server1:8081/')).text, /No client certificate[\s\S]*Staff CA/);
  assert.equal(house.origin.seen.length, 0);
});

test('curl: absolute form, CONNECT, an upload in chunks, and a download that is cut when its certificate is revoked', async () => {
  await using house = await openHouse();
  const { rig } = house;
  const curl = (...args: string[]): ReturnType<typeof run> =>
    run('curl', [
      ...['-sS', '--max-time', '30', '--proxy', `https://localhost:${rig.port}`, '--proxy-cacert', ca.certFile],
      ...['--proxy-cert', staff.fullchainFile, '--proxy-key', staff.keyFile, ...args],
    ]);
  assert.match((await curl('-L', '-b', '', 'http://server1:8081/login')).stdout, /\/home session=s1/);
  assert.match((await curl('-p', 'http://server1:8081/tunnelled')).stdout, /server1:8081 \/tunnelled/);
  const sent = await run('sh', [
    '-c',
    `head -c 20000000 /dev/zero | curl -sS --proxy https://localhost:${rig.port} --proxy-cacert ${ca.certFile} --proxy-cert ${staff.fullchainFile} --proxy-key ${staff.keyFile} -T - -H 'Transfer-Encoding: chunked' http://server1:8081/put`,
  ]);
  assert.equal(JSON.parse(sent.stdout).size, 20_000_000, sent.stderr);
  const hanging = curl('-N', 'http://server1:8081/endless');
  await new Promise<void>(resolve => house.origin.server.on('request', ({ url }) => url === '/endless' && resolve()));
  for (const admission of rig.gate.open()) admission.end('revoked');
  const cut = await hanging;
  assert.notEqual(cut.code, 0);
});

const python = `
import http.client, json, socket, ssl, sys
port, ca, cert, key = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
def proxy():
    return context.wrap_socket(socket.create_connection(('localhost', port)), server_hostname='localhost')
found = {}
# Absolute form on one kept connection, by http.client over a socket of ours.
connection = http.client.HTTPConnection('server1', 8081)
connection.sock = proxy()
for path in ('/one', '/two'):
    connection.request('GET', 'http://server1:8081' + path)
    found[path] = connection.getresponse().read().decode()
connection.request('POST', 'http://server1:8081/post', body=(b'x' * 1000 for _ in range(50)), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
found['post'] = json.loads(connection.getresponse().read())['size']
# CONNECT, as set_tunnel does it.
class Tunnel(http.client.HTTPConnection):
    def connect(self):
        self.sock = proxy()
        self._tunnel()
tunnel = Tunnel('localhost', port)
tunnel.set_tunnel('server1', 8081)
tunnel.request('GET', '/inside')
found['tunnel'] = tunnel.getresponse().read().decode()
refused = Tunnel('localhost', port)
refused.set_tunnel('unmapped', 80)
try:
    refused.request('GET', '/')
    found['refused'] = 'no'
except OSError as error:
    found['refused'] = str(error)
print(json.dumps(found))
`;

test('Python’s http.client: kept connections, a chunked body, set_tunnel', async () => {
  await using house = await openHouse();
  const { rig } = house;
  const args = [String(rig.port), ca.certFile, staff.fullchainFile, staff.keyFile];
  const { stdout, stderr } = await run('python3', ['-c', python, ...args]);
  assert.notEqual(stdout, '', stderr);
  const found = JSON.parse(stdout);
  assert.match(found['/one'] + found['/two'], /server1:8081 \/one[\s\S]*server1:8081 \/two/);
  assert.equal(found.post, 50_000);
  assert.match(found.tunnel, /server1:8081 \/inside/);
  assert.match(found.refused, /403/);
});

test('Node’s http.request: through a TLS socket in absolute form, and inside CONNECT', async () => {
  await using house = await openHouse();
  const { rig } = house;
  const get = async (path: string, socket: Duplex): Promise<string> => {
    const asked = httpRequest({ path, headers: { host: 'server1:8081' }, createConnection: () => socket });
    asked.end();
    const [answer] = await once(asked, 'response');
    let text = '';
    for await (const chunk of answer) text += chunk;
    return text;
  };
  assert.match(await get('http://server1:8081/absolute', await rig.tls({ identity: staff })), /\/absolute/);
  const proxy = await rig.tls({ identity: staff });
  const connecting = httpRequest({ method: 'CONNECT', path: 'server1:8081', createConnection: () => proxy });
  connecting.end();
  const [answer, socket] = (await once(connecting, 'connect')) as [{ statusCode: number }, Duplex];
  assert.equal(answer.statusCode, 200);
  assert.match(await get('/inside', socket), /server1:8081 \/inside/);
});
