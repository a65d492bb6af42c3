// One device's link, the gate's end: HTTP/2 with the roles turned round, so the gate is the client and opens the streams.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { Fault } from '../../core/fault.ts';
import type { Conn, EndReason, Log } from '../../core/parts.ts';
import { Flood } from './floods.ts';
import {
  type Farewell,
  flood,
  frameSize,
  type Hello,
  headerSize,
  linkWindow,
  longestMessage,
  mostStreams,
  streamWindow,
  times,
} from './protocol.ts';
import { isBroken, LinkStreams } from './streams.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_CANCEL } = constants;

/** How long the streams of a link that was replaced or drained may go on. */
const patience = 3_600_000;

/**
 * Bytes that one device's streams may hold here, unread, and what each has at least. What was sent before a window shrank
 * is held too: half of this more for each doubling, 352 MiB for 4,096 streams of which none was ever read.
 */
const budget = 64 * 1024 * 1024;
const least = 65_536;
/** The window of each of so many streams: a power of two, so that it changes seldom. */
const windowFor = (streams: number): number =>
  Math.max(least, Math.min(streamWindow, 2 ** Math.floor(Math.log2(budget / Math.max(1, streams)))));
/** Milliseconds between two growths of it: SETTINGS are counted on the other end. */
const slowGrowth = 10_000;

/** Milliseconds that a busy device always has to answer a ping. */
const shortest = 5000;

/** The client side of HTTP/2 over a conn that the device dialled. Push is refused; what the device may queue is bounded. */
export function speakLink(conn: Conn): ClientHttp2Session {
  const session = connect('https://device', {
    createConnection: () => conn.stream,
    settings: {
      initialWindowSize: streamWindow,
      maxFrameSize: frameSize,
      maxHeaderListSize: headerSize,
      headerTableSize: 0, // headers are few; a table of 4 kB for each of a thousand idle devices is not
      enablePush: false,
    },
    maxDeflateDynamicTableSize: 0,
    maxHeaderListPairs: 32,
    maxSendHeaderBlockLength: headerSize,
    maxSettings: 32,
    maxOutstandingPings: 4,
    maxSessionInvalidFrames: 20,
    maxSessionMemory: 64,
    peerMaxConcurrentStreams: mostStreams,
  } as Parameters<typeof connect>[1]);
  session.on('error', () => {}); // whoever must know is told by 'close'
  return session;
}

export interface LinkOptions {
  readonly conn: Conn;
  readonly log: Log;
  readonly now: () => number;
}

export class DeviceLink {
  readonly #conn: Conn;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #session: ClientHttp2Session;
  readonly #streams = new LinkStreams();
  #state: 'open' | 'retired' | 'closed' = 'open';
  /** When the last sign of life came, and what had been read by then. */
  #heard: number;
  #read = 0;
  #asked = 0;
  #window = streamWindow;
  #grown = 0;
  #early: () => void = () => {};
  /** Streams that this link has carried. */
  carried = 0;
  readonly closed: Promise<void>;

