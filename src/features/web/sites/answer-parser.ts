// HTTP/1 answers of a service, read as they come: strict about where a body ends, since the next answer begins there.
// Requests of clients are llhttp's; a service stands inside, and this reading is what makes the path to it short.
import { Fault } from '../../../core/fault.ts';
import { tokensOf, valuesOf } from '../headers.ts';

export interface ServiceAnswer {
  readonly status: number;
  readonly reason: string;
  readonly version: '1.0' | '1.1';
  /** name, value, name, value */
  readonly fields: string[];
  /** Whether the connection may carry another request afterwards. */
  readonly keeps: boolean;
  /** `close`: until the connection ends. */
  readonly framing: 'none' | 'chunked' | 'close' | { readonly length: number };
}

export interface AnswerSink {
  /** 1xx but 101. */
  onInterim(answer: ServiceAnswer): void;
  onHead(answer: ServiceAnswer): void;
  onData(chunk: Buffer): void;
  onEnd(trailers: string[]): void;
}

/** Bytes of a header block or of trailers, at most. */
const mostHead = 256 * 1024;
/** Bytes of a chunk's size line. */
const mostLine = 4096;

type State = 'head' | 'length' | 'close' | 'size' | 'chunk' | 'gap' | 'trailers' | 'switched' | 'idle' | 'done';

/** One connection's answers, one after the other. @throws Fault `unreachable` for what is not HTTP as it should be */
export class AnswerParser {
  #state: State = 'idle';
  #method = '';
  #sink: AnswerSink | undefined;
  #held: Buffer | undefined;
  #left = 0;

  /** The next answer is to a request with this method. */
  expect(method: string, sink: AnswerSink): void {
    this.#method = method;
    this.#sink = sink;
    this.#state = 'head';
  }

  /** Whether an answer is being waited for or read. */
  get isBusy(): boolean {
    return this.#state !== 'idle';
  }

  /** What is left over belongs to nobody, or after a 101 to the other protocol. */
  push(chunk: Buffer): Buffer | undefined {
    let rest: Buffer | undefined = chunk;
    while (rest && rest.length > 0) {
      if (this.#state === 'idle' || this.#state === 'switched' || this.#state === 'done') return rest;
      rest = this.#step(rest);
    }
    return undefined;
  }

  /** The connection has ended. @throws Fault when that was too early */
  end(): void {
    if (this.#state === 'close') this.#finish([]);
    else if (this.#state !== 'idle' && this.#state !== 'switched' && this.#state !== 'done') {
      throw new Fault('unreachable', 'the site broke the connection off before its answer was complete');
    }
  }

  #step(bytes: Buffer): Buffer | undefined {
    switch (this.#state) {
      case 'length':
      case 'chunk': {
        const taken = bytes.length <= this.#left ? bytes : bytes.subarray(0, this.#left);
        this.#left -= taken.length;
        const rest = taken.length === bytes.length ? undefined : bytes.subarray(taken.length);
        const isOver = this.#left === 0;
        if (isOver && this.#state === 'chunk') this.#state = 'gap';
        this.#sink?.onData(taken);
        if (isOver && this.#state === 'length') this.#finish([]);
        return rest;
      }
      case 'close':
        this.#sink?.onData(bytes);
        return undefined;
      case 'gap':
        return this.#gap(bytes);
      case 'size':
        return this.#size(bytes);
      case 'trailers':
        return this.#trailers(bytes);
      default:
        return this.#head(bytes);
    }
  }

  #head(bytes: Buffer): Buffer | undefined {
    const held = this.#held;
    const all = held ? Buffer.concat([held, bytes]) : bytes;
    const end = endOfHead(all, held ? Math.max(0, held.length - 3) : 0);
    if (end < 0) {
      if (all.length > mostHead) throw broken('its header is too long');
      this.#held = all;
      return undefined;
    }
    if (end > mostHead) throw broken('its header is too long');
    this.#held = undefined;
    const answer = readHead(all.toString('latin1', 0, end), this.#method);
    const rest = end === all.length ? undefined : all.subarray(end);
    if (answer.status === 101) {
      this.#state = 'switched';
      this.#sink?.onHead(answer);
      return rest;
    }
    if (answer.status < 200) {
      this.#sink?.onInterim(answer);
      return rest;
    }
    const { framing } = answer;
    this.#state = framing === 'chunked' ? 'size' : framing === 'close' ? 'close' : 'length';
    this.#left = typeof framing === 'object' ? framing.length : 0;
    this.#sink?.onHead(answer);
    if (this.#state === 'length' && this.#left === 0) this.#finish([]);
    return rest;
  }

  #size(bytes: Buffer): Buffer | undefined {
    const held = this.#held;
    const all = held ? Buffer.concat([held, bytes]) : bytes;
    const end = all.indexOf(10);
    if (end < 0) {
      if (all.length > mostLine) throw broken('the size of a chunk is too long');
      this.#held = all;
      return undefined;
    }
    this.#held = undefined;
    const line = all.toString('latin1', 0, end + 1);
    const [, hex] = /^([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n$/.exec(line) ?? [];
    if (hex === undefined || line.length > mostLine) throw broken('the size of a chunk cannot be read');
    this.#left = Number.parseInt(hex, 16);
    this.#state = this.#left === 0 ? 'trailers' : 'chunk';
    return end + 1 === all.length ? undefined : all.subarray(end + 1);
  }

  #gap(bytes: Buffer): Buffer | undefined {
    const held = this.#held;
    const all = held ? Buffer.concat([held, bytes]) : bytes;
    if (all[0] !== 13 || (all.length > 1 && all[1] !== 10)) throw broken('a chunk is longer than its size');
    if (all.length < 2) {
      this.#held = all;
      return undefined;
    }
    this.#held = undefined;
    this.#state = 'size';
    return all.length === 2 ? undefined : all.subarray(2);
  }

  #trailers(bytes: Buffer): Buffer | undefined {
    const held = this.#held;
    const all = held ? Buffer.concat([held, bytes]) : bytes;
    const isNone = all[0] === 13 && all[1] === 10;
    const end = isNone ? 2 : endOfHead(all, 0);
    if (end < 0 || all.length < 2) {
      if (all.length > mostHead) throw broken('its trailers are too long');
      this.#held = all;
      return undefined;
    }
    this.#held = undefined;
    const fields = isNone ? [] : readFields(all.toString('latin1', 0, end), 0);
    const rest = end === all.length ? undefined : all.subarray(end);
    this.#finish(fields);
    return rest;
  }

  #finish(trailers: string[]): void {
    const sink = this.#sink;
    this.#state = 'idle';
    this.#sink = undefined;
    sink?.onEnd(trailers);
  }
}

/** Just after the empty line; -1 where there is none yet. Old servers end lines with LF alone (RFC 9112 §2.2). */
function endOfHead(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(10, from); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === 10) return at + 3;
  }
  return -1;
}

