// tls-crypt: the control channel under a static key, so that a port does not even answer strangers (tls_crypt.c).
import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';

/** 256 bytes: a cipher's and an HMAC's key of 64 bytes each, for the server's packets, then for the client's. */
export type StaticKey = Buffer;
export const staticKeyLength = 256;

/** How control packets look on the wire. */
export interface Protection {
  wrap(packet: Buffer): Buffer;
  /** undefined: not ours, or changed on the way. */
  unwrap(packet: Buffer): Buffer | undefined;
}
export const unprotected: Protection = { wrap: packet => packet, unwrap: packet => packet };

const head = 9;
const overhead = 8 + 32;

interface Keys {
  readonly cipher: Buffer;
  readonly mac: Buffer;
}
const keysAt = (key: StaticKey, at: number): Keys => ({
  cipher: key.subarray(at, at + 32),
  mac: key.subarray(at + 64, at + 96),
});

/**
 * One side of one connection. What is replayed of it, the reliability layer drops; what is replayed of another has
 * another session id: there is no window here.
 * @param sent packets that went out before, under the same key and session
 */
export function tlsCrypt(key: StaticKey, clock: Clock, side: 'server' | 'client' = 'server', sent = 0): Protection {
  const [out, back] = side === 'server' ? [keysAt(key, 0), keysAt(key, 128)] : [keysAt(key, 128), keysAt(key, 0)];
  const time = Math.floor(clock.now().getTime() / 1000);
  let id = sent;
  return {
    wrap(packet) {
      const plain = packet.subarray(head);
      const open = Buffer.alloc(head + 8);
      packet.copy(open, 0, 0, head);
      open.writeUInt32BE(++id, head);
      open.writeUInt32BE(time, head + 4);
      const tag = macOf(out, open, plain);
      const cipher = createCipheriv('aes-256-ctr', out.cipher, tag.subarray(0, 16));
      return Buffer.concat([open, tag, cipher.update(plain), cipher.final()]);
    },
    unwrap(packet) {
      if (packet.length < head + overhead + 1) return undefined;
      const open = packet.subarray(0, head + 8);
      const tag = packet.subarray(head + 8, head + overhead);
      const decipher = createDecipheriv('aes-256-ctr', back.cipher, tag.subarray(0, 16));
      const plain = Buffer.concat([decipher.update(packet.subarray(head + overhead)), decipher.final()]);
      if (!timingSafeEqual(macOf(back, open, plain), tag)) return undefined;
      return Buffer.concat([packet.subarray(0, head), plain]);
    },
  };
}

const macOf = ({ mac }: Keys, open: Buffer, plain: Buffer): Buffer =>
  createHmac('sha256', mac).update(open).update(plain).digest();

/** As `openvpn --genkey` writes it. */
export const formatStaticKey = (key: StaticKey): string =>
  [
    '-----BEGIN OpenVPN Static key V1-----',
    ...(key.toString('hex').match(/.{32}/g) ?? []),
    '-----END OpenVPN Static key V1-----',
  ].join('\n');
