// WebSockets as message pipes: accepted from an HTTP upgrade, or begun over a stream that is dialled. Binary only, never
// compressed, with a limit on messages, back-pressure both ways, and pings.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { Fault } from '../core/fault.ts';
import { binaryHead } from '../wire/websocket-frame.ts';

/** Why a pipe ended. `code` 1006: without a word, which is weather. */
export interface PipeEnd {
  readonly code: number;
  readonly reason: string;
}

/** Whole binary messages both ways. A text message ends the pipe with 1003. */
export interface MessagePipe {
  /** The subprotocol that was agreed on. */
  readonly protocol: string;
  /** Calls with each message; the first call starts the reading. The bytes belong to the receiver. */
  receive(deliver: (message: Buffer) => void): void;
  /** False: wait for `drained`, or grow. What is sent after the end is dropped. */
  send(message: Uint8Array): boolean;
  /** Bytes that the socket has not taken yet. */
  readonly waiting: number;
  /** Calls each time that `send` may go on. */
  drained(call: () => void): void;
  /** Stops reading, pings included, until `resume`. */
  pause(): void;
  resume(): void;
  ping(): void;
  /** Calls with each sign of life: a message, a ping, a pong. */
  heard(call: () => void): void;
  /** Says goodbye and destroys a second later, whether or not the far side answered (localproxy does not). */
  close(code: number, reason: string): void;
  /** Without a word: a client takes it for a lost connection. */
  destroy(): void;
  /** Resolves when the socket is gone. Never rejects. */
  readonly ended: Promise<PipeEnd>;
}

export interface AcceptOptions {
  /** Bytes of one message, however many frames it comes in. */
  readonly maxMessage: number;
  /** Picks one of the subprotocols that were offered. */
  readonly protocol: (offered: ReadonlySet<string>) => string | false;
  /** Further fields of the 101 answer. */
  readonly headers?: readonly string[];
}

/** Answers a checked upgrade with 101. The request must be a proper one: ws answers 400 by itself and this rejects. */
export function acceptWebSocket(
  request: IncomingMessage,
  stream: Duplex,
  head: Buffer,
  options: AcceptOptions,
): Promise<MessagePipe> {
  const { maxMessage, protocol, headers = [] } = options;
  return new Promise((resolve, reject) => {
    const server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: maxMessage,
      handleProtocols: protocol,
    });
    server.on('headers', lines => void lines.push(...headers));
    server.on('wsClientError', error => reject(new Fault('protocol', 'not a WebSocket handshake', { cause: error })));
    stream.once('close', () => reject(Object.assign(new Error('gone'), { code: 'ECONNRESET' })));
    server.handleUpgrade(request, stream, head, socket => resolve(pipeOf(socket, plainSender(stream, false))));
  });
}

export interface DialOptions {
  /** `wss://host/path?query`; only Host and path of it are used, the stream stands already. */
  readonly url: string;
  readonly stream: Duplex;
  readonly protocols: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly maxMessage: number;
  /** Milliseconds for the answer. */
  readonly timeout: number;
  /**
   * No masking (a key of zeros, RFC 6455 §5.3): masks protect caches of plain HTTP from what a page may make a browser
   * send (§10.3). Within TLS nobody reads along, and the peer is spared the work. Only for a peer that we know.
   */
  readonly unmasked?: boolean;
  readonly signal: AbortSignal;
}

/** The far side answered the upgrade with something else. */
export class UpgradeRefused extends Error {
  readonly status: number;
  /** The first line of the body, where it was text; at most 500 characters. */
  readonly text: string;
  constructor(status: number, text: string) {
    super(`the WebSocket was refused: ${status} ${text}`);
    this.status = status;
    this.text = text;
  }
}

