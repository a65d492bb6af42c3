// A packet from the hub that is larger than the member's link takes: cut into fragments, or its sender is told (RFC 1191).
import { putU16, u16, u32 } from '../../../wire/bytes.ts';
import { checksum } from '../../../wire/checksum.ts';
import { encodeIcmp, icmpTypes } from '../../../wire/icmp.ts';
import { protocols, writeIpv4 } from '../../../wire/ipv4.ts';

const moreFragments = 0x2000;
const dontFragment = 0x4000;

export const mayNotBeCut = (packet: Uint8Array): boolean => (u16(packet, 6) & dontFragment) !== 0;

/** RFC 791 §2.3. Packets with options are few, and are lost instead. */
export function fragments(packet: Uint8Array, mtu: number): Uint8Array[] {
  if (packet[0] !== 0x45) return [];
  const flags = u16(packet, 6);
  const step = (mtu - 20) & ~7;
  const parts: Uint8Array[] = [];
  for (let at = 20; at < packet.length; at += step) {
    const body = packet.subarray(at, at + step);
    const part = new Uint8Array(20 + body.length);
    part.set(packet.subarray(0, 20));
    part.set(body, 20);
    const isLast = at + step >= packet.length;
    putU16(part, 2, part.length);
    putU16(part, 6, ((flags & 0x1fff) + ((at - 20) >> 3)) | (isLast ? flags & moreFragments : moreFragments));
    putU16(part, 10, 0);
    putU16(part, 10, checksum(part, 0, 20));
    parts.push(part);
  }
  return parts;
}

/**
 * "Fragmentation needed" from the member's own address, with the size that fits; never about ICMP errors themselves or
 * later fragments (RFC 1122 §3.2.2).
 */
export function tooBig(packet: Uint8Array, mtu: number): Uint8Array | undefined {
  const head = (packet[0]! & 15) * 4;
  const isError =
    packet[9] === protocols.icmp && packet[head] !== icmpTypes.echo && packet[head] !== icmpTypes.echoReply;
  const isFirst = (u16(packet, 6) & 0x1fff) === 0;
  if (isError || !isFirst || u32(packet, 16) >>> 28 === 14) return undefined;
  const original = packet.subarray(0, head + 8);
  const body = encodeIcmp({ type: icmpTypes.unreachable, code: 4, id: 0, sequence: mtu, data: original });
  const answer = new Uint8Array(20 + body.length);
  const fixed = { protocol: protocols.icmp, ttl: 64, id: 0, flags: dontFragment, length: answer.length };
  writeIpv4(answer, 0, { ...fixed, source: u32(packet, 16), target: u32(packet, 12) });
  answer.set(body, 20);
  return answer;
}
