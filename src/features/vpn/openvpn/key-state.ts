// One negotiation of keys: a TLS connection whose bytes travel in control packets of one key id.
import { Duplex } from 'node:stream';
import type { Clock } from '../../../core/clock.ts';
import type { Address, Conn } from '../../../core/parts.ts';
import { makeConn } from '../../../net/conn.ts';
import { type ControlOpcode, type ControlPacket, opcodes } from '../../../wire/openvpn.ts';
import { Reliable, type ReliablePacket } from './reliable.ts';

export interface KeyStateOptions {
  readonly keyId: number;
  readonly peer: Address;
  readonly clock: Clock;
  /** Numbers that a stateless answer has used up. */
  readonly from?: number;
  readonly send: (packet: ReliablePacket & { readonly keyId: number }) => void;
}

/** Bytes that TLS has not read yet: more of them is nobody who shakes hands. */
const mostUnread = 64 * 1024;

export class KeyState {
  readonly keyId: number;
  readonly began: number;
  /** What TLS is spoken over. */
  readonly raw: Conn;
  readonly #stream: ControlStream;
  readonly #reliable: Reliable;
  #said: Promise<void> = Promise.resolve();
  /** TLS, once it stands. */
  tls: Conn | undefined;

  constructor({ keyId, peer, clock, from, send }: KeyStateOptions) {
    this.keyId = keyId;
    this.began = clock.now().getTime();
    this.#reliable = new Reliable({
      ...{ clock, send: packet => send({ ...packet, keyId }) },
      ...(from === undefined ? {} : { from }),
    });
    this.#stream = new ControlStream(this.#reliable);
    this.raw = makeConn(this.#stream, { peer });
  }
  /** The packet that opens it, from our side. */
  open(opcode: ControlOpcode): void {
    this.#reliable.send(opcode, new Uint8Array(0));
  }
  /** Everything that was said has arrived. */
  get isIdle(): boolean {
    return this.#reliable.isIdle;
  }

  take({ opcode, acks, id, payload }: ControlPacket): void {
    this.#reliable.acknowledged(acks);
    if (opcode === opcodes.ack || id === undefined) return;
    for (const bytes of this.#reliable.receive(id, payload)) this.#stream.arrived(bytes);
    if (this.#stream.readableLength > mostUnread) this.close();
  }
  /** A line of the control channel. */
  say(line: string): void {
    const { stream } = this.tls ?? {};
    if (!stream?.writable) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    stream.write(`${line}\0`, () => resolve());
    this.#said = promise;
  }
  /** What was said is with the transport; with `acknowledged` it has arrived. */
  async delivered(acknowledged: boolean): Promise<void> {
    await this.#said;
    if (acknowledged) await this.#reliable.drained();
  }
  close(): void {
    this.#reliable.close();
    this.tls?.stream.destroy();
    this.#stream.destroy();
  }
}

class ControlStream extends Duplex {
  readonly #reliable: Reliable;
  constructor(reliable: Reliable) {
    super({ allowHalfOpen: true });
    this.#reliable = reliable;
  }
  arrived(bytes: Uint8Array): void {
    // Packets that open a negotiation carry nothing, and an empty chunk would read as nothing as well.
    if (bytes.length > 0 && !this.destroyed) this.push(Buffer.from(bytes));
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#reliable.write(Buffer.from(chunk));
    done();
  }
}
