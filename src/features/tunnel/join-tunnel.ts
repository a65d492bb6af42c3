// Joins one tunnel from this machine, as AWS's localproxy does, and stays in it until the tunnel ends.
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Fault, toFault } from '../../core/fault.ts';
import type { Address, Log } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import { joinStreams } from './join-streams.ts';
import type { Dialect } from './lanes.ts';
import { dialTunnel, endpointOf } from './local-dial.ts';
import { connectLocal, type Listening, listenLocal, mapServices } from './local-ends.ts';
import { TunnelMux } from './mux.ts';

/** Where connections of one service come from (source) or go to (destination) on this machine. */
export type LocalService =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }
  /** A source's only connection of this service: stdin and stdout, for ssh's ProxyCommand. */
  | { readonly stream: Duplex };

export interface JoinOptions {
  /** `gate.example.com`, `gate.example.com:8443` or `https://gate.example.com`; or `region`: AWS's own endpoint. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly token: string;
  /** 32 to 128 of A-Z a-z 0-9 -; default: a random one, so that a lost connection can come back. */
  readonly clientToken?: string;
  readonly mode: 'source' | 'destination';
  /** A source's, where the destination is an older client and nobody between translates (AWS); default V3. */
  readonly destinationClientType?: Dialect;
  /**
   * By service. A source listens there (port 0 = a free one) and without this on a free port of 127.0.0.1 for each
   * service of the tunnel; a destination dials there, and refuses services that are not named. The key `*` is the
   * service of a tunnel that has none or only one.
   */
  readonly services?: Readonly<Record<string, LocalService>>;
  /** PEM of the CAs that the endpoint's certificate must come from; default: Node's own list and NODE_EXTRA_CA_CERTS. */
  readonly ca?: string | readonly string[];
  /** `http://user:password@proxy:3128`; see proxyFor() for what the environment says. */
  readonly proxy?: string;
  /** Ends it: local connections are closed, and `ended` resolves. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Told with every change; `away` says why and in how many milliseconds the next try is. */
  readonly onState?: (state: TunnelState) => void;
}

export type TunnelState =
  | { readonly state: 'joined'; readonly services: readonly string[] }
  | { readonly state: 'away'; readonly reason: string; readonly retry: number };

/**
 * `closed`: the tunnel is over, as the far side said. `refused`: the token does not count (any more). `broken`: the only
 * connection that this was for ended before its proper end. `aborted`: by `signal`.
 */
export interface TunnelEnd {
  readonly cause: 'closed' | 'refused' | 'broken' | 'aborted';
  readonly text: string;
}

export interface JoinedTunnel {
  /** Of the tunnel, as the service named them; none for a tunnel that was opened without. */
  readonly services: readonly string[];
  /** Where a source listens. */
  readonly listening: Readonly<Record<string, Address>>;
  /** Never rejects. */
  readonly ended: Promise<TunnelEnd>;
  close(): Promise<void>;
}

/**
 * Resolves when the endpoint has let us in and, as a source, the listeners are open. After that it comes back by itself
 * (back-off with jitter) until the tunnel ends.
 * @throws Fault `denied` (the token, in the endpoint's own words), `invalid` (options), `conflict` (a port in use),
 * `unreachable` (a certificate that does not pass); what may pass is tried again until `signal` aborts
 */
export async function joinTunnel(options: JoinOptions): Promise<JoinedTunnel> {
  const joining = new Joining(options);
  return joining.start();
}

/** Milliseconds between pings, as localproxy has it. */
const beat = 20_000;
/** A gate of ours answers pings; this long without a sign is the end of a connection. */
const silence = 50_000;
/** Milliseconds until SERVICE_IDS must have come. */
const patience = 15_000;
/** A local connection that comes while the tunnel is away waits that long, ms. */
const waiting = 10_000;
/** Back-off: the first wait and the longest one, ms, with full jitter. */
const backoff = { first: 500, most: 30_000 };

