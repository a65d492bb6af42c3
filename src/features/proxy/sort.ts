// Tells conns of one address apart by their first bytes: the PROXY header taken off, then server name and ALPN read
// from the ClientHello, which stays unread for whoever ends TLS.
import { Fault } from '../../core/fault.ts';
import type { Conn, Upgrade } from '../../core/parts.ts';
import { peek } from '../../net/peek.ts';
import { type Branch, choose } from '../../net/split.ts';
import { clientHelloLimit, readClientHello } from '../../wire/client-hello.ts';

/** A branch, and who takes its conns. */
export interface Way extends Branch {
  take(conn: Conn): void;
}

/**
 * Hands the conn to its way. Where no way fits, the client gets the TLS alert that says so.
 * @throws Fault `denied` or `protocol`, the signal's reason; the caller closes the conn
 */
export async function sortConn(
  raw: Conn,
  ways: readonly Way[],
  before: Upgrade | undefined,
  signal: AbortSignal,
): Promise<void> {
  const conn = before ? await before(raw, signal) : raw;
  const [only] = ways;
  if (ways.length === 1 && only && !only.names && !only.alpn && !only.plain && !only.default) return only.take(conn);
  const hello = await peek(conn.stream, readClientHello, { limit: clientHelloLimit, signal });
  if (hello === 'not-tls') {
    const unspoken = ways.find(way => way.plain);
    if (!unspoken) throw new Fault('protocol', 'only TLS is spoken here');
    return unspoken.take(conn);
  }
  const chosen = choose(ways, hello);
  const { sni } = hello;
  if (typeof chosen !== 'number') return (chosen as Way).take(sni === undefined ? conn : { ...conn, tls: { sni } });
  // A fatal alert in the clear, as before any ServerHello (RFC 8446 §6): unrecognized_name or no_application_protocol.
  conn.stream.end(Buffer.from([21, 3, 1, 0, 2, 2, chosen]));
  throw new Fault('denied', 'no route has that name', { facts: { sni, alpn: hello.alpn } });
}
