// The first contact with a gate whose CA this machine does not know: its fingerprint decides, and a person or an option
// says whether it is right. Nothing but the gate's public CA certificate crosses before that.
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { Fault } from '../core/fault.ts';
import { askYes } from './ask.ts';
import { clientOf } from './client.ts';
import type { Context } from './command.ts';
import { explain, type TlsPlace, tlsPlace } from './place.ts';

/**
 * The CA certificate to trust (PEM), or undefined when the system's store knows the gate's.
 * @throws Fault `denied` when the fingerprint is not the expected one or nobody confirmed it
 */
export async function pinAuthority(
  url: URL,
  expected: string | undefined,
  context: Context,
): Promise<string | undefined> {
  const { io, screen } = context;
  if (expected === undefined && (await isVerified(url, undefined, io.signal))) return undefined;
  const root = await claimedRoot(url, context);
  const { fingerprint256: fingerprint } = new X509Certificate(root);
  if (expected !== undefined) {
    if (plain(expected) === plain(fingerprint)) return root;
    throw new Fault(
      'denied',
      `the CA of ${url.origin} has the fingerprint ${fingerprint}, not the one given; do not sign in, ask who runs the gate`,
    );
  }
  screen.note(`This machine does not know the CA of ${url.origin}. Its SHA-256 fingerprint is`);
  screen.note(`  ${fingerprint}`);
  screen.note('On the gate, "sekisho cert ca --fingerprint" shows the right one.');
  if (await askYes(io, 'Are they the same?')) return root;
  throw new Fault(
    'denied',
    `the CA of ${url.origin} was not confirmed; give --ca ca.pem, or --fingerprint with what the gate shows`,
  );
}

/** Hex, whatever stands between the digits. */
const plain = (fingerprint: string): string =>
  fingerprint
    .replace(/^sha-?256[:=]/i, '')
    .replace(/[^0-9a-f]/gi, '')
    .toLowerCase();

/** What the other end says its CA is; it must at least be the one that its own certificate comes from. */
async function claimedRoot(url: URL, { io, screen }: Context): Promise<string> {
  const place = tlsPlace(url, {});
  const blind = { ...place, options: { ...place.options, rejectUnauthorized: false } };
  const { cert } = await clientOf(blind, { signal: io.signal, progress: screen.progress }).call('cert.ca');
  if (await isVerified(url, cert, io.signal)) return cert;
  throw new Fault(
    'denied',
    `${url.origin} shows a certificate that its own CA did not issue for this name; do not sign in`,
  );
}

/** One handshake, and nothing sent. @throws Fault `unreachable`, `timeout` */
function isVerified(url: URL, ca: string | undefined, signal: AbortSignal): Promise<boolean> {
  const place = tlsPlace(url, ca === undefined ? {} : { ca });
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = connect({
    ...(place.options as TlsPlace),
    rejectUnauthorized: false, // `authorized` says it; the handshake goes on so that a wrong CA is no error
    ALPNProtocols: ['http/1.1'],
    timeout: 10_000,
  });
  const stop = (): void => void socket.destroy(new DOMException('interrupted', 'AbortError') as Error);
  signal.addEventListener('abort', stop, { once: true });
  socket.once('secureConnect', () => resolve(socket.authorized));
  socket.once('timeout', () =>
    socket.destroy(new Fault('timeout', `${url.origin} does not answer; is the address right?`)),
  );
  socket.once('error', error => reject(error instanceof Fault || signal.aborted ? error : explain(error, place)));
  return promise.finally(() => {
    signal.removeEventListener('abort', stop);
    socket.destroy();
  });
}
