// One request of the short way and its answer: the head as text, the bodies as they come.
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { AnswerHead, BodySource, Exchange, Sink } from './exchange.ts';
import { type Body, earlyHints, type Fields, fieldLines, safeFields, valuesOf } from './headers.ts';
import type { RequestHead } from './llhttp.ts';
import { corkTurn } from './turn.ts';

/** The connection that it stands on. */
export interface Way {
  readonly stream: Duplex;
  /** What is written is with the kernel, or copied, when `write` returns. */
  readonly writesAtOnce: boolean;
  readonly isDraining: boolean;
  /** Its body may come on. */
  resumeBody(): void;
  /** The answer has been written and the body read. */
  over(exchange: LaneExchange, keepsAlive: boolean): void;
}

/** Milliseconds in which a request's body that nobody wants may still come. */
const unwanted = 2000;

export class LaneExchange implements Exchange, Sink {
  readonly id: string;
  readonly method: string;
  readonly version = '1.1';
  readonly fields: Fields;
  readonly body: Body;
  readonly #lane: Way;
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

  constructor(lane: Way, head: RequestHead, id: string, body: Body) {
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
    if (safeFields(fields)) this.#write(earlyHints(fields));
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
