// The first contact with a gate whose CA this machine does not know: its fingerprint decides, and a person or an option
// says whether it is right. Nothing but the handshake and the public CA certificate crosses before that.
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import { askYes } from './ask.ts';
import type { Context } from './command.ts';

/**
 * The CA certificate to trust, or undefined when the system's store knows the gate's.
 * @throws Fault `denied` when the fingerprint is not the expected one or nobody confirmed it.
 */
export async function pinAuthority(
  url: URL,
  expected: string | undefined,
  context: Context,
): Promise<string | undefined> {
  const { io, screen } = context;
  const seen = await handshake(url, io.signal);
  if (expected === undefined && seen.authorized) return undefined;
  const root = seen.chain.at(-1);
  if (root === undefined || !root.checkIssued(root) || !root.verify(root.publicKey)) {
    throw new Fault(
      'denied',
      `${url.origin} does not show the root of its CA, so there is nothing to pin; give it with --ca ca.pem`,
    );
  }
  const fingerprint = root.fingerprint256;
  if (expected !== undefined) {
    if (plain(expected) === plain(fingerprint)) return root.toString();
    throw new Fault(
      'denied',
      `the CA of ${url.origin} has the fingerprint ${fingerprint}, not the one given; do not sign in`,
    );
  }
  screen.note(`This machine does not know the CA of ${url.origin}.`);
  screen.note(`Its SHA-256 fingerprint is\n  ${fingerprint}`);
  screen.note('On the gate, "sekisho cert ca --fingerprint" shows the right one.');
  if (await askYes(io, 'Is it the same?')) return root.toString();
  throw new Fault(
    'denied',
    `the CA was not confirmed; give --ca ca.pem or --fingerprint ${fingerprint} if it is the right one`,
  );
}

const plain = (fingerprint: string): string => fingerprint.replace(/^sha256:|[^0-9a-f]/gi, '').toLowerCase();

interface Seen {
  readonly authorized: boolean;
  readonly chain: readonly X509Certificate[];
}

/** One handshake, only to see the certificates; the socket carries nothing else. */
function handshake(url: URL, signal: AbortSignal): Promise<Seen> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || 443);
  const { promise, resolve, reject } = Promise.withResolvers<Seen>();
  const socket = connect({
    host,
    port,
    ...(isIP(host) ? {} : { servername: host }),
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    timeout: 10_000,
  });
  const stop = (): void => void socket.destroy(new DOMException('interrupted', 'AbortError') as Error);
  signal.addEventListener('abort', stop, { once: true });
  socket.once('secureConnect', () => resolve({ authorized: socket.authorized, chain: chainOf(socket) }));
  socket.once('timeout', () =>
    socket.destroy(new Fault('timeout', `${url.origin} does not answer; is the address right?`)),
  );
  socket.once('error', error =>
    reject(
      error instanceof Fault || signal.aborted
        ? error
        : new Fault(
            'unreachable',
            `${url.origin} cannot be reached (${(error as NodeJS.ErrnoException).code ?? error.message})`,
            {
              cause: error,
            },
          ),
    ),
  );
  return promise.finally(() => {
    signal.removeEventListener('abort', stop);
    socket.destroy();
  });
}

/** Leaf first. A root points at itself as its issuer: that is where the walk ends; ten steps are more than any chain. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let detailed = socket.getPeerCertificate(true);
  while (detailed?.raw && chain.length < 10) {
    chain.push(new X509Certificate(detailed.raw));
    if (!detailed.issuerCertificate || detailed.issuerCertificate === detailed) break;
    detailed = detailed.issuerCertificate;
  }
  return chain;
}
