// The web gate beside nginx (a reverse proxy that asks for client certificates) and Squid (CONNECT over TLS): small
// answers on kept connections, a big one down, a big one up, bytes through CONNECT, each per CPU-second of the process
// under test, in alternating turns; then the slowest hundredth at half load. `node bench/web.ts [seconds] [rounds] [only]`;
// needs nginx and squid. PROFILE=DIR writes a CPU profile of the gate; BESIDE=DIR takes another checkout of Sekisho in
// nginx's and Squid's place, so that a change is measured beside what was before it; FLAGS are Node's, for that one.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { freePorts } from '../test/fixtures/ports.ts';

const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 3);
const only = process.argv[4];
const connections = 32;
const big = 256 * 1024 * 1024;
const main = join(import.meta.dirname, '../src/main.ts');
const dir = mkdtempSync(join(tmpdir(), 'sekisho-bench-web-'));
chmodSync(dir, 0o777); // nginx's worker is nobody, and Squid is not root either
const [gatePort = 0, nginxPort = 0, originPort = 0, sinkPort = 0, squidPort = 0, otherPort = 0] = await freePorts(6);
const otherTree = process.env['BESIDE'];
const cleanups: (() => void)[] = [() => rmSync(dir, { recursive: true, force: true })];
process.on('exit', () => {
  for (const clean of cleanups.splice(0).reverse()) clean();
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(1));

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

/** A gate of its own data, and the certificate that it lets in. */
async function startGate(main: string, name: string, port: number) {
  const folder = join(dir, name);
  const data = join(folder, 'data');
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'sekisho.yaml'),
    `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }
access: [ { allow: web.request, who: { user: staff01 }, to: web/* } ]
web:
  forward: { hosts: { site: "tcp://127.0.0.1:${originPort}", sink: "tcp://127.0.0.1:${sinkPort}" } }
  domain: bench.test
  sites: { site: { to: "http://127.0.0.1:${originPort}/" }, sink: { to: "http://127.0.0.1:${sinkPort}/" } }
log: { level: warn }
`,
  );
  const profile = process.env['PROFILE'];
  const child = start(process.execPath, [
    ...(name === 'other' ? (process.env['FLAGS']?.split(' ') ?? []) : []),
    ...(profile && name === 'gate' ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []),
    ...[main, 'up', '-c', join(folder, 'sekisho.yaml'), '--data', data],
  ]);
  await listening(port);
  while (!existsSync(join(data, 'sekisho.sock'))) await new Promise(resolve => setTimeout(resolve, 50));
  execFileSync(process.execPath, [main, 'cert', 'issue', 'staff01', '--pem', folder, '--data', data]);
  const [cert = '', key = ''] = ['staff01.crt', 'staff01.key'].map(file => readFileSync(join(folder, file), 'utf8'));
  return { pid: child.pid ?? 0, port, cert, key, ca: readFileSync(join(folder, 'ca.crt'), 'utf8') };
}
const gate = await startGate(main, 'gate', gatePort);
const other = otherTree ? await startGate(join(otherTree, 'src/main.ts'), 'other', otherPort) : undefined;
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
writeFileSync(join(dir, 'chain.pem'), gate.cert + gate.ca);
const nginx = start('nginx', ['-p', dir, '-c', common('proxy', proxy('site', originPort) + proxy('sink', sinkPort))]);
await listening(nginxPort);

const { cert, key } = gate;
// Debian's Squid (GnuTLS) cannot ask for client certificates: its handshakes are cheaper, its bytes cost the same.
const squidConf = join(dir, 'squid.conf');
writeFileSync(
  squidConf,
  `https_port 127.0.0.1:${squidPort} tls-cert=${dir}/n.crt tls-key=${dir}/n.key
http_access allow all
cache deny all
access_log none
cache_log ${dir}/squid.log
pid_filename ${dir}/squid.pid
coredump_dir ${dir}
workers 1
visible_hostname localhost
cache_effective_user proxy
`,
);
chmodSync(join(dir, 'n.key'), 0o644);
const squid = start('squid', ['-N', '-n', `bench${process.pid}`, '-f', squidConf]);
await listening(squidPort);

interface Subject {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly cert: string;
  readonly key: string;
  readonly url: (site: string, path: string) => string;
  /** The server name, and the Host. */
  readonly host: (site: string) => string;
}
const pools = new Map<Subject, Promise<TLSSocket[]>>();
const sekisho: Subject = {
  ...{ name: 'sekisho', ...gate },
  url: (site, path) => `http://${site}${path}`,
  host: () => 'localhost',
};
/** The same process, its renamed sites. */
const renamed: Subject = { ...sekisho, name: 'sites', url: (_, path) => path, host: site => `${site}.bench.test` };
const nginxSubject: Subject = {
  ...{ name: 'nginx', port: nginxPort, pid: nginx.pid ?? 0, cert, key },
  url: (_, path) => path,
  host: site => site,
};
const squidSubject: Subject = {
  ...{ name: 'squid', port: squidPort, pid: squid.pid ?? 0, cert, key },
  url: (_, path) => path,
  host: site => site,
};

const otherWay: Subject = { ...sekisho, ...other, name: 'other' };
const [beside, besideSites, besideTunnel] = other
  ? [otherWay, { ...renamed, ...other, name: 'other' }, otherWay]
  : [nginxSubject, nginxSubject, squidSubject];

