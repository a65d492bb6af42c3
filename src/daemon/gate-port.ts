// The gate's own port: looks at each ClientHello and hands the conn, unread, to a route's name or to the gate itself.
import { Fault, isWeather, toFault } from '../core/fault.ts';
import type { Conn, Listener, Log, Metrics, Upgrade } from '../core/parts.ts';
import { peek } from '../net/peek.ts';
import { ConnQueue } from '../net/queue.ts';
import { choose } from '../net/split.ts';
import { acmeAlpn } from '../trust/index.ts';
import { type ClientHello, clientHelloLimit, readClientHello } from '../wire/client-hello.ts';

export interface GatePortOptions {
  readonly listeners: readonly Listener[];
  /** Runs before anything is looked at: a PROXY header. */
  readonly before?: Upgrade;
  /** Milliseconds until the ClientHello must be there. */
  readonly patience: number;
  /** Conns at a time, those of routes included while they are looked at. */
  readonly connections: number;
  /** A protocol without TLS around it, told by its very first bytes. `serve` never throws. */
  readonly raw?: RawTenant;
  /** Everything that no route claims: no SNI, an unknown one, the gate's own. Never throws. */
  readonly serve: (conn: Conn, hello: ClientHello) => Promise<void>;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RawTenant {
  claims(bytes: Uint8Array): boolean | 'more';
  serve(conn: Conn): Promise<void>;
}

export interface RouteBranch {
  readonly name: string;
  readonly names: readonly string[];
  readonly alpn: readonly string[];
  /** ACME's probes (tls-alpn-01) for these names are the gate's to answer. */
  readonly probes?: 'gate';
}

export interface GatePort extends AsyncDisposable {
  /** Accepts here as well, until the listener is disposed. */
  attach(listener: Listener): void;
  /** A listener of what arrives for these names, until it is disposed. */
  branch(branch: RouteBranch): Listener;
  /** Live conns that the gate itself serves. */
  readonly live: number;
}

interface Place extends RouteBranch {
  readonly queue: ConnQueue;
  /** Which came first. */
  readonly number: number;
}
type Choice =
  | {
      readonly name: string;
      readonly names?: readonly string[];
      readonly alpn?: readonly string[];
      readonly place: Place;
    }
  | { readonly name: string; readonly default: true; readonly place?: undefined };

const waiting = 511;

export function openGatePort(options: GatePortOptions): GatePort {
  const { listeners, before, patience, connections, raw: tenant, serve, log, metrics } = options;
  const places = new Places();
  let branches = 0;
  let looking = 0;
  let live = 0;

  const sort = async (raw: Conn): Promise<void> => {
    const signal = AbortSignal.timeout(patience);
    const conn = before ? await before(raw, signal) : raw;
    const hello = await peek(conn.stream, first, { limit: clientHelloLimit, signal });
    if (hello === 'raw') return void own(() => tenant?.serve(conn));
    if (hello === 'not-tls') return sayTls(conn);
    const place = places.find(hello);
    if (!place) return void own(() => serve(conn, hello));
    const told: Conn = hello.sni === undefined ? conn : { ...conn, tls: { sni: hello.sni } };
    if (place.queue.push(told)) return;
    conn.stream.destroy();
    metrics.count('accepts_refused_total', { reason: 'queue' });
  };
  const first = (bytes: Buffer): ReturnType<typeof readClientHello> | 'raw' => {
    const claimed = tenant?.claims(bytes) ?? false;
    return claimed === true ? 'raw' : claimed === 'more' ? 'more' : readClientHello(bytes);
  };
  const own = async (work: () => Promise<void> | undefined): Promise<void> => {
    live++;
    try {
      await work();
    } finally {
      live--;
    }
  };
  const pump = async (listener: Listener): Promise<void> => {
    for await (const conn of listener) {
      if (looking + live >= connections) {
        conn.stream.destroy();
        metrics.count('accepts_refused_total', { reason: 'connections' });
        continue;
      }
      looking++;
      void sort(conn)
        .catch(error => refuse(conn, error, log, metrics))
        .finally(() => looking--);
    }
  };
  const attached = new Set<Listener>();
  const attach = (listener: Listener): void => {
    attached.add(listener);
    void pump(listener).finally(() => attached.delete(listener));
  };
  for (const listener of listeners) attach(listener);

  return {
    get live() {
      return live;
    },
    attach,
    branch(branch) {
      const place: Place = { ...branch, queue: new ConnQueue(waiting), number: ++branches };
      places.add(place);
      return {
        address: [...attached][0]?.address ?? { path: '' },
        [Symbol.asyncIterator]: () => place.queue[Symbol.asyncIterator](),
        async [Symbol.asyncDispose]() {
          places.delete(place);
          place.queue.close();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...attached].map(listener => listener[Symbol.asyncDispose]()));
    },
  };
}

/**
 * Who stands where. With a thousand endpoints a ClientHello is still compared with those few that have its name: exact
 * names are looked up, only wildcards and those without names are gone through.
 */
class Places {
  readonly #byName = new Map<string, Set<Place>>();
  readonly #others = new Set<Place>();

  add(place: Place): void {
    for (const name of exactNames(place)) {
      const here = this.#byName.get(name) ?? new Set();
      this.#byName.set(name, here.add(place));
    }
    if (hasOthers(place)) this.#others.add(place);
  }

  delete(place: Place): void {
    for (const name of exactNames(place)) {
      const here = this.#byName.get(name);
      here?.delete(place);
      if (here?.size === 0) this.#byName.delete(name);
    }
    this.#others.delete(place);
  }

  /** While a route is replaced, its old and its new place both stand: the newer one counts. */
  find(hello: ClientHello): Place | undefined {
    const named = this.#byName.get(hello.sni?.toLowerCase() ?? '') ?? [];
    const choices: Choice[] = [...new Set([...this.#others, ...named])].sort(newestFirst).map(place => ({
      name: place.name,
      ...(place.names.length > 0 ? { names: place.names } : {}),
      ...(place.alpn.length > 0 ? { alpn: place.alpn } : {}),
      place,
    }));
    const choice = choose<Choice>([...choices, { name: 'gate', default: true }], hello);
    const place = typeof choice === 'number' ? undefined : choice.place;
    return place?.probes && hello.alpn.includes(acmeAlpn) ? undefined : place;
  }
}

const newestFirst = (a: Place, b: Place): number => b.number - a.number;
const exactNames = ({ names }: Place): string[] =>
  names.filter(name => !name.startsWith('*')).map(name => name.toLowerCase());
const hasOthers = ({ names }: Place): boolean => names.length === 0 || names.some(name => name.startsWith('*'));

/** Somebody typed http:// — a sentence is kinder than a reset. */
function sayTls(conn: Conn): never {
  const text = 'This port speaks TLS; use https://\n';
  conn.stream.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
  );
  throw new Fault('denied', 'only TLS is spoken on the gate port');
}

function refuse(conn: Conn, error: unknown, log: Log, metrics: Metrics): void {
  if (conn.stream.writableEnded) void conn.close(AbortSignal.timeout(1000));
  else conn.stream.destroy();
  if (isWeather(error)) return;
  const fault =
    error instanceof DOMException ? new Fault('timeout', 'the first bytes did not come in time') : toFault(error);
  metrics.count('faults_total', { code: fault.code, resource: 'gate' });
  const cause = fault.code === 'bug' ? { cause: fault.cause } : {};
  log[fault.code === 'bug' ? 'error' : 'info'](
    { from: conn.peer, code: fault.code, ...fault.facts, ...cause },
    fault.message,
  );
}
