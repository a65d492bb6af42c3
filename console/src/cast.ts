// A recording (asciicast v2) as a page plays it: what the screen was told, and when; long silences are cut short.

export interface Cast {
  readonly title: string;
  readonly columns: number;
  readonly rows: number;
  readonly events: readonly CastEvent[];
}
export interface CastEvent {
  /** Milliseconds after the one before. */
  readonly after: number;
  readonly print?: Uint8Array;
  readonly size?: { readonly columns: number; readonly rows: number };
}

/** Milliseconds that nothing may happen for. */
const longestSilence = 2000;

/** Undefined for what is no recording. A last line that was cut by a crash is left out. */
export function readCast(text: string): Cast | undefined {
  const [first = '', ...lines] = text.split('\n');
  const header = parse(first) as { version?: number; title?: string; width?: number; height?: number } | undefined;
  if (header?.version !== 2) return undefined;
  const encoder = new TextEncoder();
  const events: CastEvent[] = [];
  let before = 0;
  for (const line of lines) {
    const event = parse(line);
    if (!Array.isArray(event) || typeof event[0] !== 'number' || typeof event[2] !== 'string') continue;
    const [at, kind, data] = event as [number, string, string];
    const after = Math.min(longestSilence, Math.max(0, (at - before) * 1000));
    before = at;
    const [columns = 0, rows = 0] = kind === 'r' ? data.split('x').map(Number) : [];
    if (kind === 'o') events.push({ after, print: encoder.encode(data) });
    else if (columns > 1 && rows > 0) events.push({ after, size: { columns, rows } });
  }
  return { title: header.title ?? '', columns: header.width ?? 80, rows: header.height ?? 24, events };
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
