// Bytes for people: offset, hex, and the characters where there are any.

const width = 16;

/** `0000  47 45 54 20 2f …  GET /…`, sixteen bytes a line. */
export function hexLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += width) {
    const row = [...bytes.subarray(at, at + width)];
    const hex = row.map(byte => byte.toString(16).padStart(2, '0')).join(' ');
    const text = row.map(byte => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
    lines.push(`${at.toString(16).padStart(4, '0')}  ${hex.padEnd(width * 3 - 1)}  ${text}`);
  }
  return lines;
}

/** Starts with a TLS handshake record (RFC 8446 §5.1): type 22, version 3.x. */
export const looksEncrypted = (bytes: Uint8Array): boolean => bytes[0] === 22 && bytes[1] === 3;
