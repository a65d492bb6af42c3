// What an SSTP call begins with: a request that looks like HTTP and is none ([MS-SSTP] §2.2.5). Not llhttp: it knows
// neither the method nor a length of 2^64 - 1.
import { Fault } from '../../../core/fault.ts';

const method = 'SSTP_DUPLEX_POST';
const path = '/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/';
/** Both sides say it: as long as the connection lives. */
const length = '18446744073709551615';
export const mostHead = 4096;

/** Whether the first bytes of a conn are SSTP's. */
export function claimsSstp(bytes: Uint8Array): boolean | 'more' {
  const start = `${method} `;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, start.length)).toString('latin1');
  if (text === start) return true;
  return start.startsWith(text) ? 'more' : false;
}

/** What is wrong with it is a status line to answer. @throws Fault `protocol` for what is no request */
export function parseSstpRequest(bytes: Buffer): { readonly wrong?: string; readonly used: number } | 'more' {
  const end = bytes.subarray(0, mostHead).indexOf('\r\n\r\n');
  if (end < 0) {
    if (bytes.length >= mostHead) throw new Fault('protocol', 'the SSTP request is longer than 4 KiB');
    return 'more';
  }
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const used = end + 4;
  const [, target] = /^SSTP_DUPLEX_POST ([\x21-\x7e]+) HTTP\/1\.1$/.exec(first) ?? [];
  if (target === undefined) return { wrong: '400 Bad Request', used };
  if (target.toLowerCase() !== path.toLowerCase()) return { wrong: '404 Not Found', used };
  const lengths = lines.filter(line => /^content-length:/i.test(line)).map(line => line.slice(15).trim());
  const isFine =
    lengths.length === 1 && lengths[0] === length && !lines.some(line => /^transfer-encoding:/i.test(line));
  return isFine ? { used } : { wrong: '400 Bad Request', used };
}

/** sstpc looks for exactly this length, Windows for the status. */
export const accepted = (now: Date): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: ${now.toUTCString()}\r\n\r\n`;
export const refusedWith = (status: string): string =>
  `HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
