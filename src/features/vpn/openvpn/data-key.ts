// One key of the data channel: how it is derived, and packets sealed and opened under it (AEAD only).
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { opcodes } from '../../../wire/openvpn.ts';
import { ReplayWindow } from './replay-window.ts';

/** In the order of our preference. */
export const dataCiphers = {
  'AES-256-GCM': { name: 'aes-256-gcm', key: 32 },
  'AES-128-GCM': { name: 'aes-128-gcm', key: 16 },
  'CHACHA20-POLY1305': { name: 'chacha20-poly1305', key: 32 },
} as const;
export type DataCipher = keyof typeof dataCiphers;

/** The first of ours that the client has. */
export const chooseCipher = (offered: readonly string[]): DataCipher | undefined =>
  (Object.keys(dataCiphers) as DataCipher[]).find(name => offered.some(other => other.toUpperCase() === name));

/** 4 × 64 bytes: the client's cipher and HMAC, then the server's. */
export const keyMaterialLength = 256;
/** RFC 5705, as 2.6 asks for it. */
export const exporterLabel = 'EXPORTER-OpenVPN-datakeys';

export interface Randoms {
  readonly preMaster: Buffer;
  readonly client: readonly [Buffer, Buffer];
  readonly server: readonly [Buffer, Buffer];
  readonly clientSession: Buffer;
  readonly serverSession: Buffer;
}
/** As before 2.6: the PRF of TLS 1.0, twice. */
export function expandKeys({ preMaster, client, server, clientSession, serverSession }: Randoms): Buffer {
  const label = (text: string): Buffer => Buffer.from(text, 'latin1');
  const master = prf(preMaster, [label('OpenVPN master secret'), client[0], server[0]], 48);
  const seed = [label('OpenVPN key expansion'), client[1], server[1], clientSession, serverSession];
  return prf(master, seed, keyMaterialLength);
}

/** RFC 2246 §5. */
function prf(secret: Buffer, seed: readonly Buffer[], length: number): Buffer {
  const half = Math.ceil(secret.length / 2);
  const [md5, sha1] = [
    stretch('md5', secret.subarray(0, half), Buffer.concat(seed), length),
    stretch('sha1', secret.subarray(secret.length - half), Buffer.concat(seed), length),
  ];
  return Buffer.from(md5.map((byte, index) => byte ^ sha1[index]!));
}
function stretch(hash: string, secret: Buffer, seed: Buffer, length: number): Buffer {
  const mac = (...parts: Buffer[]): Buffer => createHmac(hash, secret).update(Buffer.concat(parts)).digest();
  const blocks: Buffer[] = [];
  let a = seed;
  for (let had = 0; had < length; had += blocks.at(-1)!.length) {
    a = mac(a);
    blocks.push(mac(a, seed));
  }
  return Buffer.concat(blocks).subarray(0, length);
}

interface Way {
  readonly key: Buffer;
  /** The last eight bytes of each nonce. */
  readonly tail: Buffer;
}
export interface DataKeyOptions {
  readonly material: Buffer;
  readonly cipher: DataCipher;
  readonly keyId: number;
  /** What our packets name; absent = V1, for clients that do not know V2. */
  readonly peerId?: number;
  /** A stream brings packets in order; datagrams may overtake each other. */
  readonly ordered: boolean;
  readonly side?: 'server' | 'client';
}

/** Packet numbers have 32 bits; a new key is asked for well before. */
export const lastPacket = 0xff000000;
const tagLength = 16;

export class DataKey {
  readonly keyId: number;
  readonly #cipher: (typeof dataCiphers)[DataCipher]['name'];
  readonly #out: Way;
  readonly #back: Way;
  /** Opcode, and peer id where there is one; the packet's number follows. */
  readonly #head: Buffer;
  readonly #window: ReplayWindow;
  #sent = 0;
  /** One for all packets: OpenSSL copies it when a cipher is made. */
  readonly #nonces = { out: Buffer.alloc(12), back: Buffer.alloc(12) };

  constructor({ material, cipher, keyId, peerId, ordered, side = 'server' }: DataKeyOptions) {
    const { name, key } = dataCiphers[cipher];
    const way = (at: number): Way => ({
      key: material.subarray(at, at + key),
      tail: material.subarray(at + 64, at + 72),
    });
    const ways = [way(0), way(128)] as const;
    [this.#back, this.#out] = side === 'server' ? ways : [ways[1], ways[0]];
    this.keyId = keyId;
    this.#cipher = name;
    this.#head = peerId === undefined ? Buffer.alloc(1) : Buffer.alloc(4);
    if (peerId !== undefined) this.#head.writeUInt32BE(peerId & 0xffffff);
    this.#head[0] = ((peerId === undefined ? opcodes.dataV1 : opcodes.dataV2) << 3) | keyId;
    this.#window = new ReplayWindow(ordered ? 1 : undefined);
    this.#out.tail.copy(this.#nonces.out, 4);
    this.#back.tail.copy(this.#nonces.back, 4);
  }
  get sent(): number {
    return this.#sent;
  }
  get received(): number {
    return this.#window.newest;
  }

  seal(payload: Uint8Array): Buffer {
    const head = this.#head.length;
    const start = head + 4 + tagLength;
    const packet = Buffer.allocUnsafe(start + payload.length);
    this.#head.copy(packet);
    packet.writeUInt32BE(++this.#sent, head);
    const nonce = this.#nonces.out;
    nonce.writeUInt32BE(this.#sent);
    const cipher = createCipheriv(this.#cipher as 'aes-256-gcm', this.#out.key, nonce, { authTagLength: tagLength });
    // V2 authenticates opcode and peer id as well.
    cipher.setAAD(packet.subarray(head === 1 ? 1 : 0, head + 4));
    packet.set(cipher.update(payload), start);
    cipher.final();
    packet.set(cipher.getAuthTag(), head + 4);
    return packet;
  }
  /** undefined: changed, of another key, or seen before. */
  open(packet: Buffer): Buffer | undefined {
    const head = packet[0]! >> 3 === opcodes.dataV2 ? 4 : 1;
    const start = head + 4 + tagLength;
    if (packet.length <= start) return undefined;
    const id = packet.readUInt32BE(head);
    if (!this.#window.mayCome(id)) return undefined;
    const nonce = this.#nonces.back;
    nonce.writeUInt32BE(id);
    const decipher = createDecipheriv(this.#cipher as 'aes-256-gcm', this.#back.key, nonce, {
      authTagLength: tagLength,
    });
    decipher.setAAD(packet.subarray(head === 1 ? 1 : 0, head + 4));
    decipher.setAuthTag(packet.subarray(head + 4, start));
    const payload = decipher.update(packet.subarray(start));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    this.#window.came(id);
    return payload;
  }
}
