// cert: certificates of the gate's own CA.
import { z } from 'zod';
import { certificateDays, issued, part } from './cert-parts.ts';
import { durationText, limit, offset, time } from './common.ts';
import { verb } from './verb.ts';

export const serial = z
  .string()
  .regex(/^[0-9A-Fa-f]{1,40}$/, 'a serial number is hexadecimal')
  .transform(text => text.toLowerCase());

export const certificate = z.object({
  serial: z.string(),
  kind: z.enum(['user', 'device', 'server']).meta({ description: 'whose it is' }),
  name: z.string().meta({ description: 'the user it belongs to, or the first host name' }),
  subject: z.string(),
  fingerprint: z.string().meta({ description: 'SHA-256 of the DER, hexadecimal; sessions and the audit name it' }),
  notBefore: time,
  notAfter: time,
  state: z.enum(['valid', 'expired', 'revoked']),
  revoked: z.object({ at: time, reason: z.string() }).optional(),
  replaces: z.string().optional().meta({ description: 'the serial of the certificate that this one renewed' }),
});
export type CertificateAnswer = z.output<typeof certificate>;

/** RFC 5280 §5.3.1, those that apply to leaves. */
export const revocationReason = z.enum([
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
]);
export type RevocationReason = z.output<typeof revocationReason>;

export const certVerbs = {
  'cert.ca': verb({
    method: 'GET',
    path: '/v1/certs/ca',
    action: 'public',
    summary: "The gate's CA certificate",
    answer: z.object({
      cert: z.string(),
      chain: z.array(z.string()),
      roots: z
        .array(z.string())
        .meta({ description: 'all roots that count: during a rotation two, the issuing one first' }),
      fingerprint: z.string(),
      notAfter: time,
    }),
    cli: 'cert ca',
  }),
  'cert.issue': verb({
    method: 'POST',
    path: '/v1/certs',
    action: 'cert.issue',
    summary: 'Issue a client or server certificate',
    body: z.strictObject({
      name: z.string().min(1).max(253).meta({ description: 'the user (client) or the host name (server)' }),
      kind: z.enum(['client', 'server']).default('client'),
      cn: part.optional().meta({ description: 'default: the name' }),
      ou: z.array(part).max(8).default([]),
      o: part.optional(),
      names: z.array(z.string().min(1).max(253)).max(100).default([]).meta({
        description: 'further host names and addresses of a server certificate',
      }),
      days: certificateDays.optional(),
      key: z.enum(['rsa', 'ecdsa']).optional(),
      csr: z.string().max(16_384).optional().meta({ description: 'PEM; the key stays where it was made' }),
      format: z.enum(['pem', 'p12', 'p12-legacy']).default('pem').meta({
        description: 'p12-legacy (3DES, SHA-1) is for importers that know nothing newer',
      }),
      password: z.string().min(1).max(1024).optional().meta({ description: 'of the PKCS#12 file' }),
    }),
    answer: issued,
    changes: true,
    resource: 'cert/:name',
    cli: 'cert issue',
  }),
  'cert.list': verb({
    method: 'GET',
    path: '/v1/certs',
    action: 'cert.list',
    summary: 'Certificates that this gate issued, newest first',
    query: z.object({
      state: z.enum(['valid', 'expired', 'revoked']).optional(),
      user: z.string().max(253).optional(),
      expiring: durationText.optional().meta({
        description: 'those that count, end within this time and were not renewed; the soonest first',
      }),
      search: z
        .string()
        .max(128)
        .optional()
        .meta({ description: 'part of a name, a subject, a host name or a serial' }),
      offset,
      limit,
    }),
    answer: z.object({
      certs: z.array(certificate),
      total: z.number().meta({ description: 'that fit, before offset and limit' }),
    }),
    cli: 'cert list',
  }),
  'cert.show': verb({
    method: 'GET',
    path: '/v1/certs/:serial',
    action: 'cert.list',
    summary: 'One certificate',
    params: z.object({ serial }),
    answer: certificate.extend({ cert: z.string() }),
    cli: 'cert show',
  }),
  'cert.revoke': verb({
    method: 'POST',
    path: '/v1/certs/:serial/revoke',
    action: 'cert.revoke',
    summary: 'Revoke a certificate; its live sessions end',
    params: z.object({ serial }),
    body: z.strictObject({ reason: revocationReason.default('unspecified') }),
    answer: z.object({ serial: z.string(), revoked: z.literal(true) }),
    changes: true,
    resource: 'cert/:serial',
    cli: 'cert revoke',
  }),
  'cert.crl': verb({
    method: 'GET',
    path: '/v1/crl',
    action: 'public',
    summary: 'The list of revoked certificates, signed by the CA',
    answer: z.object({ crl: z.string().meta({ description: 'PEM' }) }),
    cli: 'cert crl',
  }),
} as const;
