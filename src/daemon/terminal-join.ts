// A terminal on a device, as the command line joins it: the console's WebSocket, over the gate's unix socket or over TLS.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Said, type Told, terminalProtocol } from '../wire/terminal-message.ts';

export type { Said, Told } from '../wire/terminal-message.ts';

export interface JoinTerminal {
  /** `wss://host/path?query`; how one gets there is `dial`'s. */
  readonly url: string;
  readonly dial: () => Duplex;
  readonly token?: string;
  readonly signal: AbortSignal;
  /** What an answer that is no upgrade says. */
  readonly refused: (answer: IncomingMessage) => Promise<Error>;
  readonly lost: (error: Error) => Error;
  /** One after another: the next waits for the promise of the one before. */
  readonly told: (message: Told) => Promise<void>;
  readonly printed: (bytes: Buffer) => Promise<void>;
}
export interface JoinedTerminal {
  say(message: Said): void;
  type(bytes: Uint8Array): void;
  /** Bytes that the socket has not taken yet. */
  readonly waiting: number;
  close(): void;
  /** Resolves when the socket is gone and everything that came has been handed on. @throws what a receiver threw */
  readonly ended: Promise<void>;
}

/** What a gate sends at once stays well below it. */
const longest = 1024 * 1024;
const piece = 32 * 1024;

/** @throws what `refused` and `lost` make of it */
export async function joinTerminal(options: JoinTerminal): Promise<JoinedTerminal> {
  const { url, dial, token, signal } = options;
  const { WebSocket } = await import('ws');
  const socket = new WebSocket(url, terminalProtocol, {
    ...{ maxPayload: longest, perMessageDeflate: false, handshakeTimeout: 30_000 },
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
    createConnection: dial as never,
  });
  const stop = (): void => socket.terminate();
  signal.addEventListener('abort', stop, { once: true });
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<void>();
  ended.catch(() => {});
  let queue: Promise<void> = Promise.resolve();
  socket.on('message', data => {
    const bytes = data as Buffer;
    const next = () => (bytes[0] === 0 ? options.printed(bytes.subarray(1)) : options.told(toldOf(bytes)));
    queue = queue.then(next);
    queue.catch(fail);
  });
  socket.once('close', () => {
    signal.removeEventListener('abort', stop);
    void queue.then(end, fail);
  });
  const send = (bytes: Uint8Array): void => {
    if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
  };
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('unexpected-response', (_, answer) => {
      options.refused(answer).then(reject, reject);
    });
    socket.on('error', error => reject(signal.aborted ? signal.reason : options.lost(error)));
  });
  return {
    say: message => send(Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(message))])),
    type(bytes) {
      for (let at = 0; at < bytes.length; at += piece)
        send(Buffer.concat([Buffer.of(0), bytes.subarray(at, at + piece)]));
    },
    get waiting() {
      return socket.bufferedAmount;
    },
    close: () => socket.close(1000),
    ended,
  };
}

const toldOf = (bytes: Buffer): Told => JSON.parse(bytes.toString('utf8', 1)) as Told;
