// SSTP packets ([MS-SSTP] §2.2): control messages with attributes, and PPP frames, inside one TLS stream.
//
//    0    1        2                        4
//   | 10 | C = 1  | reserved 4, length 12  | control: type 2 | attributes 2 | attributes …
//   | 10 | 0      | length of all of it    | data: one PPP frame
//
//   attribute:              | 0 | id | reserved 4, length 12 | value …                 the length counts these 4 bytes
//   1 encapsulated protocol | 00 01 = PPP |
//   2 status                | 0 3 | attribute id | status 4 | value that was wrong, up to 64
//   4 binding request       | 0 3 | hashes: 1 SHA-1, 2 SHA-256 | nonce 32 |
//   3 binding               | 0 3 | hash | nonce 32 | certificate's hash 32 | MAC 32 |      SHA-1 fills 20 of 32
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { Fault } from '../core/fault.ts';
import { u16, u32 } from './bytes.ts';

export const sstpTypes = {
  connectRequest: 1,
  connectAck: 2,
  connectNak: 3,
  connected: 4,
  abort: 5,
  disconnect: 6,
  disconnectAck: 7,
  echoRequest: 8,
  echoResponse: 9,
} as const;
export const sstpAttributes = { none: 0, protocol: 1, status: 2, binding: 3, bindingRequest: 4 } as const;
/** [MS-SSTP] §2.2.7. */
export const sstpStatus = {
  none: 0,
  duplicateAttribute: 1,
  unknownAttribute: 2,
  wrongLength: 3,
  notSupported: 4,
  unexpected: 5,
  tooManyRetries: 6,
  invalidFrame: 7,
  timeout: 8,
  attributeNotSupported: 9,
  attributeMissing: 10,
  statusNotSupported: 11,
} as const;
export const sstpHashes = { sha1: 1, sha256: 2 } as const;
/** The 12 bits of a length hold no more. */
export const sstpMost = 4095;

export interface SstpAttribute {
  readonly id: number;
  readonly value: Uint8Array;
}
export type SstpPacket =
  | { readonly kind: 'control'; readonly type: number; readonly attributes: readonly SstpAttribute[]; raw: Uint8Array }
  | { readonly kind: 'data'; readonly frame: Uint8Array };

/** Whole packets out of a stream's chunks; views into them where they came in one piece. */
export class SstpDecoder {
  #rest: Buffer = Buffer.alloc(0);

  /** @throws Fault `protocol` */
  push(chunk: Buffer): SstpPacket[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const packets: SstpPacket[] = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = u16(bytes, at + 2) & 0xfff;
      if (bytes[at] !== 0x10) throw wrong('is of another version');
      if (length < 4) throw wrong('is shorter than its head');
      if (bytes.length - at < length) break;
      packets.push(decodeSstp(bytes.subarray(at, at + length)));
      at += length;
    }
    this.#rest = Buffer.from(bytes.subarray(at));
    return packets;
  }
}

/** One whole packet. Reserved bits are ignored (§2.2.1). @throws Fault `protocol` */
export function decodeSstp(bytes: Uint8Array): SstpPacket {
  if ((bytes[1]! & 1) === 0) return { kind: 'data', frame: bytes.subarray(4) };
  if (bytes.length < 8) throw wrong('is a control message without a type');
  const count = u16(bytes, 6);
  const attributes: SstpAttribute[] = [];
  let at = 8;
  for (let number = 0; number < count; number++) {
    const length = at + 4 <= bytes.length ? u16(bytes, at + 2) & 0xfff : 0;
    if (length < 4 || at + length > bytes.length) throw wrong('has a broken attribute');
    attributes.push({ id: bytes[at + 1]!, value: bytes.subarray(at + 4, at + length) });
    at += length;
  }
  if (at !== bytes.length) throw wrong('is longer than its attributes');
  return { kind: 'control', type: u16(bytes, 4), attributes, raw: bytes };
}

