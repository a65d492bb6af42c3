// The short way of ordinary requests by HTTP/1.1: one request, one answer, neither of Node's objects for them made.
// llhttp reads every head here too, as strictly. What is not ordinary (CONNECT, upgrades, chunked bodies, Expect, a head
// in pieces) or in any doubt goes to Node's server with its connection, before anything of it has been acted upon.
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { Conn } from '../../core/parts.ts';
import type { Exchange, Front } from './exchange.ts';
import { type Body, checkHostField, requestBody, valuesOf } from './headers.ts';
import { LaneExchange, type Way } from './lane-exchange.ts';
import { type RequestHead, RequestParser } from './llhttp.ts';

export interface LaneOptions {
  readonly conn: Conn;
  /** Bytes of a header block. */
  readonly header: number;
  /** Milliseconds between two requests, and in which nothing moves. */
  readonly idle: number;
  readonly still: number;
  readonly nextId: () => string;
  /** Serves a request. False: this one is not for here, and nothing has been done with it. */
  readonly serve: (exchange: Exchange, url: string) => boolean;
  /** The stream is Node's server's from here on, with all that was not served. */
  readonly leave: (stream: Duplex) => void;
  readonly isDraining: () => boolean;
}

/** Bytes, and pieces of them, that may wait for their turn. */
const ahead = { bytes: 65_536, pieces: 64 } as const;
const connect = Buffer.from('CONNECT ');
/** Milliseconds for the client's end, once ours was said. */
const farewell = 5000;

export function openLane(options: LaneOptions): Front {
  return new Lane(options);
}

class Lane implements Front, Way {
  readonly stream: Duplex;
  /** What is written is with the kernel, or copied, when `write` returns. */
  readonly writesAtOnce: boolean;
  readonly #options: LaneOptions;
  readonly #parser: RequestParser;
  #exchange: LaneExchange | undefined;
  /** What came while something else was under way. */
  #held: Buffer[] = [];
  #state: 'open' | 'ending' | 'left' = 'open';
  #isLate = false;
  readonly #onData = (chunk: Buffer): void => this.#take(chunk);
  readonly #onDrain = (): void => this.#exchange?.drained();
  readonly #onEnd = (): void => (this.#exchange ? void this.stream.destroy() : void this.stream.end());
  readonly #onClose = (): void => this.#closed();
  readonly #onTimeout = (): void => this.#late();

  constructor(options: LaneOptions) {
    const { conn, header } = options;
    const { stream } = conn;
    this.#options = options;
    this.stream = stream;
    this.writesAtOnce = stream instanceof TLSSocket;
    this.#parser = new RequestParser(header);
    stream.on('data', this.#onData).on('drain', this.#onDrain).on('end', this.#onEnd).on('close', this.#onClose);
    stream.on('timeout', this.#onTimeout);
    this.#wait(options.idle);
    stream.resume();
  }

  get isDraining(): boolean {
    return this.#state === 'ending' || this.#options.isDraining();
  }

  drain(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    if (!this.#exchange) this.#close();
  }
  #close(): void {
    this.#held = [];
    void this.#options.conn.close(AbortSignal.timeout(farewell));
  }

  #take(chunk: Buffer): void {
    const exchange = this.#exchange;
    if (exchange?.wantsBody) {
      const rest = exchange.read(chunk);
      if (rest.length > 0) this.#hold(rest);
    } else if (exchange) this.#hold(chunk);
    else if (this.#state === 'open') this.#begin(chunk);
  }
  /** Waits for its turn. Read on a little, so that a client that leaves is seen to. */
  #hold(chunk: Buffer): void {
    this.#held.push(chunk);
    if (this.#exchange?.left === 0 && this.#held[0]?.subarray(0, 8).equals(connect)) {
      this.stream.destroy(); // a connection that owes an answer becomes no tunnel
    } else if (this.#held.length > ahead.pieces || lengthOf(this.#held) > ahead.bytes) this.stream.pause();
  }

  #begin(chunk: Buffer): void {
    const read = this.#parser.read(chunk);
    const body = read && bodyOf(read.head);
    if (!read || !body) {
      this.#leave(chunk);
      return;
    }
    const { head, length } = read;
    const exchange = new LaneExchange(this, head, this.#options.nextId(), body);
    this.#exchange = exchange;
    // A body is read when somebody wants it; what is behind it is the next request's.
    if (length < chunk.length) this.#hold(chunk.subarray(length));
    if (this.#options.serve(exchange, head.url)) return;
    this.#exchange = undefined;
    this.#held = [];
    this.#leave(chunk);
  }

  /** The reader of the body is ready for it: what came with the head goes first. */
  resumeBody(): void {
    this.#flushHeld();
    if (this.#held.length === 0) this.stream.resume();
  }
  #flushHeld(): void {
    const exchange = this.#exchange;
    while (this.#held.length > 0 && exchange?.wantsBody) {
      const rest = exchange.read(this.#held.shift() as Buffer);
      if (rest.length > 0) this.#held.unshift(rest);
      if (rest.length > 0) return;
    }
  }

  /** The answer has been written and the body read. */
  over(exchange: LaneExchange, keepsAlive: boolean): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = undefined;
    if (this.#isLate) this.#wait(this.#options.idle);
    if (!keepsAlive || this.isDraining) {
      this.#state = 'ending';
      this.#close();
      return;
    }
    if (this.#held.length === 0 && !this.stream.writableNeedDrain) this.stream.resume();
    else setImmediate(() => this.#next());
  }
  /** Whoever asks without reading the answers waits. */
  #next(): void {
    if (this.stream.destroyed || this.#exchange || this.#state !== 'open') return;
    if (this.stream.writableNeedDrain) return void this.stream.once('drain', () => this.#next());
    const chunk = this.#held.length === 1 ? this.#held[0] : Buffer.concat(this.#held);
    this.#held = [];
    if (chunk && chunk.length > 0) this.#begin(chunk);
    if (this.#held.length === 0 && this.#state === 'open') this.stream.resume();
  }

  #leave(rest: Buffer): void {
    const { stream } = this;
    this.#state = 'left';
    stream.off('data', this.#onData).off('drain', this.#onDrain).off('end', this.#onEnd).off('close', this.#onClose);
    stream.off('timeout', this.#onTimeout);
    this.#wait(0);
    this.#parser.close();
    stream.pause();
    stream.unshift(this.#held.length === 0 ? rest : Buffer.concat([rest, ...this.#held]));
    this.#options.leave(stream);
    stream.resume();
  }
  #closed(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.#held = [];
    this.#parser.close();
    exchange?.closed();
  }

  #wait(milliseconds: number): void {
    this.#isLate = false;
    if ('setTimeout' in this.stream) (this.stream as TLSSocket).setTimeout(milliseconds);
  }
  /** A request under way may stand still for longer than a connection may rest. */
  #late(): void {
    const { still, idle } = this.#options;
    if (!this.#exchange || this.#isLate || still <= idle) return void this.stream.destroy();
    this.#wait(still);
    this.#isLate = true;
  }
}

/** Undefined: this request is not for here. */
function bodyOf({ version, method, fields, isUpgrade }: RequestHead): Body | undefined {
  if (version !== '1.1' || isUpgrade || method === 'CONNECT' || method === 'TRACE') return undefined;
  try {
    checkHostField(fields, version);
    const body = requestBody(fields, version);
    return body.kind === 'chunked' || valuesOf(fields, 'expect').length > 0 ? undefined : body;
  } catch {
    return undefined; // the other way finds the same, and says it
  }
}

const lengthOf = (chunks: readonly Buffer[]): number => chunks.reduce((sum, one) => sum + one.length, 0);
