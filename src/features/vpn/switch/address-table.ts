// Which plug an address was seen at. One table for MACs and one for IPs: open addressing in typed arrays, so that
// looking up, learning and touching allocate nothing. A key is four 32-bit words.
import { randomBytes } from 'node:crypto';

/** Key words: MAC = (upper 16 bits, lower 32 bits, VLAN, 0); IPv4 = (0, 0, 0xffff, address); IPv6 = its four words. */
export interface AddressEntry {
  readonly key: number;
  readonly words: readonly [number, number, number, number];
  readonly owner: number;
  readonly created: number;
  readonly used: number;
  readonly flags: number;
}
export const flags = { pinned: 1, dhcp: 2 } as const;

const first = 256;

export class AddressTable {
  readonly #most: number;
  readonly #seed = randomBytes(4).readInt32LE(); // who does not know it cannot aim keys at one slot
  #capacity = first;
  #count = 0;
  #ids = 0;
  #words = new Uint32Array(first * 4);
  /** 0 = free. */
  #owner = new Uint16Array(first);
  #id = new Uint32Array(first);
  #created = new Float64Array(first);
  #used = new Float64Array(first);
  #until = new Float64Array(first);
  #flags = new Uint8Array(first);
  #moves = new Uint8Array(first);
  /** Changes whenever a slot that somebody remembers may mean another entry. */
  generation = 0;

  constructor(most: number) {
    this.#most = most;
  }
  get count(): number {
    return this.#count;
  }

