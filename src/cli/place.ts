// Which gate a command speaks to: a folder's socket, or an address that somebody signed in to.
import { stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { Fault } from '../core/fault.ts';
import { readText } from './files.ts';
import { readLogins } from './logins.ts';

export interface Place {
  readonly label: string;
  readonly host: string;
  readonly secure: boolean;
  readonly token?: string;
  readonly options: { readonly socketPath: string } | TlsPlace;
}
export interface TlsPlace {
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
  readonly ca?: SecureContextOptions['ca'];
  /** Only pin.ts sets it, to ask for the CA certificate that a person then compares. */
  readonly rejectUnauthorized?: boolean;
}

export interface Seek {
  readonly socket: string;
  readonly data: string;
  readonly dataGiven: boolean;
  readonly gate: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** `--gate` wins over a folder; a folder that was named wins over a sign-in; a sign-in over ./data without a gate. */
export async function seekGate(seek: Seek): Promise<Place> {
  if (seek.gate !== undefined) return signedIn(parseGate(seek.gate), seek);
  const local: Place = {
    label: `the gate in ${seek.data}`,
    host: 'localhost',
    secure: false,
    options: { socketPath: seek.socket },
  };
  if (seek.dataGiven || (await exists(seek.socket))) return local;
  const { current } = await readLogins(seek.env);
  return current === undefined ? local : signedIn(parseGate(current), seek);
}

async function signedIn(url: URL, seek: Seek): Promise<Place> {
  const { gates } = await readLogins(seek.env);
  const known = gates[url.origin];
  const token = seek.env['SEKISHO_TOKEN'] || known?.token;
  const ca = seek.env['SEKISHO_CA'] ? await readText(seek.env['SEKISHO_CA']) : known?.ca;
  if (token === undefined) {
    throw new Fault('unknown-caller', `nobody is signed in to ${url.origin}; try: sekisho login --gate ${url.origin}`);
  }
  return tlsPlace(url, { token, ...(ca === undefined ? {} : { ca }) });
}

/** An https:// address as a place. Verification is always on; `ca` replaces the system's store. */
export function tlsPlace(url: URL, extra: { token?: string; ca?: string }): Place {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return {
    label: url.origin,
    host: url.host,
    secure: true,
    ...(extra.token === undefined ? {} : { token: extra.token }),
    options: {
      host,
      port: Number(url.port || 443),
      ...(isIP(host) ? {} : { servername: host }),
      ...(extra.ca === undefined ? {} : { ca: extra.ca }),
    },
  };
}

/** @throws Fault `invalid` unless it is https://host[:port] and nothing more: plain HTTP would show the token. */
export function parseGate(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (
    url?.protocol !== 'https:' ||
    url.username !== '' ||
    url.pathname !== '/' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new Fault(
      'invalid',
      `"${text}" is not a gate's address; write https://gate.example.com or https://127.0.0.1:8443`,
    );
  }
  return url;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** What went wrong on the way to the gate, and what to do about it. */
export function explain(error: NodeJS.ErrnoException, place: Place): Fault {
  const text = place.secure ? overTls(error, place) : overSocket(error, place);
  const denied = error.code === 'EACCES' || error.code === 'EPERM';
  return new Fault(denied && !place.secure ? 'denied' : 'unreachable', text, { cause: error });
}

function overSocket(error: NodeJS.ErrnoException, place: Place): string {
  const { socketPath } = place.options as { socketPath: string };
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTDIR':
      return `no gate runs in ${socketPath.replace(/\/sekisho\.sock$/, '')}; start one with "sekisho up" (in a clone: npm start), or say which with --data DIR or --gate URL`;
    case 'EACCES':
    case 'EPERM':
      return `${socketPath} belongs to another user; run as the user that runs the gate, or use sekisho login`;
    case 'EINVAL':
    case 'ENAMETOOLONG':
      return `${socketPath} is too long for a unix socket (about 100 bytes); use a shorter --data`;
    default:
      return `${place.label} closed the connection (${error.code ?? error.message}); is it stopping? try again`;
  }
}

const certificateTrouble: Record<string, string> = {
  SELF_SIGNED_CERT_IN_CHAIN: 'its CA is not one that this machine trusts',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its CA is not one that this machine trusts',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its CA is not one that this machine trusts',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by nobody',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};

function overTls(error: NodeJS.ErrnoException, place: Place): string {
  const trouble = certificateTrouble[error.code ?? ''];
  if (trouble)
    return `${place.label} is not verified: ${trouble}; try: sekisho login --gate ${place.label} --ca ca.pem`;
  return `${place.label} cannot be reached (${error.code ?? error.message}); is the address right, and the gate running?`;
}
