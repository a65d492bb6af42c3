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

export interface Ways {
  readonly branches: readonly Way[];
  /** Whoever takes every conn, so that nothing but the PROXY header is read. */
  readonly only?: Way;
  /** Who answers an ACME server that asks for a name by ALPN acme-tls/1 (RFC 8737 §3); nobody else comes there. */
  readonly challenges: ReadonlyMap<string, (conn: Conn) => void>;
}

/**
 * Hands the conn to its way. Where no way fits, the client gets the TLS alert that says so.
 * @throws Fault `denied` or `protocol`, the signal's reason; the caller closes the conn
 */
export async function sortConn(raw: Conn, ways: Ways, before: Upgrade | undefined, signal: AbortSignal): Promise<void> {
  const conn = before ? await before(raw, signal) : raw;
  const { branches, only, challenges } = ways;
  if (only) return only.take(conn);
  const hello = await peek(conn.stream, readClientHello, { limit: clientHelloLimit, signal });
  if (hello === 'not-tls') {
    const unspoken = branches.find(branch => branch.plain);
    if (unspoken) return unspoken.take(conn);
    throw new Fault('protocol', 'only TLS is spoken here');
  }
  const { sni } = hello;
  const answer = hello.alpn.includes('acme-tls/1') ? challenges.get(sni ?? '') : undefined;
  if (answer) return answer(conn);
  const chosen = choose(branches, hello);
  if (typeof chosen !== 'number') return chosen.take(sni === undefined ? conn : { ...conn, tls: { sni } });
  // A fatal alert in the clear, as before any ServerHello (RFC 8446 §6): unrecognized_name or no_application_protocol.
  conn.stream.end(Buffer.from([21, 3, 1, 0, 2, 2, chosen]));
  throw new Fault('denied', 'no route has that name', { facts: { sni, alpn: hello.alpn } });
}
