// The short way of ordinary requests by HTTP/1.1: one request, one answer, neither of Node's objects for them made.
// llhttp reads every head here too, as strictly. What is not ordinary (CONNECT, upgrades, chunked bodies, Expect, a head
// in pieces) or in any doubt goes to Node's server with its connection, before anything of it has been acted upon.
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { Conn } from '../../core/parts.ts';
import type { AnswerHead, BodySource, Exchange, Front, Sink } from './exchange.ts';
import { type Body, checkHostField, type Fields, fieldLines, requestBody, safeFields, valuesOf } from './headers.ts';
import { type RequestHead, RequestParser } from './llhttp.ts';
import { corkTurn } from './turn.ts';

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

/** Milliseconds in which a request's body that nobody wants may still come. */
const unwanted = 2000;
/** Bytes that may wait for their turn. */
const ahead = 65_536;
const connect = Buffer.from('CONNECT ');
/** Milliseconds for the client's end, once ours was said. */
const farewell = 5000;

export function openLane(options: LaneOptions): Front {
  return new Lane(options);
}

class Lane implements Front {
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
    } else if (this.#held.reduce((sum, one) => sum + one.length, 0) > ahead) this.stream.pause();
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

class LaneExchange implements Exchange, Sink {
  readonly id: string;
  readonly method: string;
  readonly version = '1.1';
  readonly fields: Fields;
  readonly body: Body;
  readonly #lane: Lane;
  /** Of the body: bytes still to come. */
  #left: number;
  #source: LaneSource | undefined;
  #isDumped: NodeJS.Timeout | undefined;
  #keepsAlive: boolean;
  /** Written with the first bytes of the body. */
  #head = '';
  #framing: 'none' | 'length' | 'chunked' = 'none';
  #trailers: Fields = [];
  #state: 'asked' | 'answering' | 'answered' | 'over' = 'asked';
  #onClose: (() => void)[] = [];
  #onDrain: { readonly call: () => void; readonly once: boolean }[] = [];

  constructor(lane: Lane, head: RequestHead, id: string, body: Body) {
    this.id = id;
    this.method = head.method;
    this.fields = head.fields;
    this.body = body;
    this.#lane = lane;
    this.#keepsAlive = head.keepsAlive;
    this.#left = body.kind === 'length' ? Number(body.length) : 0;
  }

  get writesAtOnce(): boolean {
    return this.#lane.writesAtOnce;
  }
  get isAnswered(): boolean {
    return this.#state !== 'asked';
  }
  trailers(): Fields {
    return [];
  }
  /** Nobody here has asked for it. */
  proceed(): void {}
  inform(status: number, fields: Fields): void {
    if (this.isAnswered || status !== 103) return;
    const links = valuesOf(fields, 'link').flatMap(link => ['Link', link]);
    if (links.length > 0 && safeFields(links)) this.#write(`HTTP/1.1 103 Early Hints\r\n${fieldLines(links)}\r\n`);
  }

  answer({ status, reason, fields, hasBody }: AnswerHead): Sink {
    if (!safeFields(fields) || /[^\t\x20-\x7e\x80-\xff]/.test(reason))
      throw new Error('a field that cannot be written');
    if (this.#lane.isDraining) this.#keepsAlive = false;
    const isLong = hasBody && valuesOf(fields, 'content-length').length === 0;
    this.#framing = !hasBody ? 'none' : isLong ? 'chunked' : 'length';
    this.#state = 'answering';
    this.#head = `HTTP/1.1 ${status} ${reason || (STATUS_CODES[status] ?? '')}\r\n${fieldLines(fields)}${isLong ? 'Transfer-Encoding: chunked\r\n' : ''}${this.#keepsAlive ? '' : 'Connection: close\r\n'}\r\n`;
    // A head whose body lets wait for itself goes alone.
    if (hasBody) setImmediate(flushHead, this);
    return this;
  }
  flushHead(): void {
    if (this.#head === '' || this.#state !== 'answering') return;
    const head = this.#head;
    this.#head = '';
    this.#write(head);
  }
  addTrailers(fields: Fields): void {
    this.#trailers = safeFields(fields) ? fields : [];
  }

  // The body of the answer.
  get writableLength(): number {
    return this.#lane.stream.writableLength;
  }
  write(chunk: Buffer, written?: () => void): boolean {
    const { stream } = this.#lane;
    if (this.#state !== 'answering' || this.#framing === 'none' || chunk.length === 0) {
      if (written) queueMicrotask(written);
      return true;
    }
    if (this.#framing === 'length' && this.#head === '') return stream.write(chunk, written);
    stream.cork();
    this.flushHead();
    if (this.#framing === 'chunked') stream.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    const isFree = stream.write(chunk, written);
    const isFreeStill = this.#framing === 'chunked' ? stream.write('\r\n', 'latin1') : isFree;
    stream.uncork();
    return isFreeStill;
  }
  end(chunk?: Buffer | string): void {
    if (this.#state !== 'answering') return;
    const text =
      chunk === undefined || this.#framing === 'none'
        ? ''
        : typeof chunk === 'string'
          ? chunk
          : chunk.toString('latin1');
    const head = this.#head;
    this.#head = '';
    const last = this.#framing === 'chunked' ? `0\r\n${fieldLines(this.#trailers)}\r\n` : '';
    const body = last === '' || text === '' ? text : `${text.length.toString(16)}\r\n${text}\r\n`;
    const all = `${head}${body}${last}`;
    if (all !== '') {
      corkTurn(this.#lane.stream);
      this.#write(all);
    }
    this.#state = 'answered';
    this.#finish();
  }
  on(_: 'drain', call: () => void): void {
    this.#onDrain.push({ call, once: false });
  }
  once(_: 'drain', call: () => void): void {
    this.#onDrain.push({ call, once: true });
  }
  drained(): void {
    const all = this.#onDrain;
    this.#onDrain = all.filter(({ once }) => !once);
    for (const { call } of all) call();
  }
  destroy(): void {
    if (this.#state !== 'over') this.#lane.stream.destroy();
  }
  #write(text: string): void {
    this.#lane.stream.write(text, 'latin1');
  }

  // The body of the request.
  get source(): BodySource {
    this.#source ??= new LaneSource(this);
    return this.#source;
  }
  get left(): number {
    return this.#left;
  }
  /** Whether bytes that come now are this request's. */
  get wantsBody(): boolean {
    return this.#left > 0 && (this.#isDumped !== undefined || this.#source?.isReading === true);
  }
  /** Somebody is ready for more of it. */
  resumeBody(): void {
    if (this.#left > 0 && this.#state !== 'over') this.#lane.resumeBody();
  }
  pauseBody(): void {
    if (this.#left > 0 && this.#state !== 'over') this.#lane.stream.pause();
  }
  /** Takes what belongs to the body, and gives back what does not. */
  read(chunk: Buffer): Buffer {
    const mine = chunk.length <= this.#left ? chunk : chunk.subarray(0, this.#left);
    this.#left -= mine.length;
    if (this.#isDumped === undefined) this.#source?.pass(mine);
    if (this.#left === 0) {
      clearTimeout(this.#isDumped);
      this.#source?.end();
      this.#finish();
    }
    return mine.length === chunk.length ? nothing : chunk.subarray(mine.length);
  }
  enough(): void {
    if (this.#left === 0 || this.#isDumped !== undefined || this.#state === 'over') return;
    // Read on for a moment, so that the answer is not lost to a reset, then end: RFC 9112 §9.6.
    this.#isDumped = setTimeout(() => this.#lane.stream.destroy(), unwanted).unref();
    this.#lane.resumeBody();
  }

  abort(): void {
    this.#lane.stream.destroy();
  }
  onClose(call: () => void): void {
    if (this.#state === 'over') call();
    else this.#onClose.push(call);
  }
  #finish(): void {
    if (this.#state !== 'answered') return;
    if (this.#left > 0) {
      this.enough();
      return;
    }
    this.#state = 'over';
    clearTimeout(this.#isDumped);
    // Whoever has just ended it is not told in the middle of that.
    process.nextTick(tell, this);
    this.#lane.over(this, this.#keepsAlive);
  }
  /** The client is gone. */
  closed(): void {
    this.#state = 'over';
    clearTimeout(this.#isDumped);
    this.tell();
  }
  tell(): void {
    const all = this.#onClose;
    this.#onClose = [];
    for (const call of all) call();
  }
}

/** A body of known length, as it comes: the parser never sees it, so that it is not copied either. */
class LaneSource implements BodySource {
  isReading = false;
  readonly #exchange: LaneExchange;
  #onData: ((chunk: Buffer) => void) | undefined;
  #onEnd: (() => void) | undefined;

  constructor(exchange: LaneExchange) {
    this.#exchange = exchange;
  }
  get readableEnded(): boolean {
    return this.#exchange.left === 0;
  }
  on(_: 'data', call: (chunk: Buffer) => void): void {
    this.#onData = call;
    queueMicrotask(() => this.resume());
  }
  once(_: 'end', call: () => void): void {
    this.#onEnd = call;
  }
  removeAllListeners(_: 'data'): void {
    this.#onData = undefined;
  }
  pause(): void {
    this.isReading = false;
    this.#exchange.pauseBody();
  }
  resume(): void {
    this.isReading = true;
    this.#exchange.resumeBody();
  }
  pass(chunk: Buffer): void {
    this.#onData?.(chunk);
  }
  end(): void {
    this.#onEnd?.();
  }
}

const nothing = Buffer.alloc(0);
const flushHead = (exchange: LaneExchange): void => exchange.flushHead();
const tell = (exchange: LaneExchange): void => exchange.tell();
