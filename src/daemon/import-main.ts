// The main context of nginx.conf: processes, users, logs. Most of it is the business of whoever runs the gate.
import { directiveText, type ImportRow } from '../wire/import-report.ts';
import type { Directive } from '../wire/nginx-conf.ts';

export interface MainImport {
  /** Rows of everything but the stream and http blocks. */
  readonly rows: readonly ImportRow[];
}

type Verdict = Pick<ImportRow, 'status' | 'reason' | 'todo'>;

const ignore = (reason: string): Verdict => ({ status: 'ignored', reason });
const refuse = (reason: string, todo: string): Verdict => ({ status: 'refused', reason, todo });

const table: Readonly<Record<string, (directive: Directive) => Verdict>> = {
  user: () => ignore("Sekisho keeps the user it is started as; systemd's User= or the shell decides"),
  pid: () => ignore('no pid file is written; systemd or the shell knows the process'),
  lock_file: () => ignore('no lock file is needed'),
  daemon: () => ignore('it stays in the foreground'),
  master_process: () => ignore('the gate process and its workers stand in its place'),
  events: () => ignore("connections are bounded by each route's limits and by the system"),
  error_log: () => ignore('the log goes to stderr; `log: { file: …, level: … }` changes that'),
  worker_rlimit_nofile: () => ignore("the system's limit stands: LimitNOFILE= in systemd, ulimit -n in the shell"),
  worker_rlimit_core: () => ignore("the system's limit stands"),
  worker_priority: () => ignore('Nice= in systemd does it'),
  worker_cpu_affinity: () => ignore('CPUAffinity= in systemd does it'),
  worker_shutdown_timeout: () => ignore('`gate: { drain: … }` says how long connections may go on after SIGTERM'),
  working_directory: () => ignore('it is only for core files'),
  timer_resolution: () => ignore('it only tunes speed'),
  pcre_jit: () => ignore('it only tunes speed'),
  thread_pool: () => ignore('it only tunes speed'),
  debug_points: () => ignore('it is for debugging nginx'),
  ssl_object_cache_inheritable: () => ignore('certificates are read anew when they change'),
  quic_bpf: () => ignore('it only tunes speed'),
  env: () => ignore('the environment is passed on as it is'),
  load_module: loadModule,
  ssl_engine: () => refuse('keys in hardware are out of scope', 'give the key as a file'),
  mail: () => refuse('mail is not proxied', 'keep nginx for it, or write its ports as routes'),
  google_perftools_profiles: () => ignore('it is for profiling nginx'),
  http: () => refuse('"http" directive is duplicate', 'join the two blocks; nginx does not start with both'),
};

export function convertMain(directives: readonly Directive[]): MainImport {
  const rows: ImportRow[] = [];
  const firsts = ['stream', 'http'].map(name => directives.find(one => one.name === name && one.block));
  for (const directive of directives) {
    if (firsts.includes(directive)) continue;
    rows.push(row(directive, verdict(directive)));
    if (directive.name === 'events')
      for (const one of directive.block ?? []) rows.push(row(one, ignore("the system's event loop stands")));
  }
  return { rows };
}

const row = (directive: Directive, said: Verdict): ImportRow => ({
  ...said,
  at: directive.at,
  directive: directiveText(directive),
});

function verdict(directive: Directive): Verdict {
  const { name } = directive;
  if (name === 'worker_processes') return readWorkers(directive);
  if (name === 'stream')
    return refuse('"stream" directive is duplicate', 'join the two blocks; nginx does not start with both');
  if (Object.hasOwn(table, name)) return (table[name] as (one: Directive) => Verdict)(directive);
  if (['server', 'upstream', 'map', 'location'].includes(name)) {
    return refuse(
      `"${name}" stands outside of stream {} and http {}`,
      'import the main nginx.conf, which includes this file',
    );
  }
  return refuse('the importer does not know this directive', 'find out what it does for you, and write that by hand');
}

function readWorkers({ args }: Directive): Verdict {
  const [count = ''] = args;
  if (count === 'auto') return { status: 'converted', reason: 'it is the default: as many workers as cores' };
  if (!/^[1-9]\d{0,4}$/.test(count))
    return refuse('invalid number of worker processes', 'write gate: { workers: auto }');
  return {
    status: 'noted',
    reason: `there are as many workers as cores; gate: { workers: ${count}, listen: … } sets it, and opens the gate's own port`,
  };
}

function loadModule({ args }: Directive): Verdict {
  const module = /([^/]*)\.so$/.exec(args[0] ?? '')?.[1] ?? args[0] ?? '';
  if (/^ngx_stream(_ssl|_ssl_preread|_realip)?_module$/.test(module)) return ignore('it is built in');
  if (/^ngx_(http|mail)_/.test(module)) return ignore('it serves http {} or mail {} only');
  return refuse(`${module} is a program of its own`, 'find out what it does for you, and write that by hand');
}
