// What OpenSSL says about a handshake that failed → Faults in words, for either side.
import { Fault } from '../core/fault.ts';

const clientReasons: readonly (readonly [RegExp, string])[] = [
  [/NO_APPLICATION_PROTOCOL/, 'the client offers no application protocol (ALPN) that is spoken here'],
  [/UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW/, 'the client speaks only TLS versions that are too old'],
  [/NO_SHARED_CIPHER/, 'the client and this side have no cipher in common'],
  [/NO_SUITABLE_KEY_SHARE|NO_SHARED_GROUP/, 'the client and this side have no key exchange group in common'],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, 'the client showed no certificate, and one is required'],
  [/HTTP_REQUEST/, 'the client speaks plain HTTP where TLS is expected'],
  [/WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|PACKET_LENGTH_TOO_LONG/, 'the client does not speak TLS'],
  [/ALERT_UNKNOWN_CA|UNKNOWN_CA/, 'the client does not trust this certificate: its CA is unknown to it'],
  [
    /ALERT_(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)|(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)/,
    'the client does not accept this certificate',
  ],
  [/CERTIFICATE_EXPIRED/, 'the client finds this certificate expired'],
];

/** The server side. A reset stays what it is: weather. */
export function acceptFault(error: Error): Error {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!code.startsWith('ERR_SSL')) return error; // a reset is weather; it is not for us to rename
  const text = clientReasons.find(([pattern]) => pattern.test(code))?.[1] ?? 'the TLS handshake failed';
  const kind = code.includes('PEER_DID_NOT_RETURN_A_CERTIFICATE') ? 'unknown-caller' : 'protocol';
  return new Fault(kind, text, { cause: error, facts: { reason: code } });
}

const serverReasons: readonly (readonly [RegExp, string])[] = [
  [/NO_APPLICATION_PROTOCOL/, 'speaks none of the application protocols offered (ALPN)'],
  [/CERTIFICATE_REQUIRED/, 'asks for a client certificate; give one (upstream.certificate)'],
  [
    /UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|CERTIFICATE_EXPIRED|CERTIFICATE_REVOKED|ACCESS_DENIED/,
    'does not accept the client certificate',
  ],
  [/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW/, 'speaks no TLS version that is allowed here'],
  [/UNRECOGNIZED_NAME/, 'does not know the server name that was sent (SNI)'],
  [
    /HANDSHAKE_FAILURE|NO_SHARED|INSUFFICIENT_SECURITY/,
    'found no cipher or parameters in common, or wants a client certificate',
  ],
  [/WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE/, 'does not speak TLS on that port'],
  [/DH_KEY_TOO_SMALL|EE_KEY_TOO_SMALL|MD_TOO_WEAK/, 'uses keys or digests that are too weak to be safe'],
];

/** The client side. */
export function dialTlsFault(error: Error, where: string): Fault {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new Fault('unreachable', `${where} broke the connection during the TLS handshake`, { cause: error });
  }
  const text =
    serverReasons.find(([pattern]) => pattern.test(code))?.[1] ?? `failed the TLS handshake (${code || error.message})`;
  return new Fault('unreachable', `${where} ${text}`, { cause: error, facts: { reason: code } });
}
