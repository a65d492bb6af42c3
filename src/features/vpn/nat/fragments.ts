// IPv4 reassembly for what ends at the router (RFC 791 §3.2), bounded in time, number and bytes.
import type { Clock } from '../../../core/clock.ts';
import type { Ipv4Packet } from '../../../wire/ipv4.ts';
import type { Plug } from '../switch/plug.ts';
import { personOf } from './person.ts';

interface Gathering {
  readonly began: number;
  readonly owner: string;
  readonly parts: Ipv4Packet[];
  bytes: number;
}

/** Milliseconds; packets being put together, of one person and in all; bytes of one packet; its parts. */
const life = 15_000;
const most = { all: 256, ofOwner: 16, bytes: 65_535, parts: 64 } as const;

export class Fragments {
  readonly #clock: Clock;
  readonly #gatherings = new Map<string, Gathering>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns the whole packet with its last missing part */
  add(part: Ipv4Packet, owner: Plug): Ipv4Packet | undefined {
    const now = this.#clock.now().getTime();
    // Nobody else's parts: who sends in another's name must not spoil what that one sends.
    const key = `${owner.id} ${part.source} ${part.target} ${part.protocol} ${part.id}`;
    const known = this.#gatherings.get(key);
    const isAlive = known !== undefined && now - known.began < life;
    const gathering = isAlive ? known : this.#begin(key, personOf(owner), now);
    if (!gathering) return undefined;
    const end = part.fragmentOffset + part.payload.length;
    // Only the last part may have an odd length; parts that overlap are an attack (RFC 5722 says so of IPv6).
    const isWrong =
      end > most.bytes ||
      gathering.parts.length >= most.parts ||
      (part.moreFragments && part.payload.length % 8 !== 0) ||
      part.payload.length === 0 ||
      gathering.parts.some(
        one => part.fragmentOffset < one.fragmentOffset + one.payload.length && one.fragmentOffset < end,
      );
    if (isWrong) {
      this.#gatherings.delete(key);
      return undefined;
    }
    gathering.parts.push({ ...part, payload: part.payload.slice() });
    gathering.bytes += part.payload.length;
    const last = gathering.parts.find(one => !one.moreFragments);
    const first = gathering.parts.find(one => one.fragmentOffset === 0);
    if (!last || !first || gathering.bytes !== last.fragmentOffset + last.payload.length) return undefined;
    this.#gatherings.delete(key);
    const payload = new Uint8Array(gathering.bytes);
    for (const one of gathering.parts) {
      if (one.fragmentOffset + one.payload.length > payload.length) return undefined;
      payload.set(one.payload, one.fragmentOffset);
    }
    return { ...first, moreFragments: false, fragmentOffset: 0, payload };
  }
  #begin(key: string, owner: string, now: number): Gathering | undefined {
    let own = 0;
    for (const [other, { began, owner: whose }] of this.#gatherings) {
      if (now - began >= life) this.#gatherings.delete(other);
      else if (whose === owner) own++;
    }
    if (this.#gatherings.size >= most.all || own >= most.ofOwner) return undefined;
    const gathering = { began: now, owner, parts: [], bytes: 0 };
    this.#gatherings.set(key, gathering);
    return gathering;
  }
}
