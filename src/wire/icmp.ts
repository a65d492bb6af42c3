// ICMP (RFC 792): echo, and "unreachable" with the beginning of what could not be delivered.
//
//    0      1      2          4                   8
//   | type | code | checksum | id 2 | sequence 2 | data …             8 echo request, 0 echo reply
//   | 3    | code | checksum | 0 2  | MTU 2      | IP header + 8 bytes of what came
import { Fault } from '../core/fault.ts';
import { putU16, u16 } from './bytes.ts';
import { checksum } from './checksum.ts';

export const icmpTypes: Readonly<Record<'echoReply' | 'unreachable' | 'echo', number>> = {
  echoReply: 0,
  unreachable: 3,
  echo: 8,
};
/** Codes of "unreachable" (RFC 792, RFC 1812 §5.2.7.1). */
export const unreachable: Readonly<Record<'network' | 'host' | 'protocol' | 'port' | 'prohibited', number>> = {
  network: 0,
  host: 1,
  protocol: 2,
  port: 3,
  prohibited: 13,
};

export interface IcmpMessage {
  readonly type: number;
  readonly code: number;
  /** The second word: id and sequence of an echo. */
  readonly id: number;
  readonly sequence: number;
  readonly data: Uint8Array;
}

/** @throws Fault `protocol` */
export function decodeIcmp(bytes: Uint8Array): IcmpMessage {
  if (bytes.length < 8) throw new Fault('protocol', 'the ICMP message is truncated');
  if (checksum(bytes, 0, bytes.length) !== 0) throw new Fault('protocol', 'the ICMP message has a wrong checksum');
  return { type: bytes[0]!, code: bytes[1]!, id: u16(bytes, 4), sequence: u16(bytes, 6), data: bytes.subarray(8) };
}

export function encodeIcmp({ type, code, id, sequence, data }: IcmpMessage): Uint8Array {
  const bytes = new Uint8Array(8 + data.length);
  bytes[0] = type;
  bytes[1] = code;
  putU16(bytes, 4, id);
  putU16(bytes, 6, sequence);
  bytes.set(data, 8);
  putU16(bytes, 2, checksum(bytes, 0, bytes.length));
  return bytes;
}

/** The message that says why `packet` (from its IPv4 header on) went nowhere. */
export const encodeUnreachable = (code: number, packet: Uint8Array): Uint8Array =>
  encodeIcmp({
    type: icmpTypes.unreachable,
    code,
    id: 0,
    sequence: 0,
    data: packet.subarray(0, Math.min(packet.length, ((packet[0] ?? 0x45) & 15) * 4 + 8)),
  });