  /** A slot, or -1. */
  find(a: number, b: number, c: number, d: number): number {
    const mask = this.#capacity - 1;
    const words = this.#words;
    for (let slot = this.#hash(a, b, c, d) & mask; this.#owner[slot] !== 0; slot = (slot + 1) & mask) {
      const at = slot * 4;
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) return slot;
    }
    return -1;
  }
  /** For a key that `find` did not find. @returns its slot, -1 when the table is full */
  add(a: number, b: number, c: number, d: number, owner: number, now: number): number {
    if (this.#count >= this.#most) return -1;
    if (this.#count * 2 >= this.#capacity) this.#grow();
    const slot = this.#place(a, b, c, d);
    this.#owner[slot] = owner;
    this.#id[slot] = ++this.#ids;
    this.#created[slot] = this.#used[slot] = now;
    this.#until[slot] = 0;
    this.#flags[slot] = this.#moves[slot] = 0;
    this.#count++;
    return slot;
  }

  owner(slot: number): number {
    return this.#owner[slot]!;
  }
  used(slot: number): number {
    return this.#used[slot]!;
  }
  until(slot: number): number {
    return this.#until[slot]!;
  }
  has(slot: number, flag: number): boolean {
    return (this.#flags[slot]! & flag) !== 0;
  }
  touch(slot: number, now: number): void {
    this.#used[slot] = now;
  }
  /** Keeps the entry until then, used or not. */
  mark(slot: number, flag: number, until: number): void {
    this.#flags[slot]! |= flag;
    this.#until[slot] = until;
  }
  /** Gives the entry to another plug. @returns how often it has moved since it last rested */
  move(slot: number, owner: number, now: number, rest: number): number {
    const moves = now - this.#used[slot]! > rest ? 1 : Math.min(255, this.#moves[slot]! + 1);
    this.#moves[slot] = moves;
    this.#owner[slot] = owner;
    this.#used[slot] = now;
    this.#flags[slot] = 0;
    this.#until[slot] = 0;
    this.generation++;
    return moves;
  }
  moves(slot: number): number {
    return this.#moves[slot]!;
  }

  /** Takes an entry out; those behind it in the same run move up. */
  remove(slot: number): void {
    const mask = this.#capacity - 1;
    this.generation++;
    this.#count--;
    let hole = slot;
    for (let next = (hole + 1) & mask; this.#owner[next] !== 0; next = (next + 1) & mask) {
      const at = next * 4;
      const words = this.#words;
      const home = this.#hash(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!) & mask;
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      this.#copy(next, hole);
      hole = next;
    }
    this.#owner[hole] = 0;
  }
  /** Takes out what `old` says is old; `gone` is told just before. */
  sweep(old: (slot: number) => boolean, gone: (slot: number) => void): void {
    for (let slot = 0; slot < this.#capacity; slot++) {
      while (this.#owner[slot] !== 0 && old(slot)) {
        gone(slot);
        this.remove(slot);
      }
    }
  }
  isIpv4(slot: number): boolean {
    const at = slot * 4;
    return this.#words[at] === 0 && this.#words[at + 1] === 0 && this.#words[at + 2] === 0xffff;
  }
  byKey(key: number): number {
    for (let slot = 0; slot < this.#capacity; slot++)
      if (this.#owner[slot] !== 0 && this.#id[slot] === key) return slot;
    return -1;
  }
  /** All, or those of one plug: which is quick in a table that others have filled. */
  *entries(owner?: number): Generator<AddressEntry> {
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (this.#owner[slot] === 0 || (owner !== undefined && this.#owner[slot] !== owner)) continue;
      const [a = 0, b = 0, c = 0, d = 0] = this.#words.subarray(slot * 4, slot * 4 + 4);
      yield {
        key: this.#id[slot]!,
        words: [a, b, c, d],
        owner: this.#owner[slot]!,
        created: this.#created[slot]!,
        used: this.#used[slot]!,
        flags: this.#flags[slot]!,
      };
    }
  }

  #hash(a: number, b: number, c: number, d: number): number {
    let hash = this.#seed;
    hash = Math.imul(hash ^ a, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13) ^ c, 0x27d4eb2f);
    hash = Math.imul(hash ^ (hash >>> 15) ^ d, 0x165667b1);
    return hash ^ (hash >>> 16);
  }
  #place(a: number, b: number, c: number, d: number): number {
    const mask = this.#capacity - 1;
    let slot = this.#hash(a, b, c, d) & mask;
    while (this.#owner[slot] !== 0) slot = (slot + 1) & mask;
    const at = slot * 4;
    this.#words[at] = a;
    this.#words[at + 1] = b;
    this.#words[at + 2] = c;
    this.#words[at + 3] = d;
    return slot;
  }
  #copy(from: number, to: number): void {
    this.#words.copyWithin(to * 4, from * 4, from * 4 + 4);
    this.#owner[to] = this.#owner[from]!;
    this.#id[to] = this.#id[from]!;
    this.#created[to] = this.#created[from]!;
    this.#used[to] = this.#used[from]!;
    this.#until[to] = this.#until[from]!;
    this.#flags[to] = this.#flags[from]!;
    this.#moves[to] = this.#moves[from]!;
  }
  #grow(): void {
    const old = {
      words: this.#words,
      owner: this.#owner,
      id: this.#id,
      created: this.#created,
      used: this.#used,
      until: this.#until,
      flags: this.#flags,
      moves: this.#moves,
      capacity: this.#capacity,
    };
    this.#capacity *= 2;
    this.#words = new Uint32Array(this.#capacity * 4);
    this.#owner = new Uint16Array(this.#capacity);
    this.#id = new Uint32Array(this.#capacity);
    this.#created = new Float64Array(this.#capacity);
    this.#used = new Float64Array(this.#capacity);
    this.#until = new Float64Array(this.#capacity);
    this.#flags = new Uint8Array(this.#capacity);
    this.#moves = new Uint8Array(this.#capacity);
    this.generation++;
    for (let from = 0; from < old.capacity; from++) {
      if (old.owner[from] === 0) continue;
      const at = from * 4;
      const to = this.#place(old.words[at]!, old.words[at + 1]!, old.words[at + 2]!, old.words[at + 3]!);
      this.#owner[to] = old.owner[from]!;
      this.#id[to] = old.id[from]!;
      this.#created[to] = old.created[from]!;
      this.#used[to] = old.used[from]!;
      this.#until[to] = old.until[from]!;
      this.#flags[to] = old.flags[from]!;
      this.#moves[to] = old.moves[from]!;
    }
  }
}
