// A request and its answer as the relay sees them, whichever HTTP they came by.
import { Writable } from 'node:stream';
import type { Body, Fields } from './headers.ts';

export interface Exchange {
  readonly id: string;
  readonly method: string;
  /** `1.0`, `1.1` or `2.0`. */
  readonly version: string;
  readonly fields: Fields;
  readonly body: Body;
  /** The body; read only where there is one. */
  readonly source: BodySource;
  /** Fields after the body, once it has ended. */
  trailers(): Fields;
  /** `100 Continue`. */
  proceed(): void;
  /** Early hints (103): `Link` and nothing else. */
  inform(status: number, fields: Fields): void;
  /** The head of the answer, once. Its body goes to the sink, which ends it. */
  answer(head: AnswerHead): Sink;
  /** Fields after the answer's body; to be called before its end. */
  addTrailers(fields: Fields): void;
  readonly isAnswered: boolean;
  /** Whether what is written where nothing waits is with the kernel, or copied, when `write` returns. */
  readonly writesAtOnce: boolean;
  /** Breaks off: the client must not take what it has for all of it. */
  abort(): void;
  /** The answer is complete although the request is not: what still comes is not wanted. */
  enough(): void;
  /** Calls once when the client is gone or everything is done. */
  onClose(call: () => void): void;
}

export interface AnswerHead {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  /** Whether an answer to this request of this status has a body (RFC 9110 §6.4.1). */
  readonly hasBody: boolean;
  /** Whether fields may follow the body. */
  readonly trailing: boolean;
}

export const answerHasBody = (method: string, status: number): boolean =>
  method !== 'HEAD' && status !== 204 && status !== 304 && status !== 205;

/** One client connection, by whichever HTTP. */
export interface Front {
  /** New requests are refused; those under way go on. */
  drain(): void;
}

/** What a relay needs of a body that comes: a Readable, or less. */
export interface BodySource {
  on(event: 'data', call: (chunk: Buffer) => void): unknown;
  once(event: 'end', call: () => void): unknown;
  removeAllListeners(event: 'data'): unknown;
  pause(): unknown;
  resume(): unknown;
  readonly readableEnded: boolean;
}

/** And of one that goes: a Writable, or less. Strings are latin1. */
export interface Sink {
  write(chunk: Buffer, written?: () => void): boolean;
  end(): unknown;
  end(chunk: Buffer): unknown;
  end(chunk: string, encoding: 'latin1'): unknown;
  on(event: 'drain', call: () => void): unknown;
  once(event: 'drain', call: () => void): unknown;
  destroy(): unknown;
  readonly writableLength: number;
}

/** For stages that want the whole of Node's interface. */
export function asWritable(sink: Sink): Writable {
  if (sink instanceof Writable) return sink;
  return new Writable({
    write: (chunk: Buffer, _, done) => void sink.write(chunk, () => done()),
    final(done) {
      sink.end();
      done();
    },
    destroy(error, done) {
      if (error) sink.destroy();
      done(error);
    },
  });
}
