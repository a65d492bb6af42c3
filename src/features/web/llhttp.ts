// Node's own llhttp without the streams around it: it reads every message, and what is built on it costs a third.
import { createRequire } from 'node:module';
import type { Fields } from './headers.ts';

/** What one message is made of, told as it comes. Nothing may throw. */
export interface MessageReader {
  /** The head; the return value says what follows it. */
  head(head: MessageHead): 'body' | 'no-body' | 'stop';
  body(chunk: Buffer): void;
  /** `trailers` are fields after the body. */
  end(trailers: Fields): void;
}

export interface MessageHead {
  /** `1.1`. */
  readonly version: string;
  readonly fields: Fields;
  readonly status: number;
  readonly reason: string;
  /** Whether the connection may carry another message, as this one says. */
  readonly keepsAlive: boolean;
}

/** `stop` in {@link MessageReader.head}: llhttp leaves off after the head, and the rest is the caller's to read. */
const answers = { body: 0, 'no-body': 1, stop: 2 } as const;

/** The parser of Node: undocumented, and the same in every version since 12; where it is missing, nothing starts. */
interface RawParser {
  initialize(type: number, resource: object, maxHeaderSize: number, lenient: number): void;
  /** Bytes read, or what was wrong with them. */
  execute(chunk: Uint8Array): number | (Error & { readonly code: string });
  /** Says that the connection has ended. */
  finish(): undefined | (Error & { readonly code: string });
  close(): void;
  [callback: number]: unknown;
}
const { HTTPParser } = createRequire(import.meta.url)('node:_http_common') as {
  HTTPParser: (new () => RawParser) & {
    readonly REQUEST: number;
    readonly RESPONSE: number;
    readonly kOnHeaders: number;
    readonly kOnHeadersComplete: number;
    readonly kOnBody: number;
    readonly kOnMessageComplete: number;
    readonly kLenientOptionalCRBeforeLF: number;
  };
};
const { kOnHeaders, kOnHeadersComplete, kOnBody, kOnMessageComplete, REQUEST, RESPONSE } = HTTPParser;
/** Old servers end the lines of a head with LF alone (RFC 9112 §2.2); everything else is strict. */
const leniency = HTTPParser.kLenientOptionalCRBeforeLF;

/** Reads the answers of one connection, one after the other. */
export class AnswerParser {
  readonly #parser = new HTTPParser();
  readonly #limit: number;
  /** Fields that came before llhttp had room for all of them, or after the body. */
  #early: string[] = [];
  #state: 'open' | 'closed' = 'open';

  /** `limit`: bytes of a header block. */
  constructor(limit: number, reader: MessageReader) {
    this.#limit = limit;
    const parser = this.#parser;
    this.restart();
    parser[kOnHeaders] = (fields: string[]) => {
      this.#early = this.#early.length === 0 ? fields : [...this.#early, ...fields];
    };
    parser[kOnHeadersComplete] = (
      ...[major, minor, late, , , status, reason, , keepsAlive]: [
        ...[major: number, minor: number, late: string[] | undefined, method: number, url: string],
        ...[status: number, reason: string, upgrade: boolean, keepsAlive: boolean],
      ]
    ) => {
      const fields = this.#taken(late);
      return answers[reader.head({ version: `${major}.${minor}`, fields, status, reason, keepsAlive })];
    };
    parser[kOnBody] = (chunk: Buffer) => reader.body(chunk);
    parser[kOnMessageComplete] = () => reader.end(this.#taken(undefined));
  }

  /** Begins with a message, whatever came before. */
  restart(): void {
    this.#early = [];
    this.#parser.initialize(RESPONSE, {}, this.#limit, leniency);
  }
  /** @returns how many bytes were read, or what was wrong with them */
  read(chunk: Buffer): number | Error {
    return this.#state === 'open' ? this.#parser.execute(chunk) : closed();
  }
  /** The far end has ended its side; a body that ends so is complete now. */
  finish(): Error | undefined {
    return this.#state === 'open' ? this.#parser.finish() : closed();
  }
  /** Gives the memory back: not now, since whoever calls may have been called by the parser. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    setImmediate(free, this.#parser);
  }

  #taken(late: string[] | undefined): string[] {
    const all = this.#early.length === 0 ? (late ?? []) : [...this.#early, ...(late ?? [])];
    if (this.#early.length > 0) this.#early = [];
    return all;
  }
}

/** A request's head, as llhttp reads it; its body, if any, is the caller's to read. */
export interface RequestHead {
  readonly version: string;
  readonly method: string;
  readonly url: string;
  readonly fields: Fields;
  /** CONNECT, or what asks for another protocol. */
  readonly isUpgrade: boolean;
  readonly keepsAlive: boolean;
}

/** Names of methods by llhttp's numbers, learnt from requests. */
const methods = new Map<number, string>();

/** Reads heads of requests that come in one piece, strictly. */
export class RequestParser {
  readonly #parser = new HTTPParser();
  readonly #limit: number;
  #early: string[] = [];
  #url = '';
  #chunk: Buffer = Buffer.alloc(0);
  #head: RequestHead | undefined;
  #state: 'open' | 'closed' = 'open';

  /** `limit`: bytes of a header block. */
  constructor(limit: number) {
    this.#limit = limit;
    const parser = this.#parser;
    parser[kOnHeaders] = (fields: string[], url: string) => {
      this.#early.push(...fields);
      this.#url += url;
    };
    parser[kOnHeadersComplete] = (
      ...[major, minor, late, method, url, , , isUpgrade, keepsAlive]: [
        ...[major: number, minor: number, late: string[] | undefined, method: number, url: string | undefined],
        ...[status: unknown, reason: unknown, upgrade: boolean, keepsAlive: boolean],
      ]
    ) => {
      const fields = this.#early.length === 0 ? (late ?? []) : [...this.#early, ...(late ?? [])];
      const name = this.#methodOf(method);
      this.#head = {
        ...{ version: `${major}.${minor}`, method: name, url: `${this.#url}${url ?? ''}`, fields },
        ...{ isUpgrade, keepsAlive },
      };
      return answers.stop;
    };
  }

  /** The head at the beginning of these bytes and how long it is; undefined where there is not all of one. */
  read(chunk: Buffer): { readonly head: RequestHead; readonly length: number } | undefined {
    const first = chunk[0] ?? 0;
    if (this.#state === 'closed' || first < 0x41 || first > 0x5a) return undefined; // A-Z
    this.#early = [];
    this.#url = '';
    this.#head = undefined;
    this.#chunk = chunk;
    this.#parser.initialize(REQUEST, {}, this.#limit, 0);
    const length = this.#parser.execute(chunk);
    this.#chunk = nothing;
    const head = this.#head as RequestHead | undefined;
    return head && typeof length === 'number' ? { head, length } : undefined;
  }
  /** Gives the memory back: not now, since whoever calls may have been called by the parser. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    setImmediate(free, this.#parser);
  }

  #methodOf(number: number): string {
    let name = methods.get(number);
    if (name === undefined) {
      name = this.#chunk.toString('latin1', 0, Math.max(0, this.#chunk.indexOf(0x20)));
      methods.set(number, name);
    }
    return name;
  }
}

const nothing = Buffer.alloc(0);
const free = (parser: RawParser): void => parser.close();
const closed = (): Error => new Error('the parser is closed');
