// A bound datagram socket for protocols that tell their clients apart by themselves; udp.ts makes conns of sources instead.
import { createSocket } from 'node:dgram';
import { isIP, isIPv6 } from 'node:net';
import type { Log } from '../core/parts.ts';
import { normalizeHost } from '../wire/cidr.ts';
import { listenFault } from './reasons.ts';

/** `host` is as the socket has it: an IPv4 client of a dual-stack socket is ::ffff:203.0.113.7. */
export interface DatagramPeer {
  readonly host: string;
  readonly port: number;
}
export interface DatagramSocket extends AsyncDisposable {
  readonly address: DatagramPeer;
  /** To be called once. */
  receive(take: (datagram: Buffer, from: DatagramPeer) => void): void;
  /** False: too many wait for the network already. */
  send(datagram: Uint8Array, to: DatagramPeer): boolean;
}

/** Datagrams that wait for the kernel. */
const mostWaiting = 4096;
/** Bytes: a burst of a fast sender, while this process does something else. */
const buffer = 4 * 1024 * 1024;

/** @throws Fault `conflict` or `invalid` */
export async function openDatagrams(host: string, port: number, log: Log): Promise<DatagramSocket> {
  const socket = createSocket({ type: isIPv6(host) || host === '' ? 'udp6' : 'udp4', lookup: asIs });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, host === '' ? '::' : host, resolve);
    });
  } catch (error) {
    socket.close();
    throw listenFault(error as Error, `${host || '*'}:${port}/udp`);
  }
  socket.removeAllListeners('error');
  const at = socket.address();
  const address = { host: normalizeHost(at.address), port: at.port };
  socket.on('error', error => log.warn({ address, error }, 'the datagram socket failed'));
  // What the kernel does not allow, it cuts down without a word.
  for (const set of [() => socket.setRecvBufferSize(buffer), () => socket.setSendBufferSize(buffer)]) {
    try {
      set();
    } catch {
      // the default has to do
    }
  }
  let waiting = 0;
  let state: 'open' | 'closed' = 'open';
  const sent = (): void => void waiting--;
  return {
    address,
    receive(take) {
      socket.on('message', (datagram, { address: from, port: fromPort }) =>
        take(datagram, { host: from, port: fromPort }),
      );
    },
    send(datagram, to) {
      if (state === 'closed' || waiting >= mostWaiting) return false;
      waiting++;
      socket.send(datagram, to.port, to.host, sent);
      return true;
    },
    async [Symbol.asyncDispose]() {
      if (state === 'closed') return;
      state = 'closed';
      await new Promise<void>(resolve => socket.close(resolve));
    },
  };
}

/** Addresses only: without it every single datagram would pass through the resolver. */
function asIs(
  host: string,
  _options: unknown,
  done: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  done(null, host, isIP(host) || 4);
}
