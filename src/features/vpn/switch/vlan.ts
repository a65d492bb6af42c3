// VLAN ids by policy: a port with an id speaks untagged, and its frames carry the tag inside the hub (802.1Q).
import { putU16, u16 } from '../../../wire/bytes.ts';
import { etherTypes } from '../../../wire/ethernet.ts';

/** The frame with a tag; undefined for one that has its own, which such a port may not send. */
export function retag(frame: Uint8Array, vlan: number): Uint8Array | undefined {
  if (frame.length < 14 || u16(frame, 12) === etherTypes.vlan) return undefined;
  const tagged = new Uint8Array(frame.length + 4);
  tagged.set(frame.subarray(0, 12));
  putU16(tagged, 12, etherTypes.vlan);
  putU16(tagged, 14, vlan);
  tagged.set(frame.subarray(12), 16);
  return tagged;
}

/** For a port of VLAN `wanted`: frames of it without their tag, no others. A port without one gets frames as they are. */
export function untag(frame: Uint8Array, vlan: number, wanted: number): Uint8Array | undefined {
  if (wanted === 0) return frame;
  if (vlan !== wanted) return undefined;
  const bare = new Uint8Array(frame.length - 4);
  bare.set(frame.subarray(0, 12));
  bare.set(frame.subarray(16), 12);
  return bare;
}
