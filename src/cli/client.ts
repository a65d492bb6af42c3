// The gate as a command sees it: verbs of the contract over the unix socket, or over TLS after `sekisho login`.
import { type ClientRequest, type IncomingMessage, request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { type AnswerOf, type InputOf, type VerbName, verbs } from '../api/contract/routes.ts';
import type { Verb } from '../api/contract/verb.ts';
import { Fault, type FaultCode, faults } from '../core/fault.ts';
import { explain, type Place, type Seek, seekGate } from './place.ts';

export interface Client {
  /** Where it speaks to, for sentences. */
  readonly place: Place;
  call<N extends VerbName>(name: N, ...input: Arguments<N>): Promise<AnswerOf<N>>;
  /** A streamed answer, undecoded. @throws Fault `unreachable` when it is cut off: what came is not all */
  open<N extends VerbName>(name: N, ...input: Arguments<N>): Promise<AsyncIterable<Buffer>>;
  /** A streamed answer of JSON lines. */
  lines<N extends VerbName>(name: N, ...input: Arguments<N>): AsyncIterable<AnswerOf<N>>;
}
type Arguments<N extends VerbName> =
  Record<never, never> extends InputOf<N> ? [input?: InputOf<N>] : [input: InputOf<N>];

export interface ConnectOptions extends Seek {
  readonly signal: AbortSignal;
  progress<T>(label: string, work: Promise<T>): Promise<T>;
}

interface Parts {
  readonly params?: Record<string, unknown>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

/** Finds the gate that the options mean. Nothing is sent yet. */
export async function connect(options: ConnectOptions): Promise<Client> {
  return clientOf(await seekGate(options), options);
}

/** A client of one place. */
export function clientOf(place: Place, { signal, progress }: Pick<ConnectOptions, 'signal' | 'progress'>): Client {
  const send = (name: VerbName, input: Parts = {}): Promise<IncomingMessage> =>
    exchange(place, verbs[name] as Verb, input, signal);
  return {
    place,
    async call(name, ...[input]) {
      const work = send(name, input as Parts).then(readJson);
      const answer = (verbs[name] as Verb).answer.safeParse(await progress(`waiting for ${place.label}`, work));
      if (answer.success) return answer.data as never;
      throw new Fault(
        'protocol',
        `${place.label} answered in a form that this version does not know; are both up to date?`,
        {
          cause: answer.error,
        },
      );
    },
    open: async (name, ...[input]) => whole(await send(name, input as Parts), place, signal),
    async *lines(name, ...[input]) {
      const answer = whole(await send(name, input as Parts), place, signal);
      for await (const line of linesOf(answer)) {
        if (line !== '') yield JSON.parse(line);
      }
    },
  };
}

/** Chunks up to the answer's proper end; a conn that was cut off is a fault, not an end. */
async function* whole(answer: IncomingMessage, place: Place, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* answer as AsyncIterable<Buffer>;
  } catch (error) {
    throw signal.aborted ? signal.reason : explain(error as Error, place);
  } finally {
    answer.destroy();
  }
}

async function* linesOf(chunks: AsyncGenerator<Buffer>): AsyncGenerator<string> {
  const input = Readable.from(chunks);
  // readline ends quietly where its input fails; the failure is what counts.
  input.on('error', () => {});
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) yield line;
  if (input.errored) throw input.errored;
}

/** Sends one request; resolves to an answer of 2xx. @throws Fault as the gate said it, or `unreachable`. */
async function exchange(place: Place, verb: Verb, input: Parts, signal: AbortSignal): Promise<IncomingMessage> {
  const body = input.body === undefined ? undefined : Buffer.from(JSON.stringify(input.body));
  const options = {
    ...place.options,
    method: verb.method,
    path: pathOf(verb, input),
    agent: false as const,
    signal,
    headers: {
      host: place.host,
      accept: verb.stream === 'lines' ? 'application/x-ndjson' : 'application/json',
      ...(place.token === undefined ? {} : { authorization: `Bearer ${place.token}` }),
      ...(body ? { 'content-type': 'application/json', 'content-length': body.length } : {}),
    },
  };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const sending: ClientRequest = (place.secure ? secure : plain)(options);
    sending.once('response', resolve);
    sending.once('error', error => reject(signal.aborted ? error : explain(error, place)));
    sending.end(body);
  });
  const status = answer.statusCode ?? 0;
  if (status >= 200 && status < 300) return answer;
  throw await refusal(answer, status, place);
}

/** What an answer that is no success says. */
export async function refusal(answer: IncomingMessage, status: number, place: Place): Promise<Fault> {
  const told = (await readJson(answer).catch(() => undefined)) as
    | { error?: { code?: string; message?: string } }
    | undefined;
  const code = told?.error?.code;
  if (code === undefined || !Object.hasOwn(faults, code)) {
    return new Fault('protocol', `${place.label} answered HTTP ${status}, and not as a Sekisho gate does`);
  }
  return new Fault(code as FaultCode, told?.error?.message ?? faults[code as FaultCode].means);
}

function pathOf(verb: Verb, { params = {}, query = {} }: Parts): string {
  const path = verb.path.replace(/:([a-z]+)/g, (_, key: string) => encodeURIComponent(String(params[key])));
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(pairs.map(([key, value]): [string, string] => [key, String(value)])).toString();
  return search === '' ? path : `${path}?${search}`;
}

const longest = 64 * 1024 * 1024;

async function readJson(answer: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > longest) {
      answer.destroy();
      throw new Fault('protocol', 'the answer is longer than 64 MiB; ask for less with --limit');
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new Fault('protocol', 'the answer is not JSON; is this a Sekisho gate?', { cause });
  }
}
