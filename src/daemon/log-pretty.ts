// A JSON log line → one that a person reads on a terminal.

const marks: Readonly<Record<string, readonly [mark: string, colour: number]>> = {
  debug: ['·', 90],
  info: ['•', 36],
  warn: ['!', 33],
  error: ['✗', 31],
};

/** `12:03:44 • proxy  opened  {route: db}`; a line that is not JSON is given back as it is. */
export function prettyLine(line: string, colours: boolean): string {
  let record: Record<string, unknown>;
  try {
    record = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { time, level, room, msg, ...facts } = record;
  const [mark, colour] = marks[String(level)] ?? ['?', 35];
  const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  const clock = new Date(String(time)).toTimeString().slice(0, 8);
  const shown = Object.entries(facts).map(([key, value]) => `${key}=${plain(value)}`);
  const head = `${paint(90, clock)} ${paint(colour, mark)} ${room === undefined ? '' : `${paint(1, harmless(String(room)))}: `}`;
  return `${head}${harmless(String(msg ?? ''))}${shown.length === 0 ? '' : paint(90, `  ${shown.join(' ')}`)}\n`;
}

const plain = (value: unknown): string => {
  if (typeof value === 'string') return harmless(/[\s"]/.test(value) ? JSON.stringify(value) : value);
  if (typeof value === 'object' && value !== null && 'host' in value && 'port' in value)
    return harmless(`${value.host}:${value.port}`);
  return harmless(JSON.stringify(value));
};

/** A peer's bytes must not steer the terminal. */
const harmless = (text: string): string =>
  text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
