// What a command is: a file that defines itself on a commander Command, and what it is handed to work with.
import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import type { Client } from './client.ts';
import type { Screen } from './screen.ts';

/** The process as a command sees it; tests hand in streams of their own. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(on: boolean): unknown };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts on SIGINT or SIGTERM, or (reason `EPIPE`) when nobody reads stdout any more; long commands end on it. */
  readonly signal: AbortSignal;
}

/** What every command is handed. Options are known once an action runs, so these are getters. */
export interface Context {
  readonly io: Io;
  /** Writes to the terminal: tables for people, JSON for programs. */
  readonly screen: Screen;
  /** `--json`. */
  readonly json: boolean;
  /** The gate's folder, absolute: `--data`, else SEKISHO_DATA, else ./data. */
  readonly data: string;
  /** Whether `--data` or SEKISHO_DATA named it. */
  readonly dataGiven: boolean;
  /** `--gate` or SEKISHO_GATE: the gate's https:// address. */
  readonly gate: string | undefined;
  /** The running gate. @throws Fault `unreachable` with how to start one, `unknown-caller` when nobody is signed in. */
  client(): Promise<Client>;
  /** The exit status of a command that did its work and has bad news; a thrown Fault brings its own. */
  status: number;
}

/**
 * One command's file exports `define`. It is handed a Command that has its name and summary already, and adds
 * arguments, options, examples and actions. Actions throw Faults; they never end the process.
 */
export interface CommandFile {
  readonly define: (command: Command, context: Context) => void;
}

/** Adds the examples at the foot of `--help`. Each is a line as one types it, with an optional remark. */
export function examples(command: Command, ...lines: (readonly [line: string, remark?: string])[]): Command {
  const width = Math.max(...lines.map(([line]) => line.length));
  const text = lines.map(([line, remark]) => `  ${remark ? `${line.padEnd(width)}   # ${remark}` : line}`).join('\n');
  return command.addHelpText('after', `\nExamples:\n${text}`);
}
