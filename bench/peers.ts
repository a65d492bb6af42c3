// What is measured: Sekisho as a user runs it, and peers from Debian with one worker each. Configurations from templates.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** terminate: TLS in, plain out. originate: plain in, TLS out. plain: neither. */
export type Way = 'terminate' | 'originate' | 'plain';
export const ways: readonly Way[] = ['terminate', 'originate', 'plain'];

/** What a program under test is told. Paths are absolute. */
export interface Setup {
  readonly way: Way;
  readonly listen: number;
  readonly backend: number;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** A directory of its own, for its configuration. */
  readonly dir: string;
}

export interface Peer {
  readonly name: string;
  /** Its version, or undefined where it is not installed. */
  version(): string | undefined;
  /** Writes its configuration; what to run then, in the foreground. */
  prepare(setup: Setup): readonly string[];
}

export const peers: readonly Peer[] = [
  {
    name: 'nginx',
    version: () => versionOf('nginx', ['-v'], /nginx\/\S+/),
    prepare(setup) {
      const { way, listen, backend, cert, key, ca, dir } = setup;
      const stream = [
        `server { listen 127.0.0.1:${listen}${way === 'terminate' ? ' ssl' : ''} backlog=8192;`,
        ...(way === 'terminate'
          ? [`ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3;`]
          : []),
        ...(way === 'originate'
          ? [
              `proxy_ssl on; proxy_ssl_server_name on; proxy_ssl_name localhost; proxy_ssl_verify on;`,
              `proxy_ssl_trusted_certificate ${ca}; proxy_ssl_protocols TLSv1.2 TLSv1.3;`,
            ]
          : []),
        `proxy_pass 127.0.0.1:${backend}; }`,
      ];
      const module = '/usr/lib/nginx/modules/ngx_stream_module.so';
      const config = [
        ...(existsSync(module) ? [`load_module ${module};`] : []),
        'daemon off; worker_processes 1; worker_rlimit_nofile 20000;',
        `error_log ${dir}/error.log crit; pid ${dir}/nginx.pid;`,
        'events { worker_connections 15000; }',
        // The same work as ours: a line for each session.
        `stream { log_format basic '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time';`,
        `access_log ${dir}/access.log basic; ${stream.join('\n')} }`,
      ];
      return ['nginx', '-p', dir, '-c', write(dir, 'nginx.conf', config)];
    },
  },
  {
    name: 'HAProxy',
    version: () => versionOf('haproxy', ['-v'], /version (\S+)/),
    prepare({ way, listen, backend, cert, key, ca, dir }) {
      spawnSync('sh', ['-c', `cat "${cert}" "${key}" > "${dir}/both.pem"`]);
      const config = [
        'global',
        '  nbthread 1',
        '  maxconn 9000',
        'defaults',
        '  mode tcp',
        '  timeout connect 10s',
        '  timeout client 10m',
        '  timeout server 10m',
        'frontend in',
        `  bind 127.0.0.1:${listen}${way === 'terminate' ? ` ssl crt ${dir}/both.pem` : ''} backlog 8192`,
        '  default_backend out',
        'backend out',
        `  server one 127.0.0.1:${backend}${way === 'originate' ? ` ssl verify required ca-file ${ca} sni str(localhost)` : ''}`,
      ];
      return ['haproxy', '-db', '-f', write(dir, 'haproxy.cfg', config)];
    },
  },
  {
    name: 'stunnel',
    version: () => versionOf('stunnel', ['-version'], /stunnel (\S+)/),
    prepare({ way, listen, backend, cert, key, ca, dir }) {
      const config = [
        'foreground = yes',
        'debug = 3',
        `pid = ${dir}/stunnel.pid`,
        `output = ${dir}/stunnel.log`,
        'socket = l:TCP_NODELAY=1',
        'socket = r:TCP_NODELAY=1',
        '[one]',
        `accept = 127.0.0.1:${listen}`,
        `connect = 127.0.0.1:${backend}`,
        ...(way === 'originate'
          ? ['client = yes', 'verifyChain = yes', `CAfile = ${ca}`, 'checkHost = localhost', 'sni = localhost']
          : [`cert = ${cert}`, `key = ${key}`]),
      ];
      if (way === 'plain') return []; // stunnel always speaks TLS on one side
      return ['stunnel', write(dir, 'stunnel.conf', config)];
    },
  },
];

/**
 * Sekisho with policy, audit on disk and access log on. `workers`: 0 carries the bytes in the gate process, 1 in a worker
 * beside it, and then both processes are counted.
 */
export function sekisho(name: string, workers: number, root: string): Peer {
  return {
    name,
    version: () => (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version,
    prepare({ way, listen, backend, cert, key, ca, dir }) {
      const config = [
        `gate: { listen: 'unix:${dir}/gate.sock', workers: ${workers} }`,
        `log: { file: '${dir}/sekisho.log', access: { file: '${dir}/access.log' } }`,
        'proxy:',
        '  bench:',
        `    listen: ${way === 'terminate' ? 'tls' : 'tcp'}://127.0.0.1:${listen}`,
        `    to: ${way === 'originate' ? 'tls' : 'tcp'}://127.0.0.1:${backend}`,
        ...(way === 'terminate' ? [`    certificate: { cert: 'file:${cert}', key: 'file:${key}' }`] : []),
        ...(way === 'originate' ? [`    verify: { ca: 'file:${ca}', name: localhost }`] : []),
      ];
      const file = write(dir, 'sekisho.yaml', config);
      return [process.execPath, join(root, 'src/main.ts'), 'up', '-c', file, '--data', join(dir, 'data')];
    },
  };
}

function versionOf(program: string, args: string[], pattern: RegExp): string | undefined {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  const match = error ? undefined : pattern.exec(`${stdout}${stderr}`);
  return match?.[1] ?? match?.[0];
}

function write(dir: string, name: string, lines: readonly string[]): string {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}
