// Ethernet II frames without FCS, as hubs carry them.
//
//    0        6        12      14
//   | target 6 | source 6 | type 2 | payload …                           14 to 1,600 bytes in all
//   | target 6 | source 6 | 81 00 | tag 2 | type 2 | payload …           802.1Q: tag = priority 3, DEI 1, VLAN 12
import { randomBytes } from 'node:crypto';
import { Fault } from '../core/fault.ts';
import { putU16, u16 } from './bytes.ts';

export const etherTypes: Readonly<Record<'ipv4' | 'arp' | 'vlan' | 'ipv6', number>> = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  ipv6: 0x86dd,
};
export const frameLimits: { readonly least: 14; readonly most: 1600 } = { least: 14, most: 1600 };
export const broadcastMac: Uint8Array = Uint8Array.of(255, 255, 255, 255, 255, 255);

export interface EthernetFrame {
  readonly target: Uint8Array;
  readonly source: Uint8Array;
  readonly type: number;
  /** VLAN id of an 802.1Q tag; absent = untagged. */
  readonly vlan?: number;
  readonly payload: Uint8Array;
}

/** @throws Fault `protocol` */
export function decodeEthernet(frame: Uint8Array): EthernetFrame {
  if (frame.length < frameLimits.least || frame.length > frameLimits.most) throw wrong('has an impossible length');
  const outer = u16(frame, 12);
  const tagged = outer === etherTypes.vlan;
  if (tagged && frame.length < 18) throw wrong('ends within its VLAN tag');
  return {
    target: frame.subarray(0, 6),
    source: frame.subarray(6, 12),
    type: tagged ? u16(frame, 16) : outer,
    ...(tagged ? { vlan: u16(frame, 14) & 0xfff } : {}),
    payload: frame.subarray(tagged ? 18 : 14),
  };
}

export function encodeEthernet({ target, source, type, vlan, payload }: EthernetFrame): Uint8Array {
  const head = vlan === undefined ? 14 : 18;
  const frame = new Uint8Array(head + payload.length);
  writeEthernet(frame, target, source, type);
  if (vlan !== undefined) {
    putU16(frame, 12, etherTypes.vlan);
    putU16(frame, 14, vlan);
    putU16(frame, 16, type);
  }
  frame.set(payload, head);
  return frame;
}

/** The 14 bytes of an untagged header. */
export function writeEthernet(frame: Uint8Array, target: Uint8Array, source: Uint8Array, type: number): void {
  frame.set(target, 0);
  frame.set(source, 6);
  putU16(frame, 12, type);
}

/** 02:00:5e:10:00:01 or 02-00-5E-10-00-01 → bytes. @throws Fault `invalid` */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) {
    throw new Fault('invalid', `"${text}" is not a MAC address; write for example 02:00:5e:10:00:01`);
  }
  return Uint8Array.from(text.split(/[:-]/), part => Number.parseInt(part, 16));
}

export const formatMac = (mac: Uint8Array): string =>
  Array.from(mac.subarray(0, 6), byte => byte.toString(16).padStart(2, '0')).join(':');

/** A locally administered unicast address that begins with 5e, as SoftEther's virtual hosts have. */
export function randomMac(): Uint8Array {
  const mac = Uint8Array.from(randomBytes(6));
  mac[0] = 0x5e;
  return mac;
}

const wrong = (what: string): Fault => new Fault('protocol', `the Ethernet frame ${what}`);
