// What a verb is: one row says method, path, permission and schemas; api/ serves it, cli/ calls it, OpenAPI prints it.
import type { z } from 'zod';
import type { Action } from '../../core/parts.ts';

export interface Verb {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Fastify's form: `/v1/certs/:serial`. */
  readonly path: string;
  /** What the caller needs: an action its roles or its token's scope grant; `known` = any proven caller; `public` = nobody need be proven. */
  readonly action: Action | 'known' | 'public';
  readonly summary: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodObject | z.ZodUnion<readonly z.ZodObject[]>;
  /** Of a stream: of one item. */
  readonly answer: z.ZodType;
  /** How the answer travels: one JSON value (default), JSON lines, server-sent events, or bytes. */
  readonly stream?: 'lines' | 'events' | 'bytes';
  /** Its lines are to be had as CSV, too: by the query's `format`. */
  readonly csv?: true;
  /** It changes something: the gate admits it, and the audit has `cert.allowed` before and `cert.issued` after it. */
  readonly changes?: true;
  /** The object's name in the audit and in policies, with the path's parameters: `cert/:serial`. */
  readonly resource?: string;
  /** The path's or body's field that names a user: people may do this to themselves. */
  readonly self?: 'name' | 'user';
  /** HTTP status of an answer that is right and bad news, for monitors that read nothing else. */
  readonly badStatus?: number;
  /** The words of the command line that call it. Each verb has them, or says in `noCli` why not. */
  readonly cli?: string;
  /** Why no command calls it, and what does the same there. */
  readonly noCli?: string;
}

/** Keeps the row's exact types. */
export const verb = <const V extends Verb>(row: V): V => row;

type In<S> = S extends z.ZodType ? z.input<S> : Record<never, never>;
type Out<S> = S extends z.ZodType ? z.output<S> : Record<never, never>;
/** What a caller passes. */
export type Input<V extends Verb> = (V['params'] extends z.ZodType ? { params: In<V['params']> } : { params?: never }) &
  (V['query'] extends z.ZodType
    ? Record<never, never> extends In<V['query']>
      ? { query?: In<V['query']> }
      : { query: In<V['query']> }
    : { query?: never }) &
  (V['body'] extends z.ZodType ? { body: In<V['body']> } : { body?: never });
/** What the handler is given, after validation. */
export type Parsed<V extends Verb> = {
  readonly params: Out<V['params']>;
  readonly query: Out<V['query']>;
  readonly body: Out<V['body']>;
};
export type Answer<V extends Verb> = z.output<V['answer']>;
