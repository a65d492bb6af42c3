// PEM blocks ⇄ DER (RFC 7468).
import { Fault } from '../core/fault.ts';

/** Every block with this label, as DER; a file without PEM is taken as one DER. @throws Fault `invalid` */
export function derBlocks(file: string | Uint8Array, label: string): readonly Uint8Array[] {
  const text = typeof file === 'string' ? file : Buffer.from(file).toString('latin1');
  if (!text.includes('-----BEGIN ')) {
    // 0x30 is SEQUENCE, the first byte of every DER certificate and list.
    if (typeof file !== 'string' && file[0] === 0x30) return [file];
    throw new Fault('invalid', `there is no ${label} in it; it should hold "-----BEGIN ${label}-----"`);
  }
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g)];
  const found = blocks.filter(([, kind]) => kind === label || aliases[kind ?? ''] === label);
  if (found.length === 0) {
    const others = [...new Set(blocks.map(([, kind]) => kind))].join(', ') || 'a broken block';
    throw new Fault('invalid', `there is no ${label} in it, but ${others}`);
  }
  return found.map(([, , body = '']) => Buffer.from(body, 'base64'));
}
const aliases: Record<string, string> = { 'X509 CERTIFICATE': 'CERTIFICATE', CRL: 'X509 CRL' };

export function toPem(label: string, der: Uint8Array): string {
  const body = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