/** @throws UpgradeRefused; Fault `timeout`; the stream's own error; the signal's reason. The stream is destroyed then. */
export function dialWebSocket(options: DialOptions): Promise<MessagePipe> {
  const { url, stream, protocols, headers, maxMessage, timeout, unmasked, signal } = options;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, [...protocols], {
      perMessageDeflate: false,
      maxPayload: maxMessage,
      headers: { ...headers },
      handshakeTimeout: timeout,
      followRedirects: false,
      createConnection: () => stream as never,
      ...(unmasked ? { generateMask: (mask: Buffer) => void mask.fill(0) } : {}),
    });
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
      socket.off('error', fail);
    };
    const fail = (error: unknown): void => {
      settle();
      socket.on('error', () => {});
      stream.destroy();
      reject(error);
    };
    const abort = (): void => fail(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort);
    socket.on('error', fail);
    socket.once('unexpected-response', (_, answer: IncomingMessage) => {
      void firstLine(answer).then(text => fail(new UpgradeRefused(answer.statusCode ?? 0, text)));
    });
    socket.once('open', () => {
      settle();
      resolve(pipeOf(socket, unmasked ? plainSender(stream, true) : maskedSender(socket)));
    });
  });
}

type Send = (message: Uint8Array, sent: () => void) => void;

const maskedSender =
  (socket: WebSocket): Send =>
  (message, sent) =>
    socket.send(message, { binary: true, compress: false }, sent);

/** Below this much, head and payload are one piece. */
const small = 4096;

/**
 * Whole messages beside ws, which sends only control frames then: what is sent in one turn of the event loop leaves by one
 * system call and in as few TLS records as it fills.
 */
function plainSender(stream: Duplex, isClient: boolean): Send {
  let corked = false;
  const uncork = (): void => {
    corked = false;
    stream.uncork();
  };
  return (message, sent) => {
    if (!corked) {
      corked = true;
      stream.cork();
      setImmediate(uncork);
    }
    const { length } = message;
    const isSmall = length < small;
    const head = binaryHead(length, isClient, isSmall ? length : 0);
    if (isSmall) {
      head.set(message, head.length - length);
      stream.write(head, sent);
    } else {
      stream.write(head);
      stream.write(message, sent);
    }
  };
}

/** Above this much unsent, `send` says so; below half of it `drained` is called. */
const highWater = 512 * 1024;
/** Milliseconds between a close frame and the end of the socket. */
const farewell = 1000;

function pipeOf(socket: WebSocket, transmit: Send): MessagePipe {
  let waiting = 0;
  let full = false;
  let onDrained = (): void => {};
  let onHeard = (): void => {};
  const sent = (bytes: number): void => {
    waiting -= bytes;
    if (full && waiting <= highWater / 2) {
      full = false;
      onDrained();
    }
  };
  socket.on('error', () => {}); // 'close' follows and says what there is to say
  socket.on('ping', () => onHeard());
  socket.on('pong', () => onHeard());
  socket.pause(); // nothing may come before somebody receives it
  const ended = new Promise<PipeEnd>(resolve => {
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  return {
    protocol: socket.protocol,
    get waiting() {
      return waiting;
    },
    receive(deliver) {
      socket.on('message', (data, isBinary) => {
        onHeard();
        if (isBinary) deliver(data as Buffer);
        else this.close(1003, 'only binary messages are spoken here');
      });
      socket.resume();
    },
    send(message) {
      if (socket.readyState !== WebSocket.OPEN) return true;
      waiting += message.length;
      transmit(message, () => sent(message.length));
      if (waiting > highWater) full = true;
      return !full;
    },
    drained(call) {
      onDrained = call;
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    ping() {
      if (socket.readyState === WebSocket.OPEN) socket.ping();
    },
    heard(call) {
      onHeard = call;
    },
    close(code, reason) {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.resume(); // or the answer, and the end, would never be read
      socket.close(code, cutText(reason, 123)); // RFC 6455 §5.5: a control frame holds 125 bytes
      setTimeout(() => socket.terminate(), farewell).unref();
    },
    destroy: () => socket.terminate(),
    ended,
  };
}

/** At most that many bytes of UTF-8, cut between characters. */
function cutText(text: string, most: number): string {
  let cut = text;
  while (Buffer.byteLength(cut) > most) cut = cut.slice(0, -1);
  return cut;
}

async function firstLine(answer: IncomingMessage): Promise<string> {
  let text = '';
  answer.setEncoding('utf8');
  try {
    for await (const part of answer) {
      text += part;
      if (text.length > 4000) break;
    }
  } catch {
    // what came is what there is
  }
  const line = text.trim().split('\n')[0] ?? '';
  // A page is no sentence.
  return line.startsWith('<') ? '' : line.replace(/[^\x20-\x7e\u00a0-\uffff]/g, ' ').slice(0, 500);
}