  constructor({ conn, log, now }: LinkOptions) {
    this.#conn = conn;
    this.#log = log;
    this.#now = now;
    this.#heard = now();
    this.#streams.followEnd(conn.stream);
    this.#session = speakLink(conn);
    this.closed = new Promise(resolve => this.#session.once('close', resolve));
    void this.closed.then(() => this.end('closed'));
    this.#watchFloods();
    // The connection's own window (RFC 9113 §6.9.2) is no setting; nghttp2 has a session once it is connected.
    this.#session.once('connect', () => {
      if (!this.#session.destroyed) this.#session.setLocalWindowSize(linkWindow);
    });
    this.#session.on('goaway', () => {
      if (this.#state === 'open') this.#state = 'retired'; // the device is leaving: nothing new, what runs goes on
    });
  }

  get isOpen(): boolean {
    return this.#state === 'open' && !this.#session.closed;
  }
  get live(): number {
    return this.#streams.size;
  }
  /** Bytes on the wire. */
  get bytes(): { readonly up: number; readonly down: number } {
    const { bytesWritten = 0, bytesRead = 0 } = this.#conn.stream as { bytesWritten?: number; bytesRead?: number };
    return { up: bytesWritten, down: bytesRead };
  }

  /** @throws Fault `unreachable`, `timeout`, `denied` (the device's own list), `missing` */
  open(service: string, signal: AbortSignal): Promise<Conn> {
    if (!this.isOpen) throw new Fault('unreachable', 'the device is just leaving; try again');
    const stream = this.#session.request(
      { ':method': 'CONNECT', ':authority': service },
      { endStream: false },
    ) as ClientHttp2Stream;
    this.#streams.add(stream);
    this.#share();
    stream.on('headers', this.#early); // 1xx
    this.carried += 1;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        stream.off('response', answered).off('close', closed);
      };
      const fail = (reason: unknown): void => {
        settle();
        stream.on('error', () => {});
        stream.close(NGHTTP2_CANCEL);
        stream.destroy();
        reject(reason);
      };
      const abort = (): void => fail(signal.reason);
      const closed = (): void =>
        fail(new Fault('unreachable', 'the device broke off before the stream stood', { cause: stream.errored }));
      const late = (): void => fail(new Fault('timeout', `the device did not open the stream within ${times.open} ms`));
      const answered = (headers: Record<string, unknown>): void => {
        const status = Number(headers[':status']);
        if (status !== 200) fail(refusal(status, service));
        else {
          settle();
          resolve(this.#streams.conn(stream, { path: `device:${service}` }));
        }
      };
      const timer = setTimeout(late, times.open);
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      stream.on('error', () => {}); // 'close' follows
      stream.once('response', answered).once('close', closed);
    });
  }

  /**
   * Many streams have smaller windows each, so that slow readers cannot make one device cost gigabytes. node:http2 gives
   * the connection's own window back as soon as it has read (RFC 9113 §6.9.1), so that one bounds nothing.
   */
  #share(): void {
    const wanted = windowFor(this.#streams.size);
    if (wanted === this.#window || this.#session.destroyed) return;
    if (wanted > this.#window) {
      if (this.#now() - this.#grown < slowGrowth) return;
      this.#grown = this.#now();
    }
    this.#window = wanted;
    this.#session.settings({ initialWindowSize: wanted });
  }

  hello(hello: Hello): Promise<unknown> {
    return this.#ask('POST', '/hello', hello).then(text => parseJson(text));
  }
  /** The device's signing request, PEM; its new key stays with it. */
  renew(): Promise<string> {
    return this.#ask('POST', '/renew', {});
  }
  async give(identity: { readonly cert: string; readonly chain: readonly string[] }): Promise<void> {
    await this.#ask('PUT', '/identity', identity);
  }

  /** Called from time to time: asks a silent device whether it lives, and gives up one that does not answer. */
  beat(every: number): void {
    if (isBroken(this.#conn.stream)) this.end('closed');
    this.#share();
    // One that is leaving answers no pings (nghttp2 after GOAWAY); TCP's keep-alive and the deadline look after it.
    if (this.#state !== 'open') return;
    const now = this.#now();
    const { down } = this.bytes;
    if (down !== this.#read) {
      this.#read = down;
      this.#heard = now;
      this.#asked = 0;
      return;
    }
    if (this.#asked > 0) {
      if (now - this.#asked >= Math.max(shortest, every / 2)) this.end('idle');
      return;
    }
    if (now - this.#heard < every) return;
    this.#asked = now;
    const heard = (error: Error | null): void => {
      if (error) return;
      this.#heard = this.#now();
      this.#asked = 0;
    };
    if (!this.#session.destroyed) this.#session.ping(heard);
  }

  /** Nothing new; what runs may go on. Resolves when the link is closed. */
  async retire(why: Farewell, deadline: AbortSignal = AbortSignal.timeout(patience)): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'retired';
    // A device that has linked anew has often lost this connection without a word; after GOAWAY it could not be asked.
    if (why === 'replaced') await this.#answered();
    if (!this.#session.destroyed) {
      // The number counts the peer's streams, and a device opens none (RFC 9113 §6.8); nghttp2 drops one of our own parity.
      this.#session.goaway(NGHTTP2_NO_ERROR, 0, Buffer.from(why));
      this.#session.close();
    }
    const cut = (): void => this.end('drain');
    deadline.addEventListener('abort', cut);
    if (deadline.aborted) cut();
    await this.closed;
    deadline.removeEventListener('abort', cut);
  }

  /** Resolves when a ping was answered, or the link was given up for want of an answer. */
  #answered(): Promise<void> {
    return new Promise(resolve => {
      const late = setTimeout(() => this.end('idle'), shortest);
      const done = (): void => {
        clearTimeout(late);
        resolve();
      };
      void this.closed.then(done);
      if (!this.#session.destroyed) this.#session.ping(error => void (error ?? done()));
    });
  }

  /** At once; every stream of it is reset. */
  end(why: EndReason | 'flood'): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#streams.cut();
    if (!this.#session.destroyed) this.#session.destroy(undefined, why === 'flood' ? NGHTTP2_ENHANCE_YOUR_CALM : 0);
    this.#conn.stream.destroy();
    this.#log.debug({ why }, 'device link ended');
  }

  async #ask(method: 'POST' | 'PUT', path: string, body: unknown): Promise<string> {
    if (this.#session.destroyed || this.#session.closed) throw new Fault('unreachable', 'the device is not linked');
    const stream = this.#session.request({
      ':method': method,
      ':path': path,
      ':scheme': 'https',
      ':authority': 'device',
    });
    return new Promise((resolve, reject) => {
      let [text, status] = ['', 0];
      const fail = (fault: Fault): void => {
        clearTimeout(timer);
        stream.close(NGHTTP2_CANCEL);
        reject(fault);
      };
      const timer = setTimeout(() => fail(new Fault('timeout', `the device did not answer ${path}`)), times.message);
      stream.setEncoding('utf8');
      stream.on('response', headers => {
        status = Number(headers[':status']);
      });
      stream.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > longestMessage) fail(new Fault('protocol', `the device's answer to ${path} is too long`));
      });
      stream.on('error', () => {}); // 'close' follows
      stream.on('end', () => {
        if (status < 200 || status > 299)
          return fail(new Fault('protocol', `the device answered ${path} with ${status}`));
        clearTimeout(timer);
        resolve(text);
      });
      stream.on('close', () => fail(new Fault('unreachable', `the device broke off while it answered ${path}`)));
      stream.end(JSON.stringify(body));
    });
  }

  #watchFloods(): void {
    const session = this.#session;
    const [settings, pings, early] = [flood.settings, flood.pings, flood.informational].map(most => new Flood(most));
    const on = (kind: string, counter: Flood | undefined) => (): void => {
      if (!counter?.isFlooded(this.#now())) return;
      this.#log.warn({ kind }, 'a device floods its link with control frames; it is cut off');
      this.end('flood');
    };
    session.on('remoteSettings', on('settings', settings));
    session.on('ping', on('ping', pings));
    // 1xx answers, frames of other protocols (RFC 7838, RFC 8336): none of them is of any use here.
    const other = on('informational', early);
    this.#early = other;
    session.on('altsvc', other).on('origin', other).on('frameError', other);
    session.on('stream', () => this.end('flood')); // push, which was refused
  }
}

const refusals: Readonly<Record<number, (service: string) => Fault>> = {
  403: service =>
    new Fault('denied', `the device does not allow "${service}"; its own list of services has the last word`),
  404: service => new Fault('missing', `the device has no service "${service}"`),
  429: () => new Fault('limit', 'the device carries as many streams as it can'),
  502: service => new Fault('unreachable', `the device cannot reach its service "${service}": nothing answers there`),
  504: service => new Fault('timeout', `the device's service "${service}" does not answer in time`),
};
const refusal = (status: number, service: string): Fault =>
  refusals[status]?.(service) ?? new Fault('protocol', `the device answered with ${status}`);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Fault('protocol', 'the device answered with something that is not JSON', { cause });
  }
}
