// TLS options → OpenSSL contexts. What OpenSSL refuses becomes a sentence that says which setting is wrong.
import { constants, createHash } from 'node:crypto';
import {
  createSecureContext,
  DEFAULT_CIPHERS,
  type SecureContext,
  type SecureContextOptions,
  type SecureVersion,
} from 'node:tls';
import { Fault } from '../core/fault.ts';

export interface Tuning {
  readonly protocols?: readonly string[];
  /** TLS 1.2 ciphers and TLS 1.3 suites in one list; a version without any in it keeps its usual ones. */
  readonly ciphers?: string | undefined;
  readonly curves?: string;
  /** Whether a FIN without close_notify breaks the conn; by default it is an end, since many programs close like that. */
  readonly closeNotify?: 'required' | 'optional';
}

/**
 * What a server offers of TLS 1.2 where nobody says otherwise: forward secrecy and AEAD only (RFC 9325 §4.2), for keys of
 * either kind; clients choose. Whoever serves older ones names their ciphers.
 */
export const serverCiphers = [
  ...DEFAULT_CIPHERS.split(':').filter(name => name.startsWith('TLS_')),
  ...['AES128-GCM-SHA256', 'AES256-GCM-SHA384', 'CHACHA20-POLY1305'].flatMap(name => [
    `ECDHE-ECDSA-${name}`,
    `ECDHE-RSA-${name}`,
  ]),
].join(':');

export function makeContext(options: SecureContextOptions, what: string): SecureContext {
  // Who was let in is who stays: a TLS 1.2 peer may not shake hands anew (Node alone allows three times in ten minutes).
  const secureOptions = (options.secureOptions ?? 0) | constants.SSL_OP_NO_RENEGOTIATION;
  try {
    return createSecureContext({ ...options, secureOptions });
  } catch (error) {
    throw new Fault('invalid', `${what}: ${explain(error as Error)}`, { cause: error });
  }
}

/** `usual`: the ciphers where none are named, or none of one version. */
export function tuningOf({ protocols, ciphers, curves }: Tuning, usual = DEFAULT_CIPHERS): SecureContextOptions {
  return {
    ...versionsOf(protocols),
    ciphers: ciphers === undefined ? usual : completeCiphers(ciphers, usual),
    ...(curves === undefined ? {} : { ecdhCurve: curves }),
  };
}

function versionsOf(protocols: readonly string[] = ['TLSv1.2', 'TLSv1.3']): SecureContextOptions {
  const known = ['TLSv1.2', 'TLSv1.3'].filter(version => protocols.includes(version)) as SecureVersion[];
  const [first, last] = [known[0], known.at(-1)];
  if (!first || !last || known.length !== new Set(protocols).size) {
    throw new Fault('invalid', `protocols: ${protocols.join(', ') || 'none'}; only TLSv1.2 and TLSv1.3 are offered`);
  }
  return { minVersion: first, maxVersion: last };
}

/** Node turns a version off whose ciphers are not in the list; here, as in nginx, the list speaks only of what it names. */
function completeCiphers(list: string, usual: string): string {
  const names = list.split(/[:, ]+/).filter(name => name !== '');
  const defaults = usual.split(':');
  const of = (from: readonly string[], modern: boolean): string[] =>
    from.filter(name => name.startsWith('TLS_') === modern);
  const part = (modern: boolean): string[] => {
    const named = of(names, modern);
    return named.length > 0 ? named : of(defaults, modern);
  };
  return [...part(true), ...part(false)].join(':');
}

/** OpenSSL compares at most 32 bytes. */
export const sessionContext = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);

const reasons: readonly (readonly [RegExp, string])[] = [
  [/key values mismatch|KEY_VALUES_MISMATCH/i, 'the key does not belong to the certificate'],
  [
    /bad decrypt|BAD_DECRYPT|interrupted or cancelled|MISSING_PASSPHRASE/i,
    'the key is encrypted and the passphrase is missing or wrong',
  ],
  [
    /no start line|NO_START_LINE|PEM routines|DECODER|asn1|wrong tag/i,
    'it is not PEM (-----BEGIN CERTIFICATE----- / PRIVATE KEY-----)',
  ],
  [
    /no cipher match|NO_CIPHER_MATCH/i,
    'the cipher list names no cipher that is available; `openssl ciphers` shows those',
  ],
  [
    /ecdhCurve|Failed to set ECDH curve|curve/i,
    'the list of curves names one that is unknown; `openssl ecparam -list_curves` shows them',
  ],
  [/ee key too small|EE_KEY_TOO_SMALL/i, 'the key is too small to be safe; use RSA 2048 or P-256 at least'],
  [/ca md too weak|MD_TOO_WEAK/i, 'it is signed with a digest that is no longer safe (MD5, SHA-1)'],
  [/Ticket keys/i, 'ticket keys are 48 bytes'],
  [/Failed to parse CRL/i, 'the CRL is not PEM (-----BEGIN X509 CRL-----)'],
];
function explain(error: Error): string {
  const text = `${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`;
  return reasons.find(([pattern]) => pattern.test(text))?.[1] ?? error.message;
}
