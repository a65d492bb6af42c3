// OpenVPN's packets, as version 2 of the protocol has them; there is no specification but its source (ssl_pkt.c, reliable.c).
//
//    0                        1               9                                    n
//   | opcode 5 bits, key id 3 | session id 8 | acks 1 | ack 4 … | far session 8 | packet id 4 | TLS bytes …   control
//                                                                 only with acks  not in ACK
//   | opcode 5 bits, key id 3 | peer id 3 | packet id 4 | tag 16 | ciphertext …                               data, V2
//   | opcode 5 bits, key id 3 |             packet id 4 | tag 16 | ciphertext …                               data, V1
//
// Over TCP each packet has its length before it, in two bytes. tls-crypt puts | packet id 4 | time 4 | tag 32 | behind the
// session id, and encrypts the rest.
import { Fault } from '../core/fault.ts';

export const opcodes = {
  softReset: 3,
  control: 4,
  ack: 5,
  dataV1: 6,
  hardResetClient: 7,
  hardResetServer: 8,
  dataV2: 9,
  hardResetClientV3: 10,
} as const;
export type ControlOpcode = Exclude<
  (typeof opcodes)[keyof typeof opcodes],
  typeof opcodes.dataV1 | typeof opcodes.dataV2 | typeof opcodes.hardResetClientV3
>;
const controls: ReadonlySet<number> = new Set([
  opcodes.softReset,
  opcodes.control,
  opcodes.ack,
  opcodes.hardResetClient,
  opcodes.hardResetServer,
]);

/** Of a packet. `control`: TLS bytes that one of ours carries; others read at least 1,250 bytes in all. */
export const packetLimits = { most: 2048, acks: 8, control: 1100 } as const;

export interface ControlPacket {
  readonly opcode: ControlOpcode;
  readonly keyId: number;
  /** Whose packet it is. */
  readonly session: Uint8Array;
  readonly acks: readonly number[];
  /** Whose packets are acknowledged; with acks only. */
  readonly far?: Uint8Array;
  /** Absent in an ACK. */
  readonly id?: number;
  readonly payload: Uint8Array;
}

export const opcodeOf = (packet: Uint8Array): number => (packet[0] ?? 0) >> 3;
export const keyIdOf = (packet: Uint8Array): number => (packet[0] ?? 0) & 7;
export const isControl = (packet: Uint8Array): boolean => controls.has(opcodeOf(packet));
export const isData = (packet: Uint8Array): boolean =>
  opcodeOf(packet) === opcodes.dataV1 || opcodeOf(packet) === opcodes.dataV2;
/** The packet's sender; undefined for what is too short. */
export const sessionOf = (packet: Buffer): Buffer | undefined =>
  packet.length < 9 ? undefined : packet.subarray(1, 9);

/** @throws Fault `protocol` */
export function decodeControl(packet: Buffer): ControlPacket {
  const opcode = opcodeOf(packet);
  if (!controls.has(opcode)) throw wrong('is no control packet');
  if (packet.length < 10 || packet.length > packetLimits.most) throw wrong('has an impossible length');
  const count = packet[9]!;
  if (count > packetLimits.acks) throw wrong('acknowledges too much at once');
  let at = 10;
  const need = (bytes: number): number => {
    const from = at;
    at += bytes;
    if (at > packet.length) throw wrong('is truncated');
    return from;
  };
  const acks = Array.from({ length: count }, () => packet.readUInt32BE(need(4)));
  const from = count > 0 ? need(8) : 0;
  const id = opcode === opcodes.ack ? undefined : packet.readUInt32BE(need(4));
  return {
    opcode: opcode as ControlOpcode,
    keyId: keyIdOf(packet),
    session: packet.subarray(1, 9),
    acks,
    ...(count > 0 ? { far: packet.subarray(from, from + 8) } : {}),
    ...(id === undefined ? {} : { id }),
    payload: opcode === opcodes.control ? packet.subarray(at) : empty,
  };
}

export function encodeControl({ opcode, keyId, session, acks, far, id, payload }: ControlPacket): Buffer {
  const withFar = acks.length > 0 && far;
  const bytes = Buffer.alloc(10 + acks.length * 4 + (withFar ? 8 : 0) + (id === undefined ? 0 : 4) + payload.length);
  bytes[0] = (opcode << 3) | keyId;
  bytes.set(session, 1);
  bytes[9] = acks.length;
  let at = 10;
  for (const ack of acks) at = bytes.writeUInt32BE(ack, at);
  if (withFar) {
    bytes.set(far, at);
    at += 8;
  }
  if (id !== undefined) at = bytes.writeUInt32BE(id, at);
  bytes.set(payload, at);
  return bytes;
}

/** Packets out of a TCP stream. Holds at most one unfinished packet. */
export class PacketSplitter {
  #held: Buffer = empty;

  /** @throws Fault `protocol` for a length that no packet has */
  push(chunk: Buffer): Buffer[] {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const packets: Buffer[] = [];
    let at = 0;
    while (bytes.length - at >= 2) {
      const length = bytes.readUInt16BE(at);
      if (length === 0 || length > packetLimits.most) throw wrong(`claims ${length} bytes`);
      if (bytes.length - at - 2 < length) break;
      packets.push(bytes.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    this.#held = at === bytes.length ? empty : Buffer.from(bytes.subarray(at));
    return packets;
  }
}

export const tcpFrame = (packets: readonly Uint8Array[]): Buffer => {
  const bytes = Buffer.allocUnsafe(packets.reduce((sum, { length }) => sum + 2 + length, 0));
  let at = 0;
  for (const packet of packets) {
    at = bytes.writeUInt16BE(packet.length, at);
    bytes.set(packet, at);
    at += packet.length;
  }
  return bytes;
};

/**
 * Whether the first bytes of a TCP connection are OpenVPN's: a short length, and a client's reset with key id 0. TLS
 * begins with 16, HTTP with a letter.
 */
export function claimsOpenVpn(bytes: Uint8Array): boolean | 'more' {
  if (bytes.length === 0) return 'more';
  if (bytes[0]! > 4) return false;
  if (bytes.length < 3) return 'more';
  const length = (bytes[0]! << 8) | bytes[1]!;
  return length >= 14 && (bytes[2] === opcodes.hardResetClient << 3 || bytes[2] === opcodes.hardResetClientV3 << 3);
}

const empty: Buffer = Buffer.alloc(0);
const wrong = (what: string): Fault => new Fault('protocol', `an OpenVPN packet ${what}`);
