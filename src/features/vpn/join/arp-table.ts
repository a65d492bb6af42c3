// Who has which address on the hub (RFC 826): asks, remembers for a while, believes answers to questions only.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { broadcastMac } from '../../../wire/ethernet.ts';
import { formatIpv4 } from '../../../wire/ipv4.ts';

export interface ArpOptions {
  readonly mac: Uint8Array;
  readonly clock: Clock;
  readonly own: () => number;
  readonly send: (frame: Uint8Array) => void;
}
interface Asked {
  readonly found: PromiseWithResolvers<Uint8Array>;
  tries: number;
}
/** Milliseconds. */
const pace = { again: 700, tries: 4, keep: 60_000 } as const;
const most = 1024;

export class ArpTable {
  readonly #options: ArpOptions;
  readonly #known = new Map<number, { readonly mac: Uint8Array; readonly until: number }>();
  readonly #asked = new Map<number, Asked>();

  constructor(options: ArpOptions) {
    this.#options = options;
  }
  /** What is known now, without asking. */
  peek(address: number): Uint8Array | undefined {
    const known = this.#known.get(address);
    return known && known.until > this.#now() ? known.mac : undefined;
  }
  /** @throws Fault `unreachable` when nobody answers */
  find(address: number): Promise<Uint8Array> {
    const known = this.#known.get(address);
    if (known && known.until > this.#now()) return Promise.resolve(known.mac);
    const before = this.#asked.get(address);
    if (before) return before.found.promise;
    if (this.#asked.size >= most) return Promise.reject(new Fault('limit', 'too many addresses are looked for'));
    const asked = { found: Promise.withResolvers<Uint8Array>(), tries: 0 };
    asked.found.promise.catch(() => {});
    this.#asked.set(address, asked);
    this.#ask(address, asked);
    return asked.found.promise;
  }
  heard(address: number, mac: Uint8Array): void {
    const asked = this.#asked.get(address);
    if (!asked && !this.#known.has(address)) return;
    if (this.#known.size >= most) this.#known.clear();
    this.#known.set(address, { mac, until: this.#now() + pace.keep });
    this.#asked.delete(address);
    asked?.found.resolve(mac);
  }
  forget(): void {
    this.#known.clear();
    for (const { found } of this.#asked.values()) found.reject(new Fault('gone', 'the address on the hub has changed'));
    this.#asked.clear();
  }

  #ask(address: number, asked: Asked): void {
    if (this.#asked.get(address) !== asked) return;
    if (asked.tries++ >= pace.tries) {
      this.#asked.delete(address);
      asked.found.reject(new Fault('unreachable', `nobody on the hub has the address ${formatIpv4(address)}`));
      return;
    }
    const { mac, own, send, clock } = this.#options;
    const question = { senderMac: mac, senderIp: own(), targetMac: new Uint8Array(6), targetIp: address };
    send(arpFrame({ operation: 'request', ...question }, broadcastMac));
    clock.after(pace.again, () => this.#ask(address, asked));
  }
  #now(): number {
    return this.#options.clock.now().getTime();
  }
}
