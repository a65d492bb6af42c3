// DHCP messages for IPv4 (RFC 2131 §2) and their options (RFC 2132; long ones in parts, RFC 3396; routes, RFC 3442).
//
//    0    1       2      3      4     8      10      12       16       20       24       28        44      108    236
//   | op | htype | hlen | hops | xid | secs | flags | ciaddr | yiaddr | siaddr | giaddr | chaddr  | sname | file | 63 82 53 63 | options
//     1 request, 2 reply                8000 = answer by broadcast                        16        64      128
//
//   option: | code | length | value |      0 pad, 255 end, 52 overload: options go on in file (1), sname (2) or both (3)
//   121 (and Microsoft's 249), for each route: | prefix bits | its ceil(bits / 8) first octets | router 4 |
import { Fault } from '../core/fault.ts';
import { putU16, putU32, u16, u32 } from './bytes.ts';
import { type Ipv4Network, maskOf } from './ipv4.ts';

export const dhcpTypes = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
export const dhcpOptions = {
  mask: 1,
  router: 3,
  dns: 6,
  hostname: 12,
  domain: 15,
  mtu: 26,
  requestedIp: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  server: 54,
  parameters: 55,
  message: 56,
  maxSize: 57,
  renewal: 58,
  rebinding: 59,
  clientId: 61,
  routes: 121,
  routesMicrosoft: 249,
} as const;

export interface DhcpMessage {
  readonly op: 'request' | 'reply';
  readonly xid: number;
  readonly secs: number;
  readonly broadcast: boolean;
  readonly clientIp: number;
  readonly yourIp: number;
  readonly serverIp: number;
  readonly relayIp: number;
  readonly mac: Uint8Array;
  /** The message type is option 53. */
  readonly options: ReadonlyMap<number, Uint8Array>;
}

const cookie = 0x63825363;
const optionsAt = 240;
/** What a relay of BOOTP's time expects at least (RFC 1542 §2.1). */
const leastLength = 300;

/** @throws Fault `protocol` */
export function decodeDhcp(bytes: Uint8Array): DhcpMessage {
  if (bytes.length < optionsAt || u32(bytes, 236) !== cookie) throw wrong('is truncated or has no options');
  if ((bytes[0] !== 1 && bytes[0] !== 2) || bytes[1] !== 1 || bytes[2] !== 6) throw wrong('is not for Ethernet');
  const options = new Map<number, Uint8Array>();
  readOptions(bytes, optionsAt, bytes.length, options);
  const overload = options.get(dhcpOptions.overload)?.[0] ?? 0;
  if (overload & 1) readOptions(bytes, 108, 236, options);
  if (overload & 2) readOptions(bytes, 44, 108, options);
  return {
    op: bytes[0] === 1 ? 'request' : 'reply',
    xid: u32(bytes, 4),
    secs: u16(bytes, 8),
    broadcast: (bytes[10]! & 0x80) !== 0,
    clientIp: u32(bytes, 12),
    yourIp: u32(bytes, 16),
    serverIp: u32(bytes, 20),
    relayIp: u32(bytes, 24),
    mac: bytes.subarray(28, 34),
    options,
  };
}

/** Parts of one option are put together (RFC 3396 §5). A list that breaks ends there. */
function readOptions(bytes: Uint8Array, from: number, to: number, options: Map<number, Uint8Array>): void {
  for (let at = from; at < to; ) {
    const code = bytes[at]!;
    if (code === 255) return;
    if (code === 0) {
      at++;
      continue;
    }
    const length = at + 1 < to ? bytes[at + 1]! : 256;
    if (at + 2 + length > to) return;
    const value = bytes.subarray(at + 2, at + 2 + length);
    const before = options.get(code);
    options.set(code, before === undefined ? value : Buffer.concat([before, value]));
    at += 2 + length;
  }
}

/** Options in the order of the map; longer than 255 bytes are written in parts (RFC 3396 §6). Padded to 300 bytes. */
export function encodeDhcp(message: DhcpMessage): Uint8Array {
  const head = new Uint8Array(optionsAt);
  head[0] = message.op === 'request' ? 1 : 2;
  head[1] = 1;
  head[2] = 6;
  putU32(head, 4, message.xid);
  putU16(head, 8, message.secs);
  putU16(head, 10, message.broadcast ? 0x8000 : 0);
  putU32(head, 12, message.clientIp);
  putU32(head, 16, message.yourIp);
  putU32(head, 20, message.serverIp);
  putU32(head, 24, message.relayIp);
  head.set(message.mac.subarray(0, 6), 28);
  putU32(head, 236, cookie);
  const parts: Uint8Array[] = [head];
  for (const [code, value] of message.options) {
    for (let at = 0; at === 0 || at < value.length; at += 255) {
      const part = value.subarray(at, at + 255);
      parts.push(Uint8Array.of(code, part.length), part);
    }
  }
  parts.push(Uint8Array.of(255));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat(parts, Math.max(length, leastLength));
}

export interface DhcpRoute {
  readonly network: Ipv4Network;
  readonly router: number;
}

/** The body of options 121 and 249. */
export function encodeRoutes(routes: readonly DhcpRoute[]): Uint8Array {
  return Uint8Array.from(
    routes.flatMap(({ network: { address, bits }, router }) => [
      bits,
      ...octets((address & maskOf(bits)) >>> 0).slice(0, Math.ceil(bits / 8)),
      ...octets(router),
    ]),
  );
}

/** @throws Fault `protocol` */
export function decodeRoutes(value: Uint8Array): DhcpRoute[] {
  const routes: DhcpRoute[] = [];
  for (let at = 0; at < value.length; ) {
    const bits = value[at]!;
    const size = Math.ceil(bits / 8);
    if (bits > 32 || at + 1 + size + 4 > value.length) throw wrong('has a broken list of routes');
    const network = new Uint8Array(4);
    network.set(value.subarray(at + 1, at + 1 + size));
    const mask = maskOf(bits);
    routes.push({
      network: { address: (u32(network, 0) & mask) >>> 0, mask, bits },
      router: u32(value, at + 1 + size),
    });
    at += 1 + size + 4;
  }
  return routes;
}

export const octets = (value: number): number[] => [
  value >>> 24,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
];

const wrong = (what: string): Fault => new Fault('protocol', `the DHCP message ${what}`);
