// One TLS connection to a SoftEther server, up to the point where both sides leave HTTP: signature, Hello, PACKs.
//
//   POST /vpnsvc/connect.cgi  VPNCONNECT      →  PACK hello, version, build, random 20
//   POST /vpnsvc/vpn.cgi      PACK method=…   →  PACK error=…, or the Welcome: from its last byte on, frames
import { randomBytes, randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import { Fault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { dialProxy } from '../../../net/http-proxy.ts';
import { peek } from '../../../net/peek.ts';
import { dialTls, type OriginateOptions, originateTls } from '../../../net/tls-dial.ts';
import {
  decodePack,
  encodePack,
  type Pack,
  type PackFields,
  packData,
  packInt,
  packText,
} from '../../../wire/softether-pack.ts';
import { packPath, signaturePath } from '../softether/signature.ts';

/** Where to, and how its certificate is looked at. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** PEM; absent = the system's CAs. */
  readonly ca?: string;
  /** The name in the certificate; default: the host. */
  readonly name?: string;
  /** `false` = whoever answers is believed. */
  readonly verify: boolean;
  /** An HTTP proxy on the way. */
  readonly proxy?: URL;
}
export interface Greeted {
  readonly conn: Conn;
  /** Bound into what proves a password. */
  readonly random: Buffer;
  readonly product: string;
}

/** Milliseconds for each step. */
const patience = 15_000;
const limits = { head: 16 * 1024, body: 256 * 1024 } as const;

/** @throws Fault `unreachable`, `timeout`; `protocol` when something else listens there */
export async function greet(target: Target, signal: AbortSignal): Promise<Greeted> {
  const conn = await dial(target, signal);
  try {
    const pack = await post(conn, target.host, signaturePath, 'image/jpeg', Buffer.from('VPNCONNECT'), signal);
    const random = packData(pack, 'random');
    if (random?.length !== 20) throw new Fault('protocol', `${target.host} greets without a challenge`);
    return { conn, random: Buffer.from(random), product: packText(pack, 'hello') };
  } catch (error) {
    conn.stream.destroy();
    throw error;
  }
}

/** The answer to one PACK, errors too. */
export function say({ conn }: Greeted, host: string, fields: PackFields, signal: AbortSignal): Promise<Pack> {
  const body = encodePack({ ...fields, pencore: randomBytes(randomInt(1000)) });
  return post(conn, host, packPath, 'application/octet-stream', body, signal);
}

async function dial({ host, port, ca, name, verify, proxy }: Target, signal: AbortSignal): Promise<Conn> {
  const tls: OriginateOptions = {
    handshake: patience,
    verify: verify ? { name: name ?? host, ...(ca === undefined ? {} : { ca: [ca] }) } : false,
    // No ALPN: its absence is part of what tells this protocol from a browser.
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
  if (!proxy) return dialTls({ ...tls, host, port, connect: patience }, signal);
  return originateTls(await dialProxy({ proxy, host, port, timeout: patience }, signal), tls, signal);
}

async function post(
  { stream }: Conn,
  host: string,
  path: string,
  type: string,
  body: Buffer,
  signal: AbortSignal,
): Promise<Pack> {
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: ${isIP(host) === 6 ? `[${host}]` : host}`,
    'Keep-Alive: timeout=15; max=19',
    'Connection: Keep-Alive',
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
  ];
  stream.write(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), body]));
  const late = AbortSignal.timeout(patience);
  try {
    const { pack } = await peek(stream, bytes => parseAnswer(bytes, host), {
      limit: limits.head + limits.body,
      signal: AbortSignal.any([signal, late]),
      used: ({ used }) => used,
    });
    return pack;
  } catch (error) {
    if (late.aborted && !signal.aborted) throw new Fault('timeout', `${host} does not answer`, { cause: error });
    throw error;
  }
}

/** @throws Fault `protocol` */
export function parseAnswer(bytes: Buffer, host: string): { readonly pack: Pack; readonly used: number } | 'more' {
  const end = bytes.subarray(0, limits.head).indexOf('\r\n\r\n');
  if (end < 0) {
    if (bytes.length >= limits.head) throw new Fault('protocol', `${host} answers without end`);
    return 'more';
  }
  const text = bytes.toString('latin1', 0, end);
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? 0);
  if (status !== 200) {
    throw new Fault(
      'protocol',
      `${host} does not speak SoftEther’s protocol${status ? ` (HTTP ${status})` : ''}; is there a hub on this gate, and is the port right?`,
    );
  }
  const length = /\r\ncontent-length:[ \t]*(\d{1,7})[ \t]*(?:\r\n|$)/i.exec(text)?.[1];
  if (length === undefined || Number(length) > limits.body)
    throw new Fault('protocol', `${host} answers with no length, or too long`);
  const used = end + 4 + Number(length);
  if (bytes.length < used) return 'more';
  return { pack: decodePack(bytes.subarray(end + 4, used)), used };
}

/** The number that an answer refuses with; 0 = it does not. */
export const errorOf = (pack: Pack): number => packInt(pack, 'error');