export function encodeSstpControl(type: number, attributes: readonly SstpAttribute[] = []): Buffer {
  const length = attributes.reduce((sum, { value }) => sum + 4 + value.length, 8);
  const bytes = Buffer.alloc(length);
  bytes[0] = 0x10;
  bytes[1] = 1;
  bytes.writeUInt16BE(length, 2);
  bytes.writeUInt16BE(type, 4);
  bytes.writeUInt16BE(attributes.length, 6);
  let at = 8;
  for (const { id, value } of attributes) {
    bytes[at + 1] = id;
    bytes.writeUInt16BE(value.length + 4, at + 2);
    bytes.set(value, at + 4);
    at += 4 + value.length;
  }
  return bytes;
}

/** PPP frames, a data packet each, in one buffer for one write. `heads` are what precedes each payload. */
export function encodeSstpData(payloads: readonly Uint8Array[], head: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(payloads.reduce((sum, one) => sum + 4 + head.length + one.length, 0));
  let at = 0;
  for (const payload of payloads) {
    const length = 4 + head.length + payload.length;
    bytes[at] = 0x10;
    bytes[at + 1] = 0;
    bytes.writeUInt16BE(length, at + 2);
    bytes.set(head, at + 4);
    bytes.set(payload, at + 4 + head.length);
    at += length;
  }
  return bytes;
}

export const statusAttribute = (attribute: number, status: number): SstpAttribute => {
  const value = Buffer.alloc(8);
  value[3] = attribute;
  value.writeUInt32BE(status, 4);
  return { id: sstpAttributes.status, value };
};
/** Of a message that carries one. */
export function statusOf(attributes: readonly SstpAttribute[]): number | undefined {
  const found = attributes.find(({ id, value }) => id === sstpAttributes.status && value.length >= 8);
  return found && u32(found.value, 4);
}

export const bindingRequest = (hashes: number, nonce: Uint8Array): SstpAttribute => ({
  id: sstpAttributes.bindingRequest,
  value: Buffer.concat([Uint8Array.of(0, 0, 0, hashes), nonce]),
});

export interface BindingFacts {
  readonly nonce: Uint8Array;
  /** DER of the certificate that this connection showed. */
  readonly certificate: Uint8Array;
  /** Higher-layer authentication key: 32 bytes, zeros for methods that make no key. */
  readonly key: Uint8Array;
}
const bindingLength = 100;

/**
 * Whether Call Connected comes from the end that saw our certificate and passed the PPP authentication (§3.2.5.2): a man
 * in the middle has another certificate, and cannot make the MAC. Says what is wrong, or nothing.
 */
export function judgeBinding(raw: Uint8Array, { nonce, certificate, key }: BindingFacts): string | undefined {
  if (raw.length !== 8 + 4 + bindingLength || raw[9] !== sstpAttributes.binding) return 'it has no crypto binding';
  const hash = raw[15];
  const name = hash === sstpHashes.sha256 ? 'sha256' : hash === sstpHashes.sha1 ? 'sha1' : undefined;
  if (name === undefined) return 'its hash was not offered';
  const size = name === 'sha256' ? 32 : 20;
  if (!same(raw.subarray(16, 48), nonce)) return 'its nonce is not ours';
  const seen = createHash(name).update(certificate).digest();
  if (!same(raw.subarray(48, 48 + size), seen)) return 'the client was shown another certificate';
  return same(raw.subarray(80, 80 + size), bindingMac(raw, name, key)) ? undefined : 'its MAC is wrong';
}

/** The compound MAC over the whole message with a zeroed MAC field (§3.2.5.2.3 and .4). */
export function bindingMac(raw: Uint8Array, hash: 'sha1' | 'sha256', key: Uint8Array): Buffer {
  const size = hash === 'sha256' ? 32 : 20;
  const derived = createHmac(hash, key)
    .update('SSTP inner method derived CMK')
    .update(Uint8Array.of(size, 0, 1))
    .digest();
  const zeroed = Buffer.from(raw);
  zeroed.fill(0, 80, 112);
  return createHmac(hash, derived).update(zeroed).digest();
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);
const wrong = (what: string): Fault => new Fault('protocol', `the SSTP packet ${what}`);
