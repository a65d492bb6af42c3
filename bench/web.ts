// The web gate, both ways, beside nginx: small answers on kept connections, a big one down, a big one up, and bytes through CONNECT,
// each per CPU-second of the process under test. `node bench/web.ts [seconds]`; needs nginx.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';

const seconds = Number(process.argv[2] ?? 4);
const connections = 32;
const big = 256 * 1024 * 1024;
const main = join(import.meta.dirname, '../src/main.ts');
const dir = mkdtempSync(join(tmpdir(), 'sekisho-bench-web-'));
chmodSync(dir, 0o755); // nginx's worker is nobody
const data = join(dir, 'data');
const [gatePort, nginxPort, originPort, sinkPort] = await freePorts(4);
const cleanups: (() => void)[] = [() => rmSync(dir, { recursive: true, force: true })];

/** The site: another nginx, which is fast enough not to be what is measured. Uploads go to a sink of our own. */
writeFileSync(join(dir, 'small'), 'x'.repeat(200));
writeFileSync(join(dir, 'big'), '');
truncateSync(join(dir, 'big'), big);
const common = (name: string, http: string): string => {
  const path = join(dir, `${name}.conf`);
  const lines = `daemon off; worker_processes 1; pid ${dir}/${name}.pid; error_log ${dir}/${name}.log crit; events { worker_connections 4096; } http { access_log off; keepalive_requests 1000000000; client_max_body_size 0; client_body_temp_path ${dir}/${name}-body; proxy_temp_path ${dir}/${name}-proxy; ${http} }`;
  writeFileSync(path, lines);
  return path;
};
start('nginx', [
  '-p',
  dir,
  '-c',
  common('origin', `sendfile on; server { listen 127.0.0.1:${originPort}; root ${dir}; }`),
]);
const sink = createServer(socket => void answerUploads(socket)).listen(sinkPort, '127.0.0.1');
cleanups.push(() => sink.close());

writeFileSync(
  join(dir, 'sekisho.yaml'),
  `gate: { name: localhost, listen: "tls://127.0.0.1:${gatePort}", workers: 0 }
access: [ { allow: web.request, who: { user: staff01 }, to: web/* } ]
web:
  domain: bench.test
  sites: { site: { to: "http://127.0.0.1:${originPort}/" }, sink: { to: "http://127.0.0.1:${sinkPort}/" } }
  forward: { hosts: { site: "tcp://127.0.0.1:${originPort}", sink: "tcp://127.0.0.1:${sinkPort}" } }
log: { level: warn }
`,
);
const gate = start(process.execPath, [
  ...(process.env['PROFILE'] ? ['--cpu-prof', `--cpu-prof-dir=${process.env['PROFILE']}`] : []),
  main,
  'up',
  '-c',
  join(dir, 'sekisho.yaml'),
  '--data',
  data,
]);
await listening(gatePort);
execFileSync(process.execPath, [main, 'cert', 'issue', 'staff01', '--pem', dir, '--data', data]);
execFileSync(
  'openssl',
  [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost',
    '-keyout',
    join(dir, 'n.key'),
    '-out',
    join(dir, 'n.crt'),
  ],
  { stdio: 'ignore' },
);
const proxy = (name: string, port: number): string =>
  `upstream ${name} { server 127.0.0.1:${port}; keepalive 64; keepalive_requests 1000000000; } server { listen 127.0.0.1:${nginxPort} ssl; server_name ${name}; ssl_certificate ${dir}/n.crt; ssl_certificate_key ${dir}/n.key; ssl_client_certificate ${dir}/chain.pem; ssl_verify_client on; ssl_verify_depth 3; location / { proxy_pass http://${name}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffers 8 32k; } }`;
writeFileSync(
  join(dir, 'chain.pem'),
  readFileSync(join(dir, 'staff01.crt'), 'utf8') + readFileSync(join(dir, 'ca.crt'), 'utf8'),
);
const nginx = start('nginx', ['-p', dir, '-c', common('proxy', proxy('site', originPort) + proxy('sink', sinkPort))]);
await listening(nginxPort);

const [cert, key] = ['staff01.crt', 'staff01.key'].map(file => readFileSync(join(dir, file)));
interface Subject {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly url: (site: string, path: string) => string;
  /** The server name for a site. */
  readonly server: (site: string) => string;
  readonly host: (site: string) => string;
}
const subjects: readonly Subject[] = [
  {
    ...{ name: 'nginx', port: nginxPort, pid: nginx.pid ?? 0 },
    ...{ url: (_, path) => path, server: site => site, host: site => site },
  },
  {
    ...{ name: 'forward', port: gatePort, pid: gate.pid ?? 0 },
    ...{ url: (site, path) => `http://${site}${path}`, server: () => 'localhost', host: site => site },
  },
  {
    ...{ name: 'site', port: gatePort, pid: gate.pid ?? 0 },
    ...{ url: (_, path) => path, server: site => `${site}.bench.test`, host: site => `${site}.bench.test` },
  },
];

