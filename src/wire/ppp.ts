// PPP frames without HDLC (RFC 1661 §2 and §5), as SSTP carries them: no flags, no stuffing, no FCS.
//
//    0    1    2          4      5    6        8
//   | FF | 03 | protocol | code | id | length | data …                                  length counts from the code on
//     all  UI   0021 IPv4   C021 LCP   C023 PAP   C223 CHAP   8021 IPCP
//
//   options of LCP and IPCP:  | type | length | value …        length counts these two bytes
import { Fault } from '../core/fault.ts';
import { u16 } from './bytes.ts';

export const pppProtocols = {
  ipv4: 0x0021,
  ipcp: 0x8021,
  ipv6cp: 0x8057,
  ccp: 0x80fd,
  lcp: 0xc021,
  pap: 0xc023,
  chap: 0xc223,
} as const;
export const pppCodes = {
  configureRequest: 1,
  configureAck: 2,
  configureNak: 3,
  configureReject: 4,
  terminateRequest: 5,
  terminateAck: 6,
  codeReject: 7,
  protocolReject: 8,
  echoRequest: 9,
  echoReply: 10,
  discardRequest: 11,
} as const;

export interface PppFrame {
  readonly protocol: number;
  readonly payload: Uint8Array;
}
export interface PppPacket {
  readonly code: number;
  readonly id: number;
  readonly data: Uint8Array;
}
export interface PppOption {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Neither field is ever compressed: we reject both options. @throws Fault `protocol` */
export function decodePpp(bytes: Uint8Array): PppFrame {
  if (bytes.length < 4 || bytes[0] !== 0xff || bytes[1] !== 0x03) throw wrong('frame', 'has no address and control');
  const protocol = u16(bytes, 2);
  // RFC 1661 §2: the upper byte is even, the lower one odd.
  if ((protocol & 0x0101) !== 1) throw wrong('frame', 'has no proper protocol number');
  return { protocol, payload: bytes.subarray(4) };
}

export const pppHead = (protocol: number): Uint8Array => Uint8Array.of(0xff, 0x03, protocol >> 8, protocol & 255);

/** What lies behind its length is padding. @throws Fault `protocol` */
export function decodePppPacket(bytes: Uint8Array): PppPacket {
  const length = bytes.length < 4 ? 0 : u16(bytes, 2);
  if (length < 4 || length > bytes.length) throw wrong('packet', 'has a wrong length');
  return { code: bytes[0]!, id: bytes[1]!, data: bytes.subarray(4, length) };
}

export function encodePppPacket({ code, id, data }: PppPacket): Buffer {
  const bytes = Buffer.alloc(4 + data.length);
  bytes[0] = code;
  bytes[1] = id;
  bytes.writeUInt16BE(bytes.length, 2);
  bytes.set(data, 4);
  return bytes;
}

/** @throws Fault `protocol` */
export function decodeOptions(bytes: Uint8Array): PppOption[] {
  const options: PppOption[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = at + 1 < bytes.length ? bytes[at + 1]! : 0;
    if (length < 2 || at + length > bytes.length) throw wrong('packet', 'has a broken option');
    options.push({ type: bytes[at]!, value: bytes.subarray(at + 2, at + length) });
    at += length;
  }
  return options;
}

export const encodeOptions = (options: readonly PppOption[]): Buffer =>
  Buffer.concat(options.flatMap(({ type, value }) => [Uint8Array.of(type, value.length + 2), value]));

const wrong = (thing: string, what: string): Fault => new Fault('protocol', `the PPP ${thing} ${what}`);
