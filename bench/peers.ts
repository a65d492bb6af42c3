// The peers from Debian: one worker each, logs off, a configuration from a template.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
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
        `stream { access_log off; ${stream.join('\n')} }`,
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
