// A real PostgreSQL of its own for one test file, on a unix socket in a folder of its own.
import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = '/usr/lib/postgresql';

/** The folder of the newest server's programs, or none. */
export function postgresBin(): string | undefined {
  if (!existsSync(root)) return undefined;
  const version = readdirSync(root).sort((a, b) => Number(b) - Number(a))[0];
  return version && existsSync(join(root, version, 'bin', 'initdb')) ? join(root, version, 'bin') : undefined;
}

export interface Postgres extends Disposable {
  /** A fresh, empty database. */
  database(): string;
  /** Ends every connection to the database in the URL, as an administrator would. */
  disconnect(url: string): void;
}

/** Starts a server; as root it runs as the user postgres, since it refuses to run as root. */
export function startPostgres(): Postgres {
  const bin = postgresBin() ?? '';
  const folder = mkdtempSync(join(tmpdir(), 'sekisho-pg-'));
  const isRoot = process.getuid?.() === 0;
  const run = (program: string, args: string[], input?: string): string => {
    const command = [join(bin, program), ...args];
    const [first = '', ...rest] = isRoot
      ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', ...command]
      : command;
    const result = spawnSync(first, rest, {
      encoding: 'utf8',
      cwd: folder,
      input,
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    });
    if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.stderr || result.error?.message}`);
    return result.stdout;
  };
  if (isRoot) {
    const id = (flag: string): number => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout);
    chownSync(folder, id('-u'), id('-g'));
  }
  const data = join(folder, 'data');
  run('initdb', ['-D', data, '-A', 'trust', '-U', 'gate', '--no-sync']);
  run('pg_ctl', [
    '-D',
    data,
    '-w',
    '-l',
    join(folder, 'log'),
    '-o',
    `-c listen_addresses= -c unix_socket_directories=${folder} -c fsync=off`,
    'start',
  ]);
  const sql = (text: string): string =>
    run('psql', ['-h', folder, '-U', 'gate', '-d', 'postgres', '-v', 'ON_ERROR_STOP=1', '-Atc', text]);
  let count = 0;
  return {
    database() {
      const name = `gate${++count}`;
      sql(`create database ${name}`);
      return `postgres://gate@/${name}?host=${encodeURIComponent(folder)}`;
    },
    disconnect(url) {
      sql(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${new URL(url.replace('@/', '@x/')).pathname.slice(1)}'`,
      );
    },
    [Symbol.dispose]() {
      run('pg_ctl', ['-D', data, '-m', 'immediate', '-w', 'stop']);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
