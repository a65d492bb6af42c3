// OpenVPN's reliability layer: TLS bytes in numbered packets, acknowledged, repeated, put in order (reliable.c).
import type { Clock } from '../../../core/clock.ts';
import { type ControlOpcode, opcodes, packetLimits } from '../../../wire/openvpn.ts';

export interface ReliablePacket {
  readonly opcode: ControlOpcode;
  readonly acks: readonly number[];
  readonly id?: number;
  readonly payload: Uint8Array;
}
export interface ReliableOptions {
  readonly clock: Clock;
  readonly send: (packet: ReliablePacket) => void;
  /** Numbers that were used before there was this: a stateless answer is packet 0. */
  readonly from?: number;
}

interface Sent {
  readonly opcode: ControlOpcode;
  readonly payload: Uint8Array;
  due: number;
  pause: number;
}

/** In flight at once: older versions keep no more than 8 that come too early. */
const windows = { send: 4, receive: 8 } as const;
/** Milliseconds before a packet is repeated: at first, and at most. */
const pace = { first: 1000, most: 8000 } as const;

export class Reliable {
  readonly #options: ReliableOptions;
  readonly #waiting: { readonly opcode: ControlOpcode; readonly payload: Uint8Array }[] = [];
  readonly #sent = new Map<number, Sent>();
  readonly #early = new Map<number, Uint8Array>();
  #acks: number[] = [];
  #nextSend: number;
  #nextReceive: number;
  #ackAsked = false;
  #stopTimer: (() => void) | undefined;
  #closed = false;
  #drained = Promise.withResolvers<void>();

  constructor(options: ReliableOptions) {
    this.#options = options;
    this.#nextSend = this.#nextReceive = options.from ?? 0;
  }
  /** Everything sent so far has arrived. */
  get isIdle(): boolean {
    return this.#sent.size === 0 && this.#waiting.length === 0;
  }
  drained(): Promise<void> {
    return this.isIdle ? Promise.resolve() : this.#drained.promise;
  }

  send(opcode: ControlOpcode, payload: Uint8Array): void {
    if (this.#closed) return;
    this.#waiting.push({ opcode, payload });
    this.#pump();
  }
  /** TLS bytes, in as many packets as they need. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += packetLimits.control)
      this.send(opcodes.control, bytes.subarray(at, at + packetLimits.control));
  }

  acknowledged(ids: readonly number[]): void {
    for (const id of ids) this.#sent.delete(id);
    this.#pump();
    if (!this.isIdle) return;
    this.#drained.resolve();
    this.#drained = Promise.withResolvers();
  }
  /** A packet of theirs → what can be read now, in order. Repeated ones are acknowledged again, those too far ahead are not. */
  receive(id: number, payload: Uint8Array): Uint8Array[] {
    if (this.#closed || id >= this.#nextReceive + windows.receive) return [];
    if (!this.#acks.includes(id)) this.#acks.push(id);
    this.#askAck();
    if (id < this.#nextReceive) return [];
    this.#early.set(id, payload);
    const ready: Uint8Array[] = [];
    for (let next = this.#early.get(this.#nextReceive); next; next = this.#early.get(this.#nextReceive)) {
      this.#early.delete(this.#nextReceive++);
      ready.push(next);
    }
    return ready;
  }
  close(): void {
    this.#closed = true;
    this.#stopTimer?.();
    this.#sent.clear();
    this.#waiting.length = 0;
    this.#early.clear();
    this.#drained.resolve();
  }

  #pump(): void {
    while (this.#waiting.length > 0 && this.#sent.size < windows.send) {
      const { opcode, payload } = this.#waiting.shift()!;
      const id = this.#nextSend++;
      this.#sent.set(id, { opcode, payload, due: this.#now() + pace.first, pause: pace.first });
      this.#emit(opcode, id, payload);
    }
    this.#arm();
  }
  #emit(opcode: ControlOpcode, id: number | undefined, payload: Uint8Array): void {
    const acks = this.#acks.splice(0, opcode === opcodes.ack ? packetLimits.acks : 4);
    this.#options.send({ opcode, acks, payload, ...(id === undefined ? {} : { id }) });
  }
  /** Alone when the turn ends and nothing has taken them along. */
  #askAck(): void {
    if (this.#ackAsked) return;
    this.#ackAsked = true;
    setImmediate(() => {
      this.#ackAsked = false;
      while (this.#acks.length > 0 && !this.#closed) this.#emit(opcodes.ack, undefined, nothing);
    });
  }
  #arm(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    if (this.#sent.size === 0 || this.#closed) return;
    const next = Math.min(...[...this.#sent.values()].map(({ due }) => due));
    this.#stopTimer = this.#options.clock.after(Math.max(0, next - this.#now()), () => {
      const now = this.#now();
      for (const [id, sent] of this.#sent) {
        if (sent.due > now) continue;
        sent.pause = Math.min(pace.most, sent.pause * 2);
        sent.due = now + sent.pause;
        this.#emit(sent.opcode, id, sent.payload);
      }
      this.#arm();
    });
  }
  #now(): number {
    return this.#options.clock.now().getTime();
  }
}

const nothing = new Uint8Array(0);
