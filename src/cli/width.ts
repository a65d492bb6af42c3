// How many columns a text takes on a terminal, and how to make a text of strangers harmless there.

/** East Asian wide and fullwidth ranges, and emoji (Unicode EAW W and F, coarsely): each takes two columns. */
const wide: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x2329, 0x232a],
  [0x2e80, 0x303e],
  [0x3041, 0x33ff],
  [0x3400, 0x4dbf],
  [0x4e00, 0x9fff],
  [0xa000, 0xa4cf],
  [0xa960, 0xa97f],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe10, 0xfe19],
  [0xfe30, 0xfe6f],
  [0xff01, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1faff],
  [0x20000, 0x3fffd],
];
const nothing = /^[\p{Mn}\p{Me}\p{Cf}]$/u;

/** Columns of a text without escape sequences. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) {
    const code = segment.codePointAt(0) ?? 0;
    if (code < 0x20 || nothing.test(String.fromCodePoint(code))) continue;
    width += wide.some(([from, to]) => code >= from && code <= to) ? 2 : 1;
  }
  return width;
}
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Fills up to `width` columns. */
export function pad(text: string, width: number, right = false): string {
  const room = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return right ? room + text : text + room;
}

/** Cuts to `width` columns, the last of them an ellipsis. */
export function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let out = '';
  let used = 0;
  for (const { segment } of graphemes.segment(text)) {
    const next = used + displayWidth(segment);
    if (next > width - 1) break;
    out += segment;
    used = next;
  }
  return `${out}…`;
}

/**
 * Names, subjects and reasons come from strangers. Control characters could move the cursor or rename the window, and
 * direction overrides could show a name backwards: both are written out instead (ESC → \x1b, U+202E → \u202e).
 */
export function harmless(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]/g, found => {
    const code = found.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

/** Of several lines, each. */
export const harmlessLines = (text: string): string =>
  /[^\n\x20-\x7e]/.test(text) ? text.split('\n').map(harmless).join('\n') : text;

/** JSON escapes most control characters itself; the rest is written so that it reads as the same text. */
export const harmlessJson = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]/g,
    found => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
