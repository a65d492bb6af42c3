// One listener becomes several, told apart by what arrives first: a ClientHello's server name and application
// protocols, or bytes that are not TLS.
import { Fault, isWeather, toFault } from '../core/fault.ts';
import type { Conn, Listener, Log, Metrics } from '../core/parts.ts';
import { type ClientHello, clientHelloLimit, readClientHello } from '../wire/client-hello.ts';
import { peek } from './peek.ts';
import { ConnQueue } from './queue.ts';

export interface Branch {
  readonly name: string;
  /** Server names; `*.example.com` matches one or more labels. */
  readonly names?: readonly string[];
  /** One of these must be offered; without names a client that offers none does not come here. */
  readonly alpn?: readonly string[];
  /** Takes TLS that no other branch takes. */
  readonly default?: boolean;
  /** Takes what is not TLS. */
  readonly plain?: boolean;
}
export interface SplitOptions {
  /** Milliseconds until the first bytes must have told. */
  readonly patience: number;
  /** Conns that may be peeked at together; further ones are reset. Default 10,000. */
  readonly peeking?: number;
  /** Conns that may wait in each branch; default 511. */
  readonly queue?: number;
  /** Runs before the peek (a PROXY header). */
  readonly before?: (conn: Conn, signal: AbortSignal) => Promise<Conn>;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Bytes that were looked at are put back: a branch's conn is read from its first byte. `tls.sni` is what the hello
 * said. Nobody's conn gets a TLS alert and is closed. The listener is disposed with the last branch.
 */
export function split<Name extends string>(
  listener: Listener,
  branches: readonly (Branch & { readonly name: Name })[],
  options: SplitOptions,
): Record<Name, Listener> {
  const { patience, peeking = 10_000, queue = 511, before, log, metrics } = options;
  const queues = new Map(branches.map(branch => [branch.name as string, new ConnQueue(queue)]));
  let looking = 0;
  let open = branches.length;

  const sort = async (raw: Conn): Promise<void> => {
    const signal = AbortSignal.timeout(patience);
    const conn = before ? await before(raw, signal) : raw;
    const hello = await peek(conn.stream, readClientHello, { limit: clientHelloLimit, signal });
    const branch = hello === 'not-tls' ? branches.find(one => one.plain) : choose(branches, hello);
    if (typeof branch === 'number' || !branch) {
      if (typeof branch === 'number') conn.stream.end(alert(branch));
      throw new Fault('denied', hello === 'not-tls' ? 'only TLS is spoken here' : 'no service has that name', {
        facts: hello === 'not-tls' ? {} : { sni: hello.sni, alpn: hello.alpn },
      });
    }
    const told = hello === 'not-tls' || hello.sni === undefined ? conn : { ...conn, tls: { sni: hello.sni } };
    if (queues.get(branch.name)?.push(told)) return;
    conn.stream.destroy();
    metrics.count('accepts_refused_total', { reason: 'queue' });
  };
  const pump = async (): Promise<void> => {
    for await (const conn of listener) {
      if (looking >= peeking) {
        conn.stream.destroy();
        metrics.count('accepts_refused_total', { reason: 'peeking' });
        continue;
      }
      looking++;
      sort(conn)
        .catch(error => refuse(conn, error, log, metrics))
        .finally(() => looking--);
    }
    for (const each of queues.values()) each.close();
  };
  void pump();

  const branchListener = (name: string): Listener => {
    let state: 'open' | 'closed' = 'open';
    return {
      address: listener.address,
      [Symbol.asyncIterator]: () => (queues.get(name) as ConnQueue)[Symbol.asyncIterator](),
      async [Symbol.asyncDispose]() {
        if (state === 'closed') return;
        state = 'closed';
        queues.get(name)?.close();
        if (--open === 0) await listener[Symbol.asyncDispose]();
      },
    };
  };
  return Object.fromEntries(branches.map(({ name }) => [name, branchListener(name)])) as Record<Name, Listener>;
}

const [unrecognizedName, noApplicationProtocol] = [112, 120]; // RFC 6066 §3, RFC 7301 §3.2

/**
 * The branch for a hello, or the alert to send. Exact names go before wildcards, longer wildcards before shorter ones,
 * names before none, and among those an application protocol that fits before none asked for. A client that offers no
 * protocol at all may still come to a branch by its name.
 */
export function choose<B extends Branch>(branches: readonly B[], hello: ClientHello): B | number {
  const ranked = branches
    .filter(branch => !branch.plain && (branch.names || branch.alpn))
    .map(branch => ({ branch, name: nameRank(branch, hello.sni), protocol: protocolRank(branch, hello.alpn) }))
    .filter(({ name }) => name >= 0);
  const [best] = ranked
    .filter(({ name, protocol }) => protocol > 0 || (protocol === 0 && name > 0))
    .sort((a, b) => b.name - a.name || b.protocol - a.protocol);
  const other = branches.find(branch => branch.default) ?? branches.find(isBare);
  return best?.branch ?? other ?? (ranked.length > 0 ? noApplicationProtocol : unrecognizedName);
}

const isBare = ({ names, alpn, plain }: Branch): boolean => !names && !alpn && !plain;

/** 2 = one of its protocols is offered, 1 = it asks for none, 0 = none is offered, -1 = only others are. */
function protocolRank({ alpn }: Branch, offered: readonly string[]): number {
  if (!alpn) return 1;
  if (offered.length === 0) return 0;
  return alpn.some(one => offered.includes(one)) ? 2 : -1;
}

/** Negative = it has names and this is none of them. */
function nameRank({ names }: Branch, sni: string | undefined): number {
  if (!names) return 0;
  const ranks = names.map(name => {
    const wanted = name.toLowerCase();
    if (wanted === sni) return 1000;
    return wanted.startsWith('*.') && sni?.endsWith(wanted.slice(1)) ? wanted.length : -1;
  });
  return Math.max(-1, ...ranks);
}

/** A fatal alert in the clear, which is what stands before any ServerHello (RFC 8446 §6). */
const alert = (description: number): Buffer => Buffer.from([21, 3, 1, 0, 2, 2, description]);

function refuse(conn: Conn, error: unknown, log: Log, metrics: Metrics): void {
  // An alert on its way out is let go first; whoever does not read it is cut off.
  if (conn.stream.writableEnded) void conn.close(AbortSignal.timeout(1000));
  else conn.stream.destroy();
  if (isWeather(error)) return;
  const fault =
    error instanceof DOMException ? new Fault('timeout', 'the first bytes did not come in time') : toFault(error);
  metrics.count('faults_total', { code: fault.code, resource: 'listener' });
  log[fault.code === 'bug' ? 'error' : 'info']({ from: conn.peer, code: fault.code, ...fault.facts }, fault.message);
}
