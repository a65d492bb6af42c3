// Reaches one peer: TCP, TLS, a unix socket, a device or datagrams, with the PROXY header where it is wanted.
import { Fault } from '../../core/fault.ts';
import type { Address, Conn, Dialer, Session } from '../../core/parts.ts';
import { dialTcp } from '../../net/tcp.ts';
import { type ClientTlsOptions, dialTls, originateTls } from '../../net/tls.ts';
import { dialUdp } from '../../net/udp.ts';
import { dialUnix } from '../../net/unix.ts';
import { writeProxyHeader } from '../../wire/proxy-protocol.ts';
import type { Peer } from './balance.ts';
import type { ClientTlsPlan, OutwardPlan } from './route-plan.ts';

export interface DialDeps {
  readonly device?: Dialer | undefined;
}

/** Who is forwarded, for the PROXY header; a probe has nobody. */
export interface Forwarded {
  readonly peer: Address;
  readonly local?: Address;
}

/** @throws Fault `unreachable`, `timeout` or `protocol`; the signal's reason when it aborts. */
export type Dial = (peer: Peer, whom: Forwarded, session: Session, signal: AbortSignal, port?: number) => Promise<Conn>;

/** Makes the dialler of one route; TLS sessions are remembered per peer. */
export function createDial(plan: OutwardPlan, { device }: DialDeps): Dial {
  // One options object per peer: net/tls.ts builds the OpenSSL context of an object once.
  const known = new WeakMap<Peer, ClientTlsOptions>();
  const socket = {
    timeout: plan.connect,
    keepAlive: plan.keepalive,
    ...(plan.bind === undefined ? {} : { bind: plan.bind }),
  };

  const tlsOptions = (peer: Peer, tls: ClientTlsPlan, port: number): ClientTlsOptions => {
    const before = known.get(peer);
    if (before?.port === port) return before;
    const { sessionReuse, ...options } = tls;
    const made: ClientTlsOptions = {
      ...options,
      host: peer.host,
      port,
      connect: plan.connect,
      handshake: plan.handshake,
      keepAlive: plan.keepalive,
      ...(plan.bind === undefined ? {} : { bind: plan.bind }),
      ...(sessionReuse ? { session: rememberSession() } : {}),
    };
    if (port === targetPort(peer)) known.set(peer, made);
    return made;
  };

  return async (peer, whom, session, signal, port) => {
    const { target, tls } = peer.plan;
    const announce = async (conn: Conn): Promise<Conn> => {
      if (plan.proxyHeader) conn.stream.write(writeProxyHeader(plan.proxyHeader, addresses(whom)));
      return conn;
    };
    switch (target.kind) {
      case 'tcp':
        return announce(await dialTcp({ ...socket, host: peer.host, port: port ?? target.port }, signal));
      case 'tls': {
        if (!tls) throw new Fault('bug', 'a tls:// target without TLS options');
        const options = tlsOptions(peer, tls, port ?? target.port);
        if (!plan.proxyHeader) return dialTls(options, signal);
        // The header is for whoever stands in front of TLS, so it goes first, in plain.
        const conn = await announce(await dialTcp({ ...socket, host: peer.host, port: options.port }, signal));
        try {
          return await originateTls(conn, options, signal);
        } catch (error) {
          conn.stream.destroy();
          throw error;
        }
      }
      case 'unix':
        return announce(await dialUnix({ path: target.path, timeout: plan.connect }, signal));
      case 'udp':
        return dialUdp(
          { host: peer.host, port: port ?? target.port, ...(plan.bind === undefined ? {} : { bind: plan.bind }) },
          signal,
        );
      case 'device':
        if (!device) throw new Fault('unreachable', 'this gate cannot reach devices');
        return announce(await device.dial(target, session));
    }
  };
}

const targetPort = ({ plan: { target } }: Peer): number => ('port' in target ? target.port : 0);

const addresses = ({ peer, local }: Forwarded): { source: Address; destination: Address } => ({
  source: peer,
  destination: local ?? peer,
});

/** The newest session of one peer. It was verified when it was made, under the options that this dialler still has. */
function rememberSession(): NonNullable<ClientTlsOptions['session']> {
  let latest: Buffer | undefined;
  return {
    get: () => latest,
    set: session => {
      latest = session;
    },
  };
}
