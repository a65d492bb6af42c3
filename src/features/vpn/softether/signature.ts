// What tells a SoftEther client from a browser: the probe it sends first, and the picture that it posts.
import { createHash } from 'node:crypto';
import type { Request } from './http.ts';

/** The picture's first 1,411 bytes are the same in every SoftEther client since 4.x; up to 2,000 random ones follow. */
const picture = {
  bytes: 1411,
  sha256: '96a706bbab378ec37dfef21e02b1a3c177fbebeffa039eb0efac918630df12a0',
} as const;
const plainSignature = 'VPNCONNECT';

export const signaturePath = '/vpnsvc/connect.cgi';
export const packPath = '/vpnsvc/vpn.cgi';

export function isSignature(body: Uint8Array): boolean {
  if (body.length === plainSignature.length) return Buffer.from(body).toString('latin1') === plainSignature;
  if (body.length < picture.bytes) return false;
  return createHash('sha256').update(body.subarray(0, picture.bytes)).digest('hex') === picture.sha256;
}

export const isProbe = ({ method, target, headers }: Request): boolean =>
  method === 'GET' && target === '/' && headers.has('x-vpn');

/** The client goes on only when the page it gets on its probe has this tag among its first 1,023 bytes. */
export const probePage: Buffer = Buffer.from(
  '<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1>' +
    '<!-- 9C37197CA7C2428388C2E6E59B829B30 --></body></html>\n',
);

/** How much of a request is looked at for the probe's header; the real client sends it first. */
const probeWithin = 2048;

/**
 * Whether the first bytes of a conn are SoftEther's: its probe, or one of its two paths. Other requests for `/` are held
 * back only until their header block is there.
 */
export function claimsSoftEther(bytes: Uint8Array): boolean | 'more' {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, probeWithin)).toString('latin1');
  for (const start of [`POST ${signaturePath} `, `POST ${packPath} `]) {
    if (text.startsWith(start)) return true;
    if (start.startsWith(text)) return 'more';
  }
  const probe = 'GET / HTTP/1.1\r\n';
  if (probe.startsWith(text)) return 'more';
  if (!text.startsWith(probe)) return false;
  const head = text.split('\r\n\r\n', 1)[0] ?? '';
  if (/\r\nX-VPN:/i.test(head)) return true;
  return head.length < text.length || text.length >= probeWithin ? false : 'more';
}
