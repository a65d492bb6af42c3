// The path of every call, one after the other: guard → who → may they → write down → act → write down. Read this first.

import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { Fault } from '../core/fault.ts';
import type { Action, Conn } from '../core/parts.ts';
import { anonymous } from '../trust/index.ts';
import { type Caller, identifyCaller, nobodysRights, permit } from './caller.ts';
import { fault } from './contract/common.ts';
import { type AnswerOf, type ParsedOf, type VerbName, verbs } from './contract/routes.ts';
import type { Verb } from './contract/verb.ts';
import type { ApiDeps } from './deps.ts';
import { asFault } from './faults.ts';
import { checkHost, checkOrigin } from './guard.ts';

/** One call, as the handler of a verb sees it. */
export type Call<N extends VerbName> = ParsedOf<N> & {
  readonly caller: Caller;
  /** By which rule it is allowed. */
  readonly rule: string;
  readonly headers: FastifyRequest['headers'];
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
  /** Answers with the verb's `badStatus`: the answer is right, and the news is bad. */
  bad(): void;
  /** Facts for the record of a change; never secrets. */
  note(facts: Readonly<Record<string, unknown>>): void;
  /** The name of what was acted on, where the path does not say it. */
  about(resource: string): void;
};
/** A stream's handler gives chunks of text or bytes. */
export type Streamed = AsyncIterable<string | Uint8Array>;
export type Handler<N extends VerbName> = (
  call: Call<N>,
) => Promise<(typeof verbs)[N] extends { readonly stream: string } ? Streamed : AnswerOf<N>>;
/** Every verb has its handler: the compiler counts them. */
export type Handlers = { readonly [N in VerbName]: Handler<N> };

const contentTypes = {
  lines: 'application/x-ndjson; charset=utf-8',
  events: 'text/event-stream; charset=utf-8',
  bytes: 'application/octet-stream',
} as const;

export interface Door {
  readonly connOf: (request: FastifyRequest) => Conn | undefined;
  /** Whether this conn came over the unix socket. */
  readonly isLocal: (conn: Conn) => boolean;
}

export function registerVerbs(app: FastifyInstance, handlers: Handlers, deps: ApiDeps, door: Door): void {
  for (const [name, row] of Object.entries(verbs) as [VerbName, Verb][]) {
    app.route({
      method: row.method,
      url: row.path,
      schema: schemaOf(name, row),
      // Before the body is read: strangers get neither validation messages nor a megabyte of our memory.
      onRequest: async request => {
        request.caller = await callerOf(request, row, deps, door);
      },
      preValidation: async request => {
        request.rule = ruleOf(request, row, deps);
      },
      handler: async (request, reply) => run(row, handlers[name] as never, deps, request, reply),
    });
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller;
    /** By which rule it is allowed. */
    rule: string;
  }
}

async function callerOf(request: FastifyRequest, row: Verb, deps: ApiDeps, door: Door): Promise<Caller> {
  const conn = door.connOf(request);
  if (!conn) throw new Fault('protocol', 'this connection has ended');
  checkHost(request.headers, conn, deps.house.names());
  checkOrigin(request.headers, conn);
  if (row.action === 'public') return { who: anonymous, from: conn.peer, rights: nobodysRights };
  return identifyCaller(request.headers, conn, door.isLocal(conn), deps, AbortSignal.timeout(10_000));
}

function ruleOf(request: FastifyRequest, row: Verb, { gate }: ApiDeps): string {
  const { caller } = request;
  try {
    return selfRule(row, request, caller) ?? permit(caller, row.action);
  } catch (error) {
    const resource = resourceOf(row, request.params, undefined);
    gate.refuse(
      { who: caller.who, action: row.action as Action, resource, from: caller.from },
      'no role or scope grants it',
    );
    throw error;
  }
}

/** What people may do to themselves, signed in with all their rights (a token with a scope is not the person). */
function selfRule(row: Verb, request: FastifyRequest, { who, rights }: Caller): string | undefined {
  if (row.self === undefined || rights.scope !== undefined || who.id === '' || who.kind === 'device') return undefined;
  const named =
    (request.params as Record<string, unknown>)[row.self] ??
    (request.body as Record<string, unknown> | null)?.[row.self];
  return named === who.id ? 'self' : undefined;
}

async function run(
  row: Verb,
  handler: (call: unknown) => Promise<unknown>,
  deps: ApiDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const { caller, rule } = request;
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  let facts: Record<string, unknown> = {};
  let resource = resourceOf(row, request.params, request.body);
  const call = {
    params: request.params,
    query: request.query,
    body: request.body ?? {},
    caller,
    rule,
    headers: request.headers,
    signal: gone.signal,
    bad: () => {
      reply.code(row.badStatus ?? 200);
    },
    note: (more: object) => {
      facts = { ...facts, ...more };
    },
    about: (name: string) => {
      resource = name;
    },
  };
  const record = (event: string, outcome: 'allowed' | 'done' | 'failed'): Promise<unknown> =>
    deps.audit.append({ event, who: caller.who, from: caller.from, resource, rule, outcome, facts });
  const answer =
    row.event === undefined ? await handler(call) : await change(row, () => handler(call), record, call.note);
  deps.metrics.count('api_calls_total', { action: row.action });
  if (row.stream === undefined) return answer;
  return reply.type(contentTypes[row.stream]).send(Readable.from(answer as Streamed, { objectMode: false }));
}

/**
 * A change is written down before it is made, so that a gate that cannot write (a full disk) changes nothing, and
 * afterwards with what came of it.
 */
async function change(
  row: Verb,
  act: () => Promise<unknown>,
  record: (event: string, outcome: 'allowed' | 'done' | 'failed') => Promise<unknown>,
  note: (facts: object) => void,
): Promise<unknown> {
  const asked = row.action === 'known' || row.action === 'public' ? (row.event ?? '') : row.action;
  if (row.action !== 'public') await record(asked, 'allowed');
  try {
    const answer = await act();
    await record(row.event ?? '', 'done');
    return answer;
  } catch (error) {
    note({ code: asFault(error).code });
    if (row.action !== 'public') await record(asked, 'failed');
    throw error;
  }
}

/** `cert/:name` with the path's or the body's values. */
function resourceOf(row: Verb, params: unknown, body: unknown): string {
  const values = { ...(body as object | undefined), ...(params as object | undefined) } as Record<string, unknown>;
  const fallback = `${row.path.split('/')[2] ?? 'api'}`;
  return (row.resource ?? `api/${fallback}`).replace(/:([a-z]+)/g, (_, key: string) => String(values[key] ?? '*'));
}

function schemaOf(name: VerbName, row: Verb): object {
  const { params, query, body, answer, stream, summary, action, badStatus } = row;
  const ok = stream ? { content: { [contentTypes[stream].split(';')[0] ?? '']: { schema: answer } } } : answer;
  return {
    operationId: name,
    summary,
    tags: [name.split('.')[0]],
    ...(action === 'public' ? { security: [] } : {}),
    ...(action === 'public' || action === 'known' ? {} : { description: `Needs \`${action}\`.` }),
    ...(params ? { params } : {}),
    ...(query ? { querystring: query } : {}),
    ...(body ? { body } : {}),
    response: { 200: ok, ...(badStatus ? { [badStatus]: ok } : {}), default: fault } satisfies Record<string, z.ZodType | object>,
  };
}
