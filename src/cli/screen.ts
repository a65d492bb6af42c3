// What commands write with: tables and facts for people, JSON for programs, remarks on stderr.
import { randomUUID } from 'node:crypto';
import type { Io } from './command.ts';
import { cut, displayWidth, harmless, harmlessJson, harmlessLines, pad } from './width.ts';

export type Tone = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';
const tones: Record<Tone, readonly [string, string]> = {
  bold: ['1', '22'],
  dim: ['2', '22'],
  red: ['31', '39'],
  green: ['32', '39'],
  yellow: ['33', '39'],
  cyan: ['36', '39'],
};

/** A cell: text, or text with a tone. What comes from outside is made harmless here, so commands need not think of it. */
export type Cell = string | number | undefined | { readonly text: string; readonly tone: Tone };
export interface Column {
  readonly title: string;
  readonly right?: boolean;
  /** Gives way first when the terminal is narrow. */
  readonly shrinks?: boolean;
}

export interface Screen {
  /** Of the terminal; undefined where there is none. */
  readonly columns: number | undefined;
  /** One JSON value: indented, for `--json`. */
  json(value: unknown): void;
  /** One JSON value a line, for streams. */
  jsonLine(value: unknown): void;
  /** Lines. Control characters are written out; `harmless` on parts from outside keeps those to their line. */
  line(text?: string): void;
  /** A remark on stderr: progress, hints, warnings. */
  note(text: string): void;
  table(columns: readonly (string | Column)[], rows: readonly (readonly Cell[])[], empty?: string): void;
  /** Names and values below each other; undefined values are left out. */
  facts(pairs: readonly (readonly [string, Cell])[]): void;
  /** A title between parts of the output. */
  heading(text: string): void;
  tone(tone: Tone, text: string): string;
  /** Bytes as they are, with back-pressure. */
  write(chunk: string | Uint8Array): Promise<void>;
  /** Shows what is being waited for, if it takes longer than a second and somebody is watching. */
  progress<T>(label: string, work: Promise<T>): Promise<T>;
}

export function createScreen(io: Io): Screen {
  const { stdout, stderr, env } = io;
  const plain = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  const colours = stdout.isTTY === true && !plain;
  // Our own colours are told from what comes from outside by a word that nobody outside knows.
  const mark = `\x1b${randomUUID()}`;
  const paint = (tone: Tone, text: string): string =>
    colours && text !== '' ? `${mark}${tones[tone][0]}m${text}${mark}${tones[tone][1]}m` : text;
  const clean = (text: string): string => {
    const [first = '', ...painted] = text.split(mark);
    return [
      harmlessLines(first),
      ...painted.map(
        part => `\x1b[${part.slice(0, part.indexOf('m') + 1)}${harmlessLines(part.slice(part.indexOf('m') + 1))}`,
      ),
    ].join('');
  };
  const line = (text = ''): void => void stdout.write(`${clean(text)}\n`);
  const draw = (cell: Cell, fit: (text: string) => string): string => {
    if (typeof cell === 'object') return paint(cell.tone, fit(harmless(cell.text)));
    return fit(harmless(String(cell ?? '')));
  };
  return {
    columns: stdout.isTTY ? stdout.columns : undefined,
    json: value => void stdout.write(`${harmlessJson(JSON.stringify(value, null, 2))}\n`),
    jsonLine: value => void stdout.write(`${harmlessJson(JSON.stringify(value))}\n`),
    line,
    note: text => void stderr.write(`${clean(text)}\n`),
    tone: paint,
    heading: text => line(paint('bold', text)),
    table(columns, rows, empty) {
      if (rows.length === 0) {
        if (empty !== undefined) line(paint('dim', empty));
        return;
      }
      const heads = columns.map(column => (typeof column === 'string' ? { title: column } : column) as Column);
      const widths = fitWidths(heads, rows, stdout.isTTY ? stdout.columns : undefined);
      const last = heads.length - 1;
      const place = (at: number) => (text: string) => {
        const short = cut(text, widths[at] ?? 0);
        return at === last && !heads[at]?.right ? short : pad(short, widths[at] ?? 0, heads[at]?.right);
      };
      line(heads.map(({ title }, at) => paint('dim', place(at)(title.toUpperCase()))).join('  '));
      for (const row of rows)
        line(
          heads
            .map((_, at) => draw(row[at], place(at)))
            .join('  ')
            .trimEnd(),
        );
    },
    facts(pairs) {
      const shown = pairs.filter(([, value]) => value !== undefined);
      const width = Math.max(...shown.map(([name]) => displayWidth(name)));
      for (const [name, value] of shown) line(`${paint('dim', pad(name, width))}  ${draw(value, text => text)}`);
    },
    write: chunk =>
      new Promise((resolve, reject) => {
        io.signal.throwIfAborted();
        stdout.write(chunk, error => (error ? reject(error) : resolve()));
      }),
    async progress(label, work) {
      if (!stderr.isTTY || plain) return work;
      const since = Date.now();
      const timer = setInterval(() => {
        stderr.write(`\r\x1b[K${harmless(label)} … ${Math.round((Date.now() - since) / 1000)} s`);
      }, 1000);
      try {
        return await work;
      } finally {
        clearInterval(timer);
        if (Date.now() - since >= 1000) stderr.write('\r\x1b[K');
      }
    },
  };
}

/** As wide as the widest cell; on a narrow terminal the columns that may shrink give way, down to eight each. */
function fitWidths(heads: readonly Column[], rows: readonly (readonly Cell[])[], limit: number | undefined): number[] {
  const text = (cell: Cell): string => harmless(typeof cell === 'object' ? cell.text : String(cell ?? ''));
  const widths = heads.map(({ title }, at) =>
    Math.max(displayWidth(title), ...rows.map(row => displayWidth(text(row[at])))),
  );
  let over = widths.reduce((sum, width) => sum + width + 2, -2) - (limit ?? Number.POSITIVE_INFINITY);
  for (const shrinking of [true, false]) {
    for (let at = heads.length - 1; at >= 0 && over > 0; at--) {
      if ((heads[at]?.shrinks ?? false) !== shrinking) continue;
      const give = Math.min(over, Math.max(0, (widths[at] ?? 0) - 8));
      widths[at] = (widths[at] ?? 0) - give;
      over -= give;
    }
  }
  return widths;
}
