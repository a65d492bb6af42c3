// How a certificate is written in the configuration, wherever one is: from files, from our own CA, by ACME.
import { z } from 'zod';
import { duration, reference } from './config-value.ts';

/** A certificate with its key, from files. Several passphrases may stand in one file, a line each. */
export const certificateFiles = z.strictObject({
  cert: reference.meta({ description: 'PEM: the certificate, then its intermediates' }),
  key: reference,
  passphrase: reference.optional(),
});
const acme = z.strictObject({
  acme: z.strictObject({
    directory: z.url().optional(),
    names: z.array(z.string()).min(1).optional(),
    email: z.email().optional(),
    challenge: z.enum(['http-01', 'tls-alpn-01']).default('tls-alpn-01'),
    /** The CA that the directory's own TLS certificate chains to, where it is not a public one. */
    ca: reference.optional(),
    'renew-before': duration.default(30 * 86_400_000),
    /** External account binding (RFC 8555 §7.3.4): an account that was made at the CA; `key` is its HMAC key, base64url. */
    eab: z.strictObject({ kid: z.string().min(1).max(256), key: reference }).optional(),
  }),
});
/** `auto` (the default of a tls:// listener) = the gate's own CA; `acme` = Let's Encrypt with all defaults. Several files: RSA and ECDSA side by side. */
export const certificate = z.union([
  z.enum(['auto', 'acme']),
  acme,
  certificateFiles,
  z.array(certificateFiles).min(1),
]);
