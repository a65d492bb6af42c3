// Telling the end of a TLS stream from its being cut off. close_notify is an end; a FIN without it is a truncation
// (RFC 8446 §6.1), which an attacker on the path can cause. Whoever asks for it (`close-notify: required`) has it fail.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { layOver, Reset } from './reset.ts';

interface Handle {
  reading?: boolean;
  readStart?(): number;
  readStop?(): number;
  onread?: (this: unknown, data?: ArrayBuffer) => unknown;
}
const handleOf = (stream: Duplex): Handle | undefined => (stream as unknown as { _handle?: Handle })._handle;

/**
 * Makes a TLS stream fail with ECONNRESET instead of ending when the TCP connection below ends first, in the handshake
 * and, if `strict`, after it; Node reports that as a proper end, and in the handshake not at all. To be called right after the
 * TLSSocket is made.
 *
 * The two ends are told apart by libuv's state at that moment: at a FIN it has stopped reading the TCP socket by itself,
 * at a close_notify it is still reading (unless we had paused it, and then no FIN can have been read). Where these
 * internals are missing (another runtime, no TCP socket below), an end is taken for what it says.
 */
export function failWhenTruncated(tls: TLSSocket, raw: Duplex, strict: boolean): void {
  layOver(tls, raw);
  const upper = handleOf(tls);
  const lower = raw instanceof Socket ? handleOf(raw) : undefined;
  const original = upper?.onread;
  if (!upper || !original) return;
  let state: 'handshake' | 'open' = 'handshake';
  tls.once('secure', () => {
    state = 'open';
  });
  upper.onread = function onread(this: unknown, data?: ArrayBuffer): unknown {
    // No data: an end or an error; after an error the stream is destroyed.
    if (data !== undefined) return original.call(this, data);
    const truncated = state === 'handshake' || (strict && upper.reading !== false && lower?.readStart?.() === 0);
    if (!truncated) return original.call(this, data);
    lower?.readStop?.();
    // What was received before is still to be read; the failure comes in the place of the end.
    if (tls.readableLength > 0) tls.prependListener('end', () => tls.destroy(new Reset()));
    const result = original.call(this, data);
    if (tls.readableLength === 0) tls.destroy(new Reset());
    return result;
  };
}
