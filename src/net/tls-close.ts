// Telling the end of a TLS stream from its being cut off. close_notify is an end; a FIN without it is a truncation
// (RFC 8446 §6.1), which an attacker on the path can cause, and must not pass for an end.
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { layOver, Reset } from './reset.ts';

interface Handle {
  reading?: boolean;
  readStart?(): number;
  readStop?(): number;
  onread?: (this: unknown, data?: ArrayBuffer) => unknown;
}

/**
 * Makes a truncated TLS stream fail with ECONNRESET instead of ending; call it once the handshake is done. Node reports
 * both as the same end. They are told apart by libuv's state at that moment: at a FIN it has stopped reading the TCP
 * socket by itself, at a close_notify it is still reading (unless we had paused it, and then no FIN can have been read).
 * Where these internals are missing (another runtime), an end is taken for what it says.
 */
export function failWhenTruncated(tls: TLSSocket, raw: Socket): void {
  layOver(tls, raw);
  const upper = (tls as unknown as { _handle?: Handle })._handle;
  const lower = (raw as unknown as { _handle?: Handle })._handle;
  const original = upper?.onread;
  if (!upper || !original || typeof lower?.readStart !== 'function') return;
  upper.onread = function onread(this: unknown, data?: ArrayBuffer): unknown {
    // No data: an end or an error; after an error the stream is destroyed.
    if (data !== undefined || upper.reading === false || lower.readStart?.() !== 0) return original.call(this, data);
    lower.readStop?.();
    // What was received before is still to be read; the failure comes in the place of the end.
    if (tls.readableLength > 0) tls.prependListener('end', () => tls.destroy(new Reset()));
    const result = original.call(this, data);
    if (tls.readableLength === 0) tls.destroy(new Reset());
    return result;
  };
}
