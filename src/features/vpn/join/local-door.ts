// The hub for programs of this machine: SOCKS5 (RFC 1928) and an HTTP proxy on one port of loopback, told by the first byte.
//
//   SOCKS5   05 | methods n | n …            →  05 00        no password: loopback is the border
//            05 01 00 | 1 IPv4 4, 3 name, 4 IPv6 16 | port 2  →  05 | reply | 00 01 0.0.0.0 0
//   HTTP     CONNECT host:port, or an absolute http:// address, whose connection then serves that one host
import { isIPv4 } from 'node:net';
import { Fault, type FaultCode, toFault } from '../../../core/fault.ts';
import type { Conn, Listener, Log, Metrics } from '../../../core/parts.ts';
import { peek } from '../../../net/peek.ts';
import { splice } from '../../../net/splice.ts';
import { listenTcp } from '../../../net/tcp.ts';
import { u16 } from '../../../wire/bytes.ts';

export type Dial = (host: string, port: number, signal: AbortSignal) => Promise<Conn>;
export interface LocalDoorOptions {
  readonly host: string;
  readonly port: number;
  readonly dial: Dial;
  readonly log: Log;
  readonly metrics: Metrics;
}
/** Where to, and how the program is told that it stands or why it does not. */
interface Wish {
  readonly host: string;
  readonly port: number;
  readonly accepted: Uint8Array;
  refused(fault: Fault): Uint8Array;
  /** What the target hears first. */
  readonly head?: Buffer;
}

const limits = { head: 64 * 1024, conns: 1024 } as const;
/** Milliseconds: for what the program wants, for the target, for the farewell. */
const patience = { wish: 15_000, dial: 30_000, close: 3000 } as const;

/** @throws Fault `invalid` for an address that others could reach, `conflict` when the port is taken */
export async function openLocalDoor(options: LocalDoorOptions): Promise<Listener> {
  const { host, port, log, metrics } = options;
  if (!(isIPv4(host) && host.startsWith('127.')) && host !== '::1') {
    throw new Fault('invalid', `the hub is opened on loopback only, like 127.0.0.1:1080; ${host} is none`);
  }
  const listener = await listenTcp({ host, port, log, metrics });
  void serve(listener, options);
  return listener;
}

async function serve(listener: Listener, options: LocalDoorOptions): Promise<void> {
  const end = new AbortController();
  let live = 0;
  try {
    for await (const conn of listener) {
      if (live >= limits.conns) {
        conn.stream.destroy();
        continue;
      }
      live++;
      void carry(conn, options, end.signal).finally(() => live--);
    }
  } finally {
    end.abort('closed');
  }
}

async function carry(conn: Conn, { dial, log }: LocalDoorOptions, end: AbortSignal): Promise<void> {
  let far: Conn | undefined;
  try {
    const wish = await readWish(conn, AbortSignal.any([end, AbortSignal.timeout(patience.wish)]));
    try {
      far = await dial(wish.host, wish.port, AbortSignal.any([end, AbortSignal.timeout(patience.dial)]));
    } catch (error) {
      const fault = dialFault(error, wish);
      log.info({ host: wish.host, port: wish.port, code: fault.code }, fault.message);
      conn.stream.write(wish.refused(fault));
      return;
    }
    if (wish.accepted.length > 0) conn.stream.write(wish.accepted);
    if (wish.head) far.stream.write(wish.head);
    await splice(conn, far, { signal: end, idle: 0, halfClose: true, count: () => {} });
  } catch (error) {
    log.debug({ error }, 'a program of this machine was not served');
  } finally {
    const deadline = AbortSignal.timeout(patience.close);
    await Promise.all([conn.close(deadline), far?.close(deadline)]);
  }
}

function dialFault(error: unknown, { host, port }: Wish): Fault {
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return new Fault('timeout', `${host}:${port} did not answer on the hub`);
  return toFault(error);
}

async function readWish(conn: Conn, signal: AbortSignal): Promise<Wish> {
  const { stream } = conn;
  const first = await peek(stream, bytes => bytes[0] ?? -1, { limit: 1, signal });
  if (first !== 5)
    return peek(stream, readHttp, { limit: limits.head, signal, used: () => 0 }).then(({ used, wish }) =>
      drop(stream, used, wish, signal),
    );
  const offered = await peek(stream, readMethods, { limit: 257, signal, used: list => 2 + list.length });
  if (!offered.includes(0)) {
    stream.write(Uint8Array.of(5, 0xff));
    throw new Fault('protocol', 'the program insists on a SOCKS5 method that is not offered here');
  }
  stream.write(Uint8Array.of(5, 0));
  const { wish } = await peek(stream, readSocks, { limit: 262, signal, used: ({ used }) => used });
  if (typeof wish !== 'number') return wish;
  stream.write(socksAnswer(wish));
  throw new Fault('protocol', 'the program asked for a SOCKS5 command that is not served');
}

