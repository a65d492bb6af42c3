// GET /tunnel?local-proxy-mode=source|destination: the handshake of AWS's data plane. What is refused gets one line of
// text, which localproxy prints.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Fault, isWeather, toFault } from '../../core/fault.ts';
import type { Address, Conn, Log } from '../../core/parts.ts';
import { acceptWebSocket, type MessagePipe } from '../../net/websocket.ts';
import type { Dialect } from './lanes.ts';
import { isClientToken, type SideName } from './token.ts';

/** A handshake whose form is right; whether its token counts is for the service to say. */
export interface Knock {
  readonly side: SideName;
  readonly token: string;
  readonly clientToken: string | undefined;
  readonly protocol: Protocol;
  /** localproxy needs pacing. */
  readonly isLocalproxy: boolean;
  readonly from: Address;
  readonly channel: string;
}

export interface Protocol {
  readonly name: string;
  readonly dialect: Dialect;
  readonly extended: boolean;
}

/** Best first. What is offered does not tell what a peer speaks (`localproxy -y V1` offers 3.0): it is where we begin. */
const protocols: readonly Protocol[] = [
  { name: 'sekisho.tunnel-1', dialect: 'V3', extended: true },
  { name: 'aws.iot.securetunneling-3.0', dialect: 'V3', extended: false },
  { name: 'aws.iot.securetunneling-2.0', dialect: 'V2', extended: false },
  { name: 'aws.iot.securetunneling-1.0', dialect: 'V1', extended: false },
];

/** AWS's: two tunnel messages with their lengths. */
const longestMessage = 2 * (64 * 1024 + 2);
/** Bytes of a request's head. */
const longestHead = 4096;
const path = '/tunnel';
const cookieName = 'awsiot-tunnel-token';

export interface DoorOptions {
  /**
   * Checks the token, admits, and takes the token as used. The socket is opened by `open`, once.
   * @throws Refusal, or a Fault
   */
  readonly admit: (knock: Knock, open: () => Promise<MessagePipe>) => Promise<void>;
  readonly log: Log;
}

/** Said to the client in one line. 4xx: localproxy ends; 5xx: it comes back every 2.5 seconds. */
export class Refusal extends Error {
  readonly status: number;
  constructor(status: number, text: string) {
    super(text);
    this.status = status;
  }
}

export interface Door {
  readonly path: string;
  /** Owns the conn from here on. Never throws. */
  accept(request: IncomingMessage, conn: Conn, head: Buffer): void;
}

export function openDoor({ admit, log }: DoorOptions): Door {
  const answer = async (request: IncomingMessage, conn: Conn, head: Buffer): Promise<void> => {
    const channel = randomUUID();
    let opened = false;
    try {
      const knock = readKnock(request, conn, channel);
      await admit(knock, () => {
        opened = true;
        return acceptWebSocket(request, conn.stream, head, {
          maxMessage: longestMessage,
          protocol: () => knock.protocol.name,
          headers: [`channel-id: ${channel}`],
        });
      });
    } catch (error) {
      if (isWeather(error) || conn.stream.destroyed) return void conn.stream.destroy();
      const refusal = error instanceof Refusal ? error : refusalOf(toFault(error));
      if (refusal.status >= 500) log.warn({ from: conn.peer, error }, refusal.message);
      else log.info({ from: conn.peer, channel }, `a side of a tunnel was refused: ${refusal.message}`);
      if (opened) conn.stream.destroy();
      else refuse(conn.stream, refusal, channel);
    }
  };
  return { path, accept: (request, conn, head) => void answer(request, conn, head) };
}

function refusalOf(fault: Fault): Refusal {
  if (fault.code === 'limit' || fault.code === 'unreachable' || fault.code === 'timeout') {
    return new Refusal(503, fault.message);
  }
  if (fault.code === 'bug') return new Refusal(500, 'Internal failure; the log of the gate has the details.');
  return new Refusal(fault.code === 'denied' || fault.code === 'unknown-caller' ? 403 : 400, fault.message);
}

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  410: 'Gone',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

