// The path of every call: guard → who → may they → (the gate writes it down) → act → (and what came of it). Read this first.

import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { Fault } from '../core/fault.ts';
import type { AccessRequest, Action, Conn, Gate } from '../core/parts.ts';
import { anonymous } from '../trust/index.ts';
import { type Caller, identifyCaller, isInScope, signInCookie } from './caller.ts';
import { fault } from './contract/common.ts';
import { type AnswerOf, type ParsedOf, type VerbName, verbs } from './contract/routes.ts';
import type { Verb } from './contract/verb.ts';
import type { ApiDeps } from './deps.ts';
import { asFault, faultHandler } from './faults.ts';
import { checkHost, checkOrigin } from './guard.ts';

/** One call, as the handler of a verb sees it. */
export type Call<N extends VerbName> = ParsedOf<N> & {
  readonly caller: Caller;
  /** Whether people do this to themselves, which needs no role. */
  readonly isSelf: boolean;
  readonly headers: FastifyRequest['headers'];
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
  /**
   * Ends a streamed answer when this aborts. Its source should end by itself then; a client that does not even read the
   * end is cut off a little later.
   */
  endOn(signal: AbortSignal): void;
  /** Answers with the verb's `badStatus`: the answer is right, and the news is bad. */
  bad(): void;
  /** Sets the browser's sign-in, or ends it. */
  cookie(token: string | undefined): void;
  /** Any other cookie. */
  setCookie(text: string): void;
  /** Facts for the record of a change; never secrets. */
  note(facts: Readonly<Record<string, string | number | readonly string[] | undefined>>): void;
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
  csv: 'text/csv; charset=utf-8',
  events: 'text/event-stream; charset=utf-8',
  bytes: 'application/octet-stream',
} as const;

/** Milliseconds that a client has to read the end of a stream. */
const farewell = 3000;

export interface Door {
  readonly connOf: (request: FastifyRequest) => Conn | undefined;
  /** Whether this conn came over the unix socket. */
  readonly isLocal: (conn: Conn) => boolean;
}

export function registerVerbs(app: FastifyInstance, handlers: Handlers, deps: ApiDeps, door: Door): void {
  const tell = faultHandler(deps);
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
        request.isSelf = isSelf(row, request);
        judge(request, row, deps);
      },
      // A body that is not even JSON ends the call before preValidation.
      errorHandler: (error, request, reply) => tell(beforeSyntax(error, request, row, deps), request, reply),
      handler: async (request, reply) => run(row, handlers[name] as never, deps, request, reply),
    });
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller;
    isSelf: boolean;
  }
}

async function callerOf(request: FastifyRequest, row: Verb, deps: ApiDeps, door: Door): Promise<Caller> {
  const conn = door.connOf(request);
  if (!conn) throw new Fault('protocol', 'this connection has ended');
  checkHost(request.headers, conn, deps.house.names());
  checkOrigin(request.headers, conn);
  if (row.action === 'public') return { who: anonymous, from: conn.peer };
  return identifyCaller(request.headers, conn, door.isLocal(conn), deps);
}

/**
 * Scope first, then the policy, both before what was sent is looked at: who may not do it does not learn how it is
 * done. Reads get no audit row each; what changes something is decided once more by the gate, which writes it down. @throws Fault `denied`; the refusal goes to the audit
 */
function judge(request: FastifyRequest, row: Verb, { gate, policy, clock }: ApiDeps): void {
  if (row.action === 'public' || row.action === 'known') return;
  const asked = accessRequest(request, row, row.action);
  const reason = reasonAgainst();
  if (reason === undefined) return;
  gate.refuse(asked, reason);
  throw new Fault('denied', 'not allowed', { facts: { action: row.action, reason } });

  function reasonAgainst(): string | undefined {
    if (!isInScope(asked.action, request.caller.scope)) return 'outside the scope of the token';
    if (request.isSelf) return undefined;
    const decision = policy().decide(asked, clock.now());
    if (decision.allow === true) return undefined;
    if (decision.allow === false) return decision.reason;
    return row.changes ? undefined : 'reading cannot wait for approvals';
  }
}

/** What is said of a body that could not be read: first of all that the caller may not do this, if so. */
function beforeSyntax(error: unknown, request: FastifyRequest, row: Verb, deps: ApiDeps): unknown {
  const { code = '' } = error as { code?: string };
  if (!code.startsWith('FST_ERR_CTP') || request.caller === undefined) return error;
  try {
    request.isSelf = isSelf(row, request);
    judge(request, row, deps);
    return error;
  } catch (denied) {
    return denied;
  }
}

