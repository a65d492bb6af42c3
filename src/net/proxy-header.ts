// The PROXY header coming in: a balancer that is listed must send it, and then speaks for the client behind it.
import type { Conn, Upgrade } from '../core/parts.ts';
import { type Cidr, matchCidr } from '../wire/cidr.ts';
import { proxyHeaderLimit, readProxyHeader } from '../wire/proxy-protocol.ts';
import { peek } from './peek.ts';

/**
 * A conn from a listed network must begin with a header, and its `peer` and `local` become the announced ones; from
 * anybody else the bytes pass untouched, so that nobody can claim an address by sending one.
 * @throws Fault `protocol` when it is missing or malformed
 */
export function expectProxyHeader({ from }: { readonly from: readonly Cidr[] }): Upgrade {
  return async (conn, signal) => {
    const { peer } = conn;
    if (!('host' in peer) || !from.some(network => matchCidr(network, peer.host))) return conn;
    const { header } = await peek(conn.stream, readProxyHeader, {
      limit: proxyHeaderLimit,
      signal,
      used: result => result.length,
    });
    // `local` and UNKNOWN: the balancer speaks for itself, and its own address stands.
    if (!header.source) return conn;
    const { local: _, ...rest } = conn;
    const local = header.destination ?? conn.local;
    return { ...rest, peer: header.source, ...(local ? { local } : {}) } satisfies Conn;
  };
}