function refuse(stream: Duplex, { status, message }: Refusal, channel: string): void {
  const body = Buffer.from(`${message}\n`);
  stream.write(
    `HTTP/1.1 ${status} ${reasons[status] ?? 'Refused'}\r\ncontent-type: text/plain; charset=utf-8\r\n` +
      `channel-id: ${channel}\r\nconnection: close\r\ncontent-length: ${body.length}\r\n` +
      `${status === 503 ? 'retry-after: 5\r\n' : ''}\r\n`,
  );
  stream.end(body);
  stream.resume();
  setTimeout(() => stream.destroy(), 5000).unref();
}

/** @throws Refusal */
export function readKnock(request: IncomingMessage, conn: Conn, channel: string): Knock {
  const { headers, rawHeaders, url = '', method = '' } = request;
  const size = rawHeaders.reduce((sum, part) => sum + part.length + 2, url.length + method.length + 12);
  if (size > longestHead) throw new Refusal(400, `The head of the request is longer than ${longestHead} bytes.`);
  const [, query = ''] = /^[^?]*\??(.*)$/.exec(url) ?? [];
  const modes = new URLSearchParams(query).getAll('local-proxy-mode');
  const [side] = modes;
  if (modes.length !== 1 || (side !== 'source' && side !== 'destination')) {
    throw new Refusal(400, 'The query must have local-proxy-mode=source or local-proxy-mode=destination, once.');
  }
  if (method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket' || headers['sec-websocket-version'] !== '13') {
    throw new Refusal(400, 'This is the address of a WebSocket (version 13).');
  }
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')) {
    throw new Refusal(400, 'Sec-WebSocket-Key is missing or is none.');
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim());
  const protocol = protocols.find(({ name }) => offered.includes(name));
  if (!protocol) {
    throw new Refusal(400, 'None of the subprotocols offered is known: aws.iot.securetunneling-1.0, -2.0 or -3.0.');
  }
  return {
    ...{ side, protocol, channel, from: conn.peer },
    token: tokenOf(request, conn),
    clientToken: clientTokenOf(rawHeaders),
    isLocalproxy: /^localproxy\b/i.test(headers['user-agent'] ?? ''),
  };
}

const valuesOf = (rawHeaders: readonly string[], name: string): string[] =>
  rawHeaders.flatMap((value, index) =>
    index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name ? [value] : [],
  );

/** Exactly one in all: the header, or a cookie of this very origin, since a browser adds cookies by itself. */
function tokenOf({ headers, rawHeaders }: IncomingMessage, conn: Conn): string {
  const fromHeader = valuesOf(rawHeaders, 'access-token').map(value => value.trim());
  const fromCookie = valuesOf(rawHeaders, 'cookie')
    .flatMap(line => line.split(';'))
    .map(pair => pair.trim())
    .filter(pair => pair.startsWith(`${cookieName}=`))
    .map(pair => pair.slice(cookieName.length + 1).replace(/^"(.*)"$/, '$1'));
  const [token, ...more] = [...fromHeader, ...fromCookie];
  if (token === undefined || token === '') {
    throw new Refusal(400, 'Invalid access token: The access token is missing; send it in the header access-token.');
  }
  if (more.length > 0) throw new Refusal(400, 'Invalid access token: More than one access token was sent.');
  if (fromCookie.length > 0) {
    const own = `${conn.tls ? 'https' : 'http'}://${headers.host ?? ''}`.toLowerCase();
    if (headers.origin?.toLowerCase() !== own) {
      throw new Refusal(403, 'An access token in a cookie counts only from pages of this gate.');
    }
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(token))
    throw new Refusal(400, 'Invalid access token: It holds what no token does.');
  return token;
}

function clientTokenOf(rawHeaders: readonly string[]): string | undefined {
  const tokens = valuesOf(rawHeaders, 'client-token').map(value => value.trim());
  if (tokens.length > 1) throw new Refusal(400, 'Invalid client token: More than one client token was sent.');
  const [token] = tokens;
  if (token !== undefined && !isClientToken(token)) {
    throw new Refusal(400, 'Invalid client token: A client token is 32 to 128 letters, digits and dashes.');
  }
  return token;
}