function accessRequest(request: FastifyRequest, row: Verb, action: Action): AccessRequest {
  const { who, from } = request.caller;
  const resource = resourceOf(row, action, { ...(request.body as object | undefined), ...(request.params as object) });
  return { who, action, resource, from, ...(request.isSelf ? { opened: 'self' } : {}) };
}

/** What people may do to themselves, by whatever credential of theirs holds the action in its scope. */
function isSelf({ self }: Verb, request: FastifyRequest): boolean {
  const { who } = request.caller;
  if (self === undefined || who.id === '' || who.kind === 'device') return false;
  const values = { ...(request.body as object | undefined), ...(request.params as object) } as Record<string, unknown>;
  return values[self] === who.id;
}

async function run(
  row: Verb,
  handler: (call: unknown) => Promise<unknown>,
  deps: ApiDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const gone = new AbortController();
  let ending: AbortSignal | undefined;
  reply.raw.once('close', () => gone.abort());
  const call = {
    params: request.params,
    query: request.query,
    body: request.body ?? {},
    caller: request.caller,
    isSelf: request.isSelf,
    headers: request.headers,
    signal: gone.signal,
    endOn: (signal: AbortSignal) => {
      ending = signal;
    },
    cookie: (token: string | undefined) => {
      reply.header('set-cookie', signInCookie(token));
    },
    setCookie: (text: string) => {
      reply.header('set-cookie', text);
    },
    bad: () => {
      reply.code(row.badStatus ?? 200);
    },
  };
  deps.metrics.count('api_calls_total', { action: row.action });
  const answer = row.changes
    ? await act(deps.gate, accessRequest(request, row, row.action as Action), note => handler({ ...call, note }))
    : await handler({ ...call, note: () => {} });
  if (row.stream === undefined) return answer;
  const body = Readable.from(answer as Streamed, { objectMode: false });
  // Destroying it runs the source's `finally`, also when the source waits for a client that does not read.
  const end = (): void => void deps.clock.after(farewell, () => body.destroy());
  ending?.addEventListener('abort', end, { once: true });
  if (ending?.aborted) end();
  const isCsv = row.csv === true && (call.query as { readonly format?: string }).format === 'csv';
  return reply.type(contentTypes[isCsv ? 'csv' : row.stream]).send(body);
}

/**
 * One act: written down before it is done, so that a gate that cannot write (a full disk) changes nothing, and
 * afterwards with what came of it. @throws Fault `denied`, `unreachable`, and what the act throws
 */
export async function act<T>(
  gate: Gate,
  asked: AccessRequest,
  work: (note: Call<VerbName>['note']) => Promise<T>,
): Promise<T> {
  await using session = await gate.admit(asked);
  try {
    return await work(facts => {
      for (const [key, value] of Object.entries(facts)) {
        if (value !== undefined) session.note(key, typeof value === 'object' ? value.join(', ') : value);
      }
    });
  } catch (error) {
    session.note('fault', asFault(error).code);
    throw error;
  }
}

/** `cert/:name` with the path's or the body's values; without a template the action's word. */
function resourceOf(row: Verb, action: Action, values: object): string {
  const named = values as Record<string, unknown>;
  return (row.resource ?? action.replace(/\..*/, '/*')).replace(/:([a-z]+)/g, (_, key: string) =>
    String(named[key] ?? '*'),
  );
}

function schemaOf(name: VerbName, row: Verb): object {
  const { params, query, body, answer, stream, csv, summary, action, badStatus } = row;
  const types = [...(stream ? [contentTypes[stream]] : []), ...(csv ? [contentTypes.csv] : [])];
  const content = Object.fromEntries(types.map(type => [type.split(';')[0] ?? '', { schema: answer }]));
  const ok = stream ? { content } : answer;
  return {
    operationId: name,
    summary,
    tags: [name.split('.')[0]],
    ...(action === 'public' ? { security: [] } : {}),
    ...(action === 'public' || action === 'known' ? {} : { description: `Needs \`${action}\`.` }),
    ...(params ? { params } : {}),
    ...(query ? { querystring: query } : {}),
    ...(body ? { body } : {}),
    response: { 200: ok, ...(badStatus ? { [badStatus]: ok } : {}), default: fault } satisfies Record<
      string,
      z.ZodType | object
    >,
  };
}
