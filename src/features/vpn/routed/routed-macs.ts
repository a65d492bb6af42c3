// MAC addresses of members who bring none: made from hub and user, so that DHCP knows them again.
import { createHash } from 'node:crypto';
import { formatMac } from '../../../wire/ethernet.ts';

export interface TakenMac {
  readonly mac: Uint8Array;
  release(): void;
}

export class RoutedMacs {
  readonly #live = new Set<string>();

  /** The first of this member's that no live session of his has. */
  take(hub: string, user: string): TakenMac {
    for (let count = 0; ; count++) {
      const mac = macOf(hub, user, count);
      const key = `${hub.toLowerCase()}/${formatMac(mac)}`;
      if (this.#live.has(key)) continue;
      this.#live.add(key);
      return { mac, release: () => void this.#live.delete(key) };
    }
  }
}

/** Locally administered, and begins with 5e as all addresses of virtual hosts do. */
const macOf = (hub: string, user: string, count: number): Uint8Array => {
  const digest = createHash('sha256')
    .update(JSON.stringify([hub.toLowerCase(), user, count]))
    .digest();
  return Uint8Array.of(0x5e, ...digest.subarray(0, 5));
};
