// Connections to a site and the requests that they carry, one at a time each. Ours instead of http.request: nothing is
// made per request but a text and one object.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { take } from '../../net/shared-read.ts';
import { type Fields, valuesOf } from './headers.ts';
import { AnswerParser, type MessageHead } from './llhttp.ts';
import { corkTurn } from './turn.ts';

/** Whoever asks, told what comes of it. Exactly one of `end` and `failed` is called, and nothing after it. */
export interface Asker {
  readonly method: string;
  /** The head of the request, from its first line to the empty one. */
  readonly head: string;
  /** Whether a body follows; it is written by `write` once `ready` was called. */
  readonly hasBody: boolean;
  ready(connection: Connection): void;
  inform(status: number, fields: Fields): void;
  answer(head: MessageHead): void;
  /** `shared`: the memory is used again as soon as this returns. False asks for a pause until `resume`. */
  data(chunk: Buffer, shared: boolean): boolean;
  end(trailers: Fields): void;
  failed(error: Error, connection: Connection | undefined): void;
  /** More of the body may be written. */
  drained(): void;
}

/** Milliseconds in which nothing moves until a connection is given up: while a body goes up, and otherwise; 0 = none. */
export interface Patience {
  readonly send: number;
  readonly read: number;
}

export interface PoolOptions {
  /** Connections at most. */
  readonly most: number;
  readonly patience: Patience;
  readonly dial: () => Promise<Conn>;
  /** Called with each connection made. */
  readonly opened?: (stream: Duplex) => void;
}

/** Bytes of an answer's head, at most. */
const headLimit = 65_536;
/** Bytes of a full TLS record. */
const fullRecord = 16_384;
/** Bodies longer than this are not shown to the parser: their length says where they end. */
const shortBody = 16_384;
/** Interim answers (1xx) before the answer itself: more is a service that goes round in circles. */
export const mostInterim = 100;
/** Requests that may wait for a connection. */
const mostWaiting = 1000;

export class Pool {
  readonly #options: PoolOptions;
  readonly #idle: Connection[] = [];
  readonly #live = new Set<Connection>();
  readonly #waiting: Asker[] = [];
  #dialling = 0;
  #state: 'open' | 'closed' = 'open';

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** `fresh`: not on a connection that has carried something before. */
  ask(asker: Asker, fresh = false): void {
    const idle = fresh ? undefined : this.#idle.pop();
    if (idle) idle.begin(asker);
    else if (this.#state === 'closed')
      asker.failed(new Fault('unreachable', 'the connection to the site is closed'), undefined);
    else if (this.#live.size + this.#dialling < this.#options.most) void this.#dial(asker);
    else if (this.#waiting.length < mostWaiting) this.#waiting.push(asker);
    else asker.failed(new Fault('limit', 'too many requests wait for this site'), undefined);
  }

  /** Forgets somebody who waits for a place. */
  forget(asker: Asker): void {
    const at = this.#waiting.indexOf(asker);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  destroy(): void {
    this.#state = 'closed';
    for (const connection of this.#live) connection.destroy();
    for (const asker of this.#waiting.splice(0))
      asker.failed(new Fault('unreachable', 'the connection to the site is closed'), undefined);
  }

  async #dial(asker: Asker): Promise<void> {
    this.#dialling++;
    try {
      const { stream } = await this.#options.dial();
      this.#dialling--;
      const connection = new Connection(stream, this.#options.patience, {
        idle: one => this.#rest(one),
        gone: one => this.#gone(one),
      });
      this.#live.add(connection);
      this.#options.opened?.(stream);
      if (this.#state === 'closed') connection.destroy();
      connection.begin(asker);
    } catch (error) {
      this.#dialling--;
      asker.failed(error as Error, undefined);
      this.#next();
    }
  }
  #rest(connection: Connection): void {
    const next = this.#waiting.shift();
    if (next) connection.begin(next);
    else this.#idle.push(connection);
  }
  #gone(connection: Connection): void {
    this.#live.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#next();
  }
  /** A place is free. */
  #next(): void {
    const next = this.#state === 'open' ? this.#waiting.shift() : undefined;
    if (next) this.ask(next);
  }
}

interface Owner {
  idle(connection: Connection): void;
  gone(connection: Connection): void;
}

export class Connection {
  readonly stream: Duplex;
  /** Bytes of payload, heads included. */
  written = 0;
  read = 0;
  readonly #owner: Owner;
  readonly #parser: AnswerParser;
  #asker: Asker | undefined;
  #state: 'idle' | 'asking' | 'answering' | 'dead' = 'idle';
  /** Of a long body: bytes still to come. */
  #left = 0;
  #requests = 0;
  #interim = 0;
  #keepsAlive = true;
  #isSent = true;
  readonly #patience: Patience;
  /** The time passed while the client kept both sides waiting: it has to be set anew. */
  #hasLapsed = false;
  #isCorked = false;
  #error: Error | undefined;