const rows: [string, string, (subject: Subject) => Promise<number>][] = [
  ['small GET', 'requests', small],
  ['download', 'MB', subject => bulk(subject, 'site', 'GET')],
  ['upload', 'MB', subject => bulk(subject, 'sink', 'PUT')],
];
for (const [title, unit, measure] of rows) {
  const rates: number[] = [];
  for (const subject of subjects) {
    await measure(subject); // warm
    const before = cpu(subject.pid);
    const began = performance.now();
    const work = await measure(subject);
    const wall = (performance.now() - began) / 1000;
    const used = cpu(subject.pid) - before;
    rates.push(work / used);
    process.stdout.write(
      `${title.padEnd(10)} ${subject.name.padEnd(8)} ${Math.round(work / used)} ${unit}/CPU-s  ${Math.round(work / wall)} ${unit}/s  ratio ${((rates.at(-1) ?? 0) / (rates[0] ?? 1)).toFixed(2)}\n`,
    );
  }
}
const connectRate = await (async () => {
  const [, sekisho] = subjects;
  if (!sekisho) return 0;
  const before = cpu(sekisho.pid);
  const work = await tunnelled(sekisho);
  return work / (cpu(sekisho.pid) - before);
})();
process.stdout.write(`CONNECT    sekisho  ${Math.round(connectRate)} MB/CPU-s\n`);
for (const clean of cleanups.reverse()) clean();
process.exitCode = 0;

async function open({ port, server }: Subject, site: string): Promise<TLSSocket> {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port,
    servername: server(site),
    cert,
    key,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  await once(socket, 'secureConnect');
  return socket;
}

async function small(subject: Subject): Promise<number> {
  let done = 0;
  const until = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = await open(subject, 'site');
      const ask = `GET ${subject.url('site', '/small')} HTTP/1.1\r\nHost: ${subject.host('site')}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n`;
      await new Promise<void>(resolve => {
        let got = 0;
        let size = 0;
        socket.on('data', (chunk: Buffer) => {
          if (size === 0) size = chunk.indexOf('\r\n\r\n') + 204;
          got += chunk.length;
          if (got < size) return;
          got = 0;
          size = 0;
          done++;
          if (performance.now() > until) resolve();
          else socket.write(ask);
        });
        socket.write(ask);
      });
      socket.destroy();
    }),
  );
  return done;
}

async function bulk(subject: Subject, site: string, method: 'GET' | 'PUT'): Promise<number> {
  const socket = await open(subject, site);
  const length = method === 'PUT' ? `Content-Length: ${big}\r\n` : '';
  socket.write(
    `${method} ${subject.url(site, '/big')} HTTP/1.1\r\nHost: ${subject.host(site)}\r\n${length}Connection: close\r\n\r\n`,
  );
  if (method === 'PUT') await pour(socket);
  await drainAll(socket);
  return big / 1e6;
}

async function tunnelled(subject: Subject): Promise<number> {
  const socket = await open(subject, 'site');
  socket.write('CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\n\r\n');
  await once(socket, 'data');
  socket.write('GET /big HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n');
  await drainAll(socket);
  return big / 1e6;
}

async function pour(socket: Socket): Promise<void> {
  const block = Buffer.alloc(1 << 18);
  for (let sent = 0; sent < big; sent += block.length) if (!socket.write(block)) await once(socket, 'drain');
}

function drainAll(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    socket.on('data', () => {});
    socket.on('close', () => resolve());
    socket.on('end', () => socket.end());
  });
}

/** Reads a PUT to its end, then answers. */
function answerUploads(socket: Socket): void {
  let left = -1;
  socket.on('error', () => {});
  socket.on('data', chunk => {
    let body = chunk.length;
    if (left < 0) {
      left = big;
      body -= chunk.indexOf('\r\n\r\n') + 4;
    }
    left -= body;
    if (left <= 0) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
  });
}

/** Seconds that a process and its children have used. */
function cpu(pid: number): number {
  const children = readdirSync(`/proc/${pid}/task`).flatMap(task => {
    const text = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  });
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const own = (Number(fields[11]) + Number(fields[12])) / 100;
  return children.reduce((sum, child) => sum + cpu(child), own);
}

function start(program: string, args: readonly string[]) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  cleanups.push(() => child.kill('SIGTERM'));
  return child;
}

async function listening(port: number): Promise<void> {
  for (;;) {
    const { connect } = await import('node:net');
    const socket = connect(port, '127.0.0.1');
    const stands = await new Promise(resolve =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    socket.destroy();
    if (stands) return;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}

async function freePorts(count: number): Promise<[number, number, number, number]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map(server => once(server, 'listening')));
  const ports = servers.map(server => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports as [number, number, number, number];
}