class Joining {
  readonly #options: JoinOptions;
  readonly #life = new AbortController();
  readonly #clientToken: string;
  readonly #listening: Record<string, Address> = {};
  readonly #open: Listening[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<() => void>();
  #mux: TunnelMux | undefined;
  #map = new Map<string, LocalService>();
  #services: readonly string[] = [];
  #resolveEnded: (end: TunnelEnd) => void = () => {};
  readonly #ended: Promise<TunnelEnd>;

  constructor(options: JoinOptions) {
    this.#options = options;
    this.#clientToken = options.clientToken ?? randomUUID();
    if (!/^[a-zA-Z0-9-]{32,128}$/.test(this.#clientToken)) {
      throw new Fault('invalid', 'a client token is 32 to 128 letters, digits and dashes');
    }
    if (!/^[\x21-\x7e]{1,4096}$/.test(options.token)) throw new Fault('invalid', 'this is not an access token');
    this.#ended = new Promise(resolve => {
      this.#resolveEnded = resolve;
    });
  }

  start(): Promise<JoinedTunnel> {
    const { signal } = this.#options;
    const abort = (): void => this.#end({ cause: 'aborted', text: 'ended here' });
    if (signal.aborted) return Promise.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    void this.#ended.then(() => signal.removeEventListener('abort', abort));
    return new Promise((resolve, reject) => {
      const joined = (): void => {
        resolve({
          services: this.#services,
          listening: this.#listening,
          ended: this.#ended,
          close: async () => {
            this.#end({ cause: 'aborted', text: 'ended here' });
            await this.#ended;
          },
        });
      };
      this.#run(joined).catch(error => {
        const fault = signal.aborted || this.#life.signal.aborted ? undefined : toFault(error);
        this.#end({ cause: 'refused', text: fault?.message ?? 'ended here' });
        reject(fault ?? signal.reason ?? new DOMException('ended here', 'AbortError')); // of no effect once joined
      });
    });
  }

  /** One connection after the other. @throws what is not worth another try */
  async #run(joined: () => void): Promise<void> {
    const { signal } = this.#life;
    const { mode, token, ca, proxy, onState, log } = this.#options;
    const endpoint = endpointOf(this.#options);
    let failures = 0;
    while (!signal.aborted) {
      const dialled = await dialTunnel({
        ...{ endpoint, mode, token, signal, clientToken: this.#clientToken },
        ...(ca === undefined ? {} : { ca }),
        ...(proxy === undefined ? {} : { proxy }),
      });
      let reason: string;
      if ('fatal' in dialled) throw dialled.fatal;
      if ('passing' in dialled) reason = dialled.passing;
      else {
        const since = Date.now();
        reason = await this.#stay(dialled.pipe, dialled.isOurs, joined);
        if (Date.now() - since > 10_000) failures = 0;
      }
      if (signal.aborted) return;
      // The first time at once: most losses are of the moment, and somebody may be typing.
      const most = failures === 0 ? 100 : Math.min(backoff.most, backoff.first * 2 ** (failures - 1));
      failures++;
      const retry = Math.round(most * (0.5 + Math.random() / 2));
      log.info({ reason, retry }, 'the tunnel is away; it is tried again');
      onState?.({ state: 'away', reason, retry });
      await sleep(retry, signal);
    }
  }

  /** As long as one connection lasts; resolves to why it ended. @throws Fault when there is no use in another */
  async #stay(pipe: MessagePipe, isOurs: boolean, joined: () => void): Promise<string> {
    const { mode, destinationClientType, onState, log } = this.#options;
    const told = deferred<readonly string[]>();
    const mux = new TunnelMux({
      ...{ pipe, place: 'end', extended: isOurs, log },
      role: mode === 'source' ? 'opener' : 'acceptor',
      ...(destinationClientType && !isOurs ? { dialect: destinationClientType } : {}),
      // At once: connections to them may stand in the same read.
      onServices: services => {
        try {
          this.#map = mapServices(services, this.#options.services, mode);
          told.resolve(services);
        } catch (error) {
          told.reject(error);
        }
      },
      onStream: stream => connectLocal(stream, this.#map.get(stream.service), log),
    });
    this.#mux = mux;
    const stop = (): void => mux.close(1000, 'this side has ended');
    this.#life.signal.addEventListener('abort', stop, { once: true });
    const beating = this.#beat(pipe, mux, isOurs);
    try {
      const late = setTimeout(() => mux.destroy(), patience);
      const services = await Promise.race([told.promise, pipe.ended]);
      clearTimeout(late);
      if (Array.isArray(services)) {
        await this.#ready(services as readonly string[]);
        onState?.({ state: 'joined', services: this.#services });
        joined();
        for (const go of [...this.#waiting]) go();
      }
      const { code, reason } = await pipe.ended;
      if (this.#life.signal.aborted) return '';
      // Somebody said goodbye, so there is nothing to come back to; a restart is said without words (or with 1012, 1013).
      if (code === 1006 || code === 1012 || code === 1013) return reason || 'the connection was lost';
      this.#end({ cause: 'closed', text: reason || `the far side closed the tunnel (${code})` });
      return reason;
    } catch (error) {
      mux.close(1000, 'this side cannot go on');
      throw error;
    } finally {
      clearInterval(beating);
      this.#life.signal.removeEventListener('abort', stop);
      this.#mux = undefined;
    }
  }

  /** What the tunnel's services are here; a source begins to listen, once. */
  async #ready(services: readonly string[]): Promise<void> {
    const { mode } = this.#options;
    this.#services = services;
    if (mode === 'destination') return;
    for (const [service, place] of this.#map) {
      if (Object.hasOwn(this.#listening, service) || this.#life.signal.aborted) continue;
      if ('stream' in place) {
        this.#listening[service] = { path: 'stdio' };
        this.#enter(service, place.stream);
        continue;
      }
      const listening = await listenLocal(place, socket => {
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        this.#enter(service, socket);
      });
      this.#open.push(listening);
      this.#listening[service] = listening.address;
    }
  }

  /** A local connection of a source goes in, or waits for a moment until the tunnel is back. */
  #enter(service: string, local: Duplex): void {
    local.on('error', () => {});
    const go = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(go);
      if (local.destroyed || !this.#mux) return void local.destroy();
      try {
        const done = joinStreams(local, this.#mux.open(service), { signal: this.#life.signal });
        if (this.#isOnly(service))
          void done.then(end => {
            if (end === 'far-reset') this.#end({ cause: 'broken', text: 'the far side broke off the connection' });
            else this.#end({ cause: 'closed', text: 'the connection has ended' });
          });
      } catch (error) {
        this.#options.log.warn({ service, cause: toFault(error).message }, 'a connection was refused');
        local.destroy();
      }
    };
    const timer = setTimeout(() => {
      this.#waiting.delete(go);
      local.destroy();
    }, waiting);
    if (this.#mux) go();
    else this.#waiting.add(go);
  }
  /** Its one connection is all that this join was for. */
  #isOnly(service: string): boolean {
    const place = this.#map.get(service);
    return place !== undefined && 'stream' in place;
  }

  #beat(pipe: MessagePipe, mux: TunnelMux, isOurs: boolean): NodeJS.Timeout {
    let heard = Date.now();
    pipe.heard(() => {
      heard = Date.now();
    });
    pipe.ping();
    return setInterval(() => {
      if (mux.isBlocked) heard = Date.now(); // we do not listen, so silence says nothing
      // AWS does not always answer pings; a gate of ours does.
      if (isOurs && Date.now() - heard > silence) mux.destroy();
      else pipe.ping();
    }, beat);
  }

  #end(end: TunnelEnd): void {
    this.#resolveEnded(end);
    if (this.#life.signal.aborted) return;
    this.#life.abort(new DOMException(end.text, 'AbortError'));
    for (const listening of this.#open) listening.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((done, fail) => {
    resolve = done;
    reject = fail;
  });
  return { promise, resolve, reject };
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