/** Takes `used` bytes off the stream. */
const drop = (stream: Conn['stream'], used: number, wish: Wish, signal: AbortSignal): Promise<Wish> =>
  peek(stream, bytes => (bytes.length < used ? 'more' : wish), { limit: limits.head, signal, used: () => used });

const readMethods = (bytes: Buffer): Uint8Array | 'more' => {
  const count = bytes[1];
  if (count === undefined || bytes.length < 2 + count) return 'more';
  return bytes.subarray(2, 2 + count);
};

/** A number = the reply that refuses it. */
function readSocks(bytes: Buffer): { readonly wish: Wish | number; readonly used: number } | 'more' {
  if (bytes.length < 5) return 'more';
  const [version, command, , type, length = 0] = bytes;
  if (version !== 5) throw new Fault('protocol', 'this is not SOCKS5');
  const size = { 1: 4, 3: 1 + length, 4: 16 }[type ?? 0];
  if (size === undefined) return { wish: socksReplies.addressType, used: bytes.length };
  const used = 4 + size + 2;
  if (bytes.length < used) return 'more';
  if (command !== 1) return { wish: socksReplies.command, used };
  if (type === 4) return { wish: socksReplies.addressType, used };
  const host = type === 1 ? bytes.subarray(4, 8).join('.') : bytes.toString('latin1', 5, 5 + length);
  if (!isName(host)) return { wish: socksReplies.addressType, used };
  const refused = ({ code }: Fault): Uint8Array => socksAnswer(replyOf[code] ?? 1);
  return { wish: { host, port: u16(bytes, used - 2), accepted: socksAnswer(0), refused }, used };
}

/** RFC 1928 §6. */
const socksReplies = { command: 7, addressType: 8 } as const;
const replyOf: Partial<Record<FaultCode, number>> = { denied: 2, unreachable: 4, timeout: 6, gone: 3 };
const socksAnswer = (reply: number): Uint8Array => Uint8Array.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0);

function readHttp(bytes: Buffer): { readonly wish: Wish; readonly used: number } | 'more' {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) {
    if (bytes[0] !== undefined && (bytes[0] < 0x41 || bytes[0] > 0x5a))
      throw new Fault('protocol', 'neither SOCKS5 nor HTTP');
    return 'more';
  }
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [, method = '', target = '', version = ''] = /^([A-Z]{1,20}) ([\x21-\x7e]+) (HTTP\/1\.[01])$/.exec(first) ?? [];
  const used = end + 4;
  const refused = (fault: Fault): Uint8Array => httpAnswer(statusOf[fault.code] ?? '502 Bad Gateway', fault.message);
  if (method === 'CONNECT') {
    const [, host = '', port = ''] = /^([^:\s]+):(\d{1,5})$/.exec(target) ?? [];
    if (!isName(host) || !isPort(Number(port))) throw new Fault('protocol', 'CONNECT without host:port');
    const accepted = Buffer.from(`${version} 200 Connection established\r\n\r\n`);
    return { wish: { host, port: Number(port), accepted, refused }, used };
  }
  const url = /^http:\/\//i.test(target) && URL.canParse(target) ? new URL(target) : undefined;
  // Origin form is what a web page can make a browser send here; it is refused like everything else.
  if (!url || !isName(url.hostname)) throw new Fault('protocol', 'HTTP without an absolute http:// address');
  // One host for one connection: the next request may name another, so this one says that it is the last.
  const kept = lines.filter(line => !/^(connection|keep-alive|proxy-[a-z-]+|host):/i.test(line));
  const head = [`${method} ${url.pathname}${url.search} HTTP/1.1`, `Host: ${url.host}`, ...kept, 'Connection: close'];
  return {
    wish: {
      ...{ host: url.hostname, port: Number(url.port || 80), accepted: new Uint8Array(0), refused },
      head: Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'),
    },
    used,
  };
}
const statusOf: Partial<Record<FaultCode, string>> = { denied: '403 Forbidden', timeout: '504 Gateway Timeout' };
const httpAnswer = (status: string, text: string): Uint8Array => {
  const body = Buffer.from(`${text}\n`);
  const head = `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
};

const isName = (host: string): boolean => /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253})$/.test(host);
const isPort = (port: number): boolean => port > 0 && port < 65_536;