function readHead(text: string, method: string): ServiceAnswer {
  const first = text.indexOf('\n');
  const line = text.charCodeAt(first - 1) === 13 ? text.slice(0, first - 1) : text.slice(0, first);
  const [, minor, code, reason = ''] = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(line) ?? [];
  if (code === undefined) throw broken('its first line is not HTTP/1.1');
  const fields = readFields(text, first + 1);
  const version = minor === '1' ? '1.1' : '1.0';
  const status = Number(code);
  const framing = framingOf(fields, version, method, status);
  const options = tokensOf(valuesOf(fields, 'connection'));
  const keeps =
    framing !== 'close' && (version === '1.1' ? !options.includes('close') : options.includes('keep-alive'));
  return { status, reason, version, fields, keeps, framing };
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const control = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

function readFields(text: string, from: number): string[] {
  if (control.test(text)) throw broken('its header holds control characters');
  const fields: string[] = [];
  for (let at = from; at < text.length; ) {
    const end = text.indexOf('\n', at);
    const stop = text.charCodeAt(end - 1) === 13 ? end - 1 : end;
    if (stop <= at) break;
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon >= stop) throw broken('a line of its header is no field');
    const name = text.slice(at, colon);
    if (!token.test(name)) throw broken('the name of a field cannot be read'); // a folded line, a space before the colon
    const value = text.slice(colon + 1, stop).trim();
    if (value.includes('\r')) throw broken('its header holds control characters');
    fields.push(name, value);
    at = end + 1;
  }
  return fields;
}

/** RFC 9112 §6.3, without the readings that two parties could disagree about. */
function framingOf(
  fields: readonly string[],
  version: '1.0' | '1.1',
  method: string,
  status: number,
): ServiceAnswer['framing'] {
  const codings = valuesOf(fields, 'transfer-encoding');
  const lengths = valuesOf(fields, 'content-length');
  if (status < 200 || status === 204 || status === 304 || method === 'HEAD') return { length: 0 };
  if (codings.length > 0) {
    if (lengths.length > 0) throw broken('it has both a length and a transfer coding');
    if (version !== '1.1' || codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked') {
      throw broken('its transfer coding is not understood');
    }
    return 'chunked';
  }
  const [length] = lengths;
  if (length === undefined) return 'close';
  if (!/^\d{1,15}$/.test(length) || lengths.some(other => other !== length)) throw broken('its length cannot be read');
  return { length: Number(length) };
}

const broken = (what: string): Fault =>
  new Fault('unreachable', 'the site sent an answer that is not HTTP as it should be', { facts: { what } });
