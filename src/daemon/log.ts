// core's Log over pino: JSON lines, or readable ones on a terminal; secrets are taken out before anything is written.
import pino, { type Logger } from 'pino';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { prettyLine } from './log-pretty.ts';
import { redact } from './redact.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: 'auto' | 'json' | 'pretty';
  /** Absolute path; default: stderr. Made with mode 0640. */
  readonly file?: string;
  /** Facts of every line, for example the worker's number. */
  readonly base?: object;
  /** Receives the lines instead of stderr, for tests. */
  readonly write?: (line: string) => void;
}

export type LogPlace = Pick<LogOptions, 'level' | 'format' | 'file'>;

export interface RootLog extends Log {
  /** Another level, form or file. @throws Fault `invalid` when the file cannot be opened; then nothing has changed */
  change(next: LogPlace): void;
  /** Opens the file anew (after logrotate moved it away). Does nothing on stderr. */
  reopen(): void;
  close(): void;
}

/** Lines that a full disk or a stuck reader may hold back, in characters; more are dropped. */
const backlog = 1024 * 1024;

/** @throws Fault `invalid` when the file cannot be opened. */
export function createLog(options: LogOptions): RootLog {
  let outlet = openOutlet(options);
  const logger = pino(
    {
      level: 'debug',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
    },
    { write: line => outlet.write(line) },
  );
  const threshold = { rank: ranks[options.level] };
  return {
    ...wrap(logger.child(redact(options.base ?? {}) as object), threshold),
    change(next) {
      if (next.file !== outlet.file || next.format !== outlet.format) {
        const before = outlet;
        outlet = openOutlet({ ...next, ...(options.write ? { write: options.write } : {}) });
        before.close();
      }
      threshold.rank = ranks[next.level];
    },
    reopen: () => outlet.reopen(),
    close: () => outlet.close(),
  };
}

interface Outlet extends Pick<LogOptions, 'file' | 'format'> {
  write(line: string): void;
  reopen(): void;
  close(): void;
}

/** Where lines go, and how they look there. @throws Fault `invalid` */
function openOutlet({ file, format, write }: Pick<LogOptions, 'file' | 'format' | 'write'>): Outlet {
  const isTerminal = file === undefined && process.stderr.isTTY === true;
  const isPretty = format === 'pretty' || (format === 'auto' && isTerminal);
  const colours = isPretty && isTerminal && !process.env['NO_COLOR'];
  const sink = write ? undefined : openSink(file);
  const put = write ?? ((line: string) => void sink?.write(line));
  return {
    ...{ format, ...(file === undefined ? {} : { file }) },
    write: isPretty ? line => put(prettyLine(line, colours)) : put,
    reopen: () => sink?.reopen(),
    close: () => {
      sink?.flushSync();
      if (file !== undefined) sink?.end();
    },
  };
}

const ranks: Readonly<Record<LogLevel, number>> = { debug: 20, info: 30, warn: 40, error: 50 };

/** The level is asked here and not in pino, whose children keep the level they were made with. */
function wrap(logger: Logger, threshold: { readonly rank: number }): Log {
  const at =
    (level: LogLevel) =>
    (facts: object, text: string): void => {
      if (ranks[level] >= threshold.rank) logger[level](redact(facts) as object, text);
    };
  return {
    child: facts => wrap(logger.child(redact(facts) as object), threshold),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  };
}

function openSink(file: string | undefined) {
  try {
    const sink = pino.destination({ dest: file ?? 2, append: true, sync: true, maxLength: backlog, mode: 0o640 });
    sink.on('error', () => {}); // a full disk or a closed terminal must not end the gate; the audit notices a full disk
    return sink;
  } catch (error) {
    throw new Fault(
      'invalid',
      `log.file: ${file} cannot be opened (${(error as NodeJS.ErrnoException).code}); check the path and its permissions`,
      {
        cause: error,
      },
    );
  }
}