  constructor(stream: Duplex, patience: Patience, owner: Owner) {
    this.stream = stream;
    this.#owner = owner;
    this.#patience = patience;
    this.#parser = new AnswerParser(headLimit, {
      head: head => this.#head(head),
      body: chunk => this.#pass(chunk, false),
      end: trailers => this.#end(trailers),
    });
    take(stream, (chunk, shared) => this.#take(chunk, shared));
    stream.on('drain', () => this.#asker?.drained());
    stream.on('error', error => {
      this.#error ??= error;
    });
    stream.on('end', () => this.#ended());
    stream.on('close', () => this.#gone());
    stream.on('timeout', () => this.#late());
    this.#wait(patience.read);
  }

  /** Whether it has carried a request before this one: then it may have been closed meanwhile. */
  get isReused(): boolean {
    return this.#requests > 1;
  }

  begin(asker: Asker): void {
    this.#requests++;
    this.#interim = 0;
    if (this.#state === 'dead') {
      asker.failed(this.#error ?? reset(), this);
      return;
    }
    this.#state = 'asking';
    this.#asker = asker;
    this.#isSent = !asker.hasBody;
    this.#keepsAlive = true;
    if (this.stream.isPaused()) this.stream.resume();
    if (asker.hasBody) this.#wait(this.#patience.send);
    this.written += asker.head.length;
    if (!asker.hasBody) corkTurn(this.stream);
    this.stream.write(asker.head, 'latin1');
    asker.ready(this);
  }
  /** False: wait for `drained`. */
  write(chunk: Buffer | string): boolean {
    this.written += chunk.length;
    if (this.#hasLapsed) this.#wait(this.#patience.send);
    // TLS hands over one record after the other in one turn of the event loop; one system call takes them all.
    if (chunk.length >= fullRecord && !this.#isCorked) {
      this.#isCorked = true;
      this.stream.cork();
      setImmediate(uncork, this);
    }
    return this.stream.write(chunk as string, 'latin1');
  }
  uncork(): void {
    this.#isCorked = false;
    this.stream.uncork();
  }
  /** The body is complete. */
  sent(): void {
    if (this.#isSent) return;
    this.#isSent = true;
    this.#wait(this.#patience.read);
  }
  pause(): void {
    this.stream.pause();
  }
  resume(): void {
    if (this.#hasLapsed) this.#wait(this.#isSent ? this.#patience.read : this.#patience.send);
    this.stream.resume();
  }
  #wait(milliseconds: number): void {
    this.#hasLapsed = false;
    if (this.stream instanceof Socket) this.stream.setTimeout(milliseconds);
  }
  #late(): void {
    // Whoever waits for the client is not late: only a site that neither reads nor answers is.
    const isClientsTurn = (!this.#isSent && !this.stream.writableNeedDrain) || this.stream.isPaused();
    if (this.#asker && isClientsTurn) this.#hasLapsed = true;
    else this.destroy(new Fault('timeout', 'the site did not answer in time'));
  }
  destroy(error?: Error): void {
    this.#error ??= error;
    this.stream.destroy();
    this.#gone();
  }

  #take(chunk: Buffer, shared: boolean): void {
    this.read += chunk.length;
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#state === 'dead') return;
      // Nobody has asked: an answer from nowhere is how one request is given another one's.
      if (this.#state === 'idle') {
        this.destroy(new Fault('unreachable', 'the site spoke without being asked'));
        return;
      }
      if (this.#left > 0) {
        const part = rest.length <= this.#left ? rest : rest.subarray(0, this.#left);
        rest = rest.subarray(part.length);
        this.#left -= part.length;
        this.#pass(part, shared);
        if (this.#left === 0 && this.#isLive) {
          this.#parser.restart();
          this.#end([]);
        }
        continue;
      }
      const read = this.#read(rest);
      if (typeof read !== 'number') {
        this.destroy(unreadable(read));
        return;
      }
      // Only before a long body, or where another protocol begins, does the parser leave off early.
      if (read < rest.length && this.#left === 0) {
        this.destroy(unreadable(new Error('more than an answer')));
        return;
      }
      rest = rest.subarray(read);
    }
  }

  /** What fails on the way from an answer to its client is this request's end, and nobody else's. */
  #read(chunk: Buffer): number | Error {
    try {
      return this.#parser.read(chunk);
    } catch (error) {
      return error as Error;
    }
  }

  #head(head: MessageHead): 'body' | 'no-body' | 'stop' {
    const asker = this.#asker;
    if (!asker) return 'no-body'; // a second answer: `#take` ends the connection
    const { status, fields } = head;
    if (status < 200) {
      if (status === 101) {
        this.destroy(new Fault('unreachable', 'the site changed the protocol without being asked'));
        return 'no-body';
      }
      if (++this.#interim <= mostInterim) asker.inform(status, fields);
      else this.destroy(unreadable(new Error('interim answers without end')));
      return 'no-body';
    }
    if (!isPlain(head)) {
      this.destroy(unreadable(new Error('its framing is not understood')));
      return 'no-body';
    }
    this.#state = 'answering';
    this.#keepsAlive = head.keepsAlive;
    asker.answer(head);
    if (asker.method === 'HEAD' || status === 204 || status === 304) return 'no-body';
    const length = lengthOf(fields);
    if (length <= shortBody) return 'body';
    this.#left = length;
    return 'stop';
  }
  #pass(chunk: Buffer, shared: boolean): void {
    if (this.#asker?.data(chunk, shared) === false) this.pause();
  }
  #end(trailers: Fields): void {
    if (this.#state !== 'answering') return; // 1xx; and the parser's word for a long body, which has its own
    if (this.#left > 0) return;
    const asker = this.#asker;
    this.#asker = undefined;
    const isReusable = this.#keepsAlive && this.#isSent && !this.stream.writableEnded;
    this.#state = isReusable ? 'idle' : 'dead';
    asker?.end(trailers);
    if (isReusable) setImmediate(rest, this, this.#owner);
    else this.#close();
  }
  get isIdle(): boolean {
    return this.#state === 'idle';
  }
  get #isLive(): boolean {
    return this.#state !== 'dead';
  }

  #ended(): void {
    if (this.#state === 'answering' && this.#left === 0) {
      const error = this.#parser.finish();
      if (error) this.#error ??= unreadable(error);
    }
    this.stream.destroy();
    this.#gone();
  }
  #close(): void {
    this.stream.end();
    this.stream.destroy();
    this.#parser.close();
    this.#owner.gone(this);
  }
  #gone(): void {
    if (this.#state === 'dead') return;
    this.#state = 'dead';
    const asker = this.#asker;
    this.#asker = undefined;
    this.#parser.close();
    asker?.failed(this.#error ?? reset(), this);
    this.#owner.gone(this);
  }
}

const uncork = (connection: Connection): void => connection.uncork();

/** Not within the turn that brought the answer's end: what follows it in the same bytes must find nobody. */
function rest(connection: Connection, owner: Owner): void {
  if (connection.isIdle) owner.idle(connection);
}

/** Where an answer is as long as it says; 0 where something else says where it ends. */
function lengthOf(fields: Fields): number {
  let length = 0;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return 0;
    if (name.length === 14 && name.toLowerCase() === 'content-length') length = Number(fields[at + 1]);
  }
  return Number.isSafeInteger(length) ? length : 0;
}

/** What llhttp lets pass and two readers could differ about (RFC 9112 §6.1, §6.3). */
function isPlain({ version, fields }: MessageHead): boolean {
  if (version !== '1.1' && version !== '1.0') return false;
  const codings = valuesOf(fields, 'transfer-encoding');
  return codings.length === 0 || (version === '1.1' && codings.length === 1 && codings[0]?.toLowerCase() === 'chunked');
}

const reset = (): Error => Object.assign(new Error('the site broke the connection off'), { code: 'ECONNRESET' });
const unreadable = (cause: Error): Fault =>
  new Fault('unreachable', 'the site sent an answer that is not HTTP as it should be', { cause });
