// Tells a client why its certificate is refused. Node lets every handshake succeed and leaves the verdict to its user,
// who can then only hang up; the client would see a reset and no reason. The alert is therefore written here.
import { createCipheriv, createHmac } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

/** RFC 8446 §6.2, by OpenSSL's verification code; what is not listed is unknown_ca, as OpenSSL does it. */
const alerts: Record<string, number> = {
  CERT_HAS_EXPIRED: 45,
  CERT_NOT_YET_VALID: 42,
  CERT_REVOKED: 44,
  CERT_SIGNATURE_FAILURE: 51,
  INVALID_PURPOSE: 43,
  CERT_REJECTED: 42,
  EE_KEY_TOO_SMALL: 42,
};
const unknownCa = 48;

/** Listens for the secret that a TLS 1.3 alert is encrypted under; forget the result as soon as the handshake is judged. */
export function watchSecret(tls: TLSSocket): { secret?: Buffer } {
  const watched: { secret?: Buffer } = {};
  const look = (line: Buffer): void => {
    const found = /^SERVER_TRAFFIC_SECRET_0 \S+ (\S+)/.exec(line.toString('latin1'));
    if (found?.[1]) watched.secret = Buffer.from(found[1], 'hex');
  };
  tls.on('keylog', look);
  tls.once('secure', () => tls.off('keylog', look));
  return watched;
}

/**
 * Writes the alert below the TLS stream and closes the socket. To be called from within the 'secure' event of a full
 * handshake and nowhere else: what OpenSSL has ready at that moment (TLS 1.2: ChangeCipherSpec and Finished, TLS 1.3:
 * session tickets) is not sent yet and never will be. So in TLS 1.2 the client still reads in the clear, and in TLS 1.3
 * the alert is the first record under the server's application secret. Destroying the socket is what keeps the rest from
 * being sent; the TLS stream itself must live until the event is over.
 */
export function refuseCertificate(tls: TLSSocket, raw: Duplex, code: string, secret: Buffer | undefined): void {
  const alert = Buffer.from([2, alerts[code] ?? unknownCa]);
  if (raw instanceof Socket && !tls.isSessionReused()) {
    if (tls.getProtocol() === 'TLSv1.2') raw.write(Buffer.concat([Buffer.from([21, 3, 3, 0, 2]), alert]));
    else if (secret) {
      const record = encrypt(alert, tls.getCipher().name, secret);
      if (record) raw.write(record);
    }
  }
  raw.destroy();
}

const suites: Record<string, { readonly cipher: string; readonly hash: string; readonly key: number }> = {
  TLS_AES_128_GCM_SHA256: { cipher: 'aes-128-gcm', hash: 'sha256', key: 16 },
  TLS_AES_256_GCM_SHA384: { cipher: 'aes-256-gcm', hash: 'sha384', key: 32 },
  TLS_CHACHA20_POLY1305_SHA256: { cipher: 'chacha20-poly1305', hash: 'sha256', key: 32 },
};

/** One TLSCiphertext of type alert with sequence number 0 (RFC 8446 §5.2, §7.3). */
function encrypt(alert: Buffer, name: string, secret: Buffer): Buffer | undefined {
  const suite = suites[name];
  if (!suite) return undefined;
  const key = expandLabel(suite.hash, secret, 'key', suite.key);
  const nonce = expandLabel(suite.hash, secret, 'iv', 12);
  const inner = Buffer.concat([alert, Buffer.from([21])]);
  const header = Buffer.from([23, 3, 3, 0, inner.length + 16]);
  const cipher = createCipheriv(suite.cipher as 'aes-128-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(header, { plaintextLength: inner.length });
  return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
}

/** HKDF-Expand-Label with an empty context; at most one block (RFC 8446 §7.1). */
function expandLabel(hash: string, secret: Buffer, label: string, length: number): Buffer {
  const full = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([0, length, full.length]), full, Buffer.from([0, 1])]);
  return createHmac(hash, secret).update(info).digest().subarray(0, length);
}