const rows: [
  title: string,
  unit: string,
  peer: Subject,
  ours: Subject,
  measure: (subject: Subject) => Promise<number>,
][] = [
  ['small GET', 'requests', beside, sekisho, small],
  ['small GET, sites', 'requests', besideSites, renamed, small],
  ['download', 'MB', beside, sekisho, subject => bulk(subject, 'site', 'GET')],
  ['download, sites', 'MB', besideSites, renamed, subject => bulk(subject, 'site', 'GET')],
  ['upload', 'MB', beside, sekisho, subject => bulk(subject, 'sink', 'PUT')],
  ['upload, sites', 'MB', besideSites, renamed, subject => bulk(subject, 'sink', 'PUT')],
  ['CONNECT', 'MB', besideTunnel, sekisho, tunnelled],
];
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
for (const [title, unit, peer, ours, measure] of rows) {
  if (only !== undefined && !title.startsWith(only)) continue;
  const ratios: number[] = [];
  const rates: Record<string, number[]> = { [peer.name]: [], [ours.name]: [] };
  await measure(ours); // warm
  await measure(peer);
  for (let round = 0; round < rounds; round++) {
    const turn: number[] = [];
    for (const subject of [peer, ours]) {
      const before = cpu(subject.pid);
      const work = await measure(subject);
      turn.push(work / (cpu(subject.pid) - before));
      rates[subject.name]?.push(turn.at(-1) ?? 0);
    }
    ratios.push((turn[1] ?? 0) / (turn[0] ?? 1));
  }
  process.stdout.write(
    `${title.padEnd(16)} ${peer.name} ${Math.round(median(rates[peer.name] ?? []))} sekisho ${Math.round(median(rates[ours.name] ?? []))} ${unit}/CPU-s  ratio ${median(ratios).toFixed(2)} (${ratios.map(one => one.toFixed(2)).join(' ')})\n`,
  );
}
if (only === undefined || only === 'p99') {
  // Half of what the gate does at most, for both.
  const began = performance.now();
  const most = (await small(sekisho)) / ((performance.now() - began) / 1000);
  const delays: Record<string, number[]> = { [beside.name]: [], sekisho: [] };
  await small(beside); // warm
  for (let round = 0; round < rounds; round++)
    for (const subject of [beside, sekisho]) delays[subject.name]?.push(await slowest(subject, most / 2));
  const [theirs = [], ours = []] = [delays[beside.name], delays['sekisho']];
  const ratios = ours.map((one, at) => one / (theirs[at] ?? 1));
  process.stdout.write(
    `p99 at ${Math.round(most / 2)} requests/s: ${beside.name} ${median(theirs).toFixed(2)} ms, sekisho ${median(ours).toFixed(2)} ms, ratio ${median(ratios).toFixed(2)} (${ratios.map(one => one.toFixed(2)).join(' ')})\n`,
  );
}
process.exit();

/** Milliseconds that 99 of 100 answers stay below, at `rate` requests a second over all connections. */
async function slowest(subject: Subject, rate: number): Promise<number> {
  const delays: number[] = [];
  const gap = (connections * 1000) / rate;
  // Kept connections that have asked once: handshakes and the opening of sessions have rows of their own.
  const sockets = await kept(subject);
  const until = performance.now() + seconds * 1000;
  await Promise.all(
    sockets.map(async (socket, at) => {
      let due = performance.now() + (gap * at) / connections;
      while (due < until) {
        await new Promise(resolve => setTimeout(resolve, Math.max(0, due - performance.now())));
        const asked = performance.now();
        socket.write(`GET ${subject.url('site', '/small')} HTTP/1.1\r\nHost: ${subject.host('site')}\r\n\r\n`);
        await once(socket, 'data');
        delays.push(performance.now() - asked);
        due += gap;
      }
    }),
  );
  return delays.toSorted((a, b) => a - b)[Math.floor(delays.length * 0.99)] ?? 0;
}

async function open({ port, host, cert, key }: Subject, site: string): Promise<TLSSocket> {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port,
    servername: host(site),
    cert,
    key,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  await once(socket, 'secureConnect');
  return socket;
}

/** Connections that are opened once: new ones cost what other rows measure. */
function kept(subject: Subject): Promise<TLSSocket[]> {
  const pool = pools.get(subject) ?? Promise.all(Array.from({ length: connections }, () => open(subject, 'site')));
  pools.set(subject, pool);
  return pool;
}

async function small(subject: Subject): Promise<number> {
  let done = 0;
  const until = performance.now() + seconds * 1000;
  await Promise.all(
    (await kept(subject)).map(async socket => {
      const ask = `GET ${subject.url('site', '/small')} HTTP/1.1\r\nHost: ${subject.host('site')}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n`;
      await new Promise<void>(resolve => {
        let got = 0;
        let size = 0;
        const take = (chunk: Buffer): void => {
          if (size === 0) size = chunk.indexOf('\r\n\r\n') + 204;
          got += chunk.length;
          if (got < size) return;
          got = 0;
          size = 0;
          done++;
          if (performance.now() < until) return void socket.write(ask);
          socket.off('data', take);
          resolve();
        };
        socket.on('data', take);
        socket.write(ask);
      });
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
  const target = subject.name === 'squid' ? `127.0.0.1:${originPort}` : 'site:80';
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
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
  const child = spawn(program, args, { stdio: 'ignore' });
  cleanups.push(() => child.kill('SIGTERM'));
  return child;
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    if (tries > 600) throw new Error(`nothing listens on ${port}`);
    const socket = connect(port, '127.0.0.1');
    const stands = await new Promise(resolve =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    socket.destroy();
    if (stands) return;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}
