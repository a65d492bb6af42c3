// cert: one-time links with which people fetch a certificate of their own, and what their page asks the gate.
import { z } from 'zod';
import { serial } from './cert.ts';
import { certificateDays, issued, part } from './cert-parts.ts';
import { durationText, limit, name, time } from './common.ts';
import { verb } from './verb.ts';

/** What will stand in the certificate; whoever fetches it chooses none of it. */
const wish = {
  cn: part.optional().meta({ description: 'default: the name' }),
  ou: z.array(part).max(8).default([]),
  o: part.optional(),
  days: certificateDays.optional(),
};
export const enrolment = z.object({
  id: z.string(),
  user: z.string(),
  subject: z.string(),
  created: time,
  until: time,
  state: z.enum(['open', 'used', 'revoked', 'expired']),
  serial: z.string().optional().meta({ description: 'of the certificate that came of it' }),
  replaces: z.string().optional().meta({ description: 'the serial of the certificate that it renews' }),
});
export type EnrolmentAnswer = z.output<typeof enrolment>;

const code = z.string().min(1).max(64);
const id = z.object({ id: z.uuid() });
/** As long as a password that protects a key in a file that is carried about. */
const filePassword = z.string().min(8, 'the password of the file has at least 8 characters').max(1024);

export const enrolmentVerbs = {
  'cert.enroll': verb({
    method: 'POST',
    path: '/v1/certs/enrolments',
    action: 'cert.link-create',
    summary: 'Make a one-time link with which a person fetches a client certificate (adds the user if missing)',
    body: z.strictObject({
      name,
      ...wish,
      for: durationText.default('15m').meta({ description: 'how long the link works; 1m to 7d' }),
    }),
    answer: enrolment.extend({
      link: z.string().meta({ description: 'shown this once; the code is in its fragment' }),
    }),
    changes: true,
    resource: 'cert/:name',
    cli: 'cert enroll',
  }),
  'cert.renew': verb({
    method: 'POST',
    path: '/v1/certs/:serial/renewal',
    action: 'cert.link-create',
    summary: 'Make a one-time link with which a person renews a client certificate: the same subject, a new key',
    params: z.object({ serial }),
    body: z.strictObject({
      days: certificateDays.optional().meta({ description: 'default: as long as the present one was to live' }),
      for: durationText.default('15m').meta({ description: 'how long the link works; 1m to 7d' }),
    }),
    answer: enrolment.extend({
      link: z.string().meta({ description: 'shown this once; the code is in its fragment' }),
    }),
    changes: true,
    resource: 'cert/:serial',
    cli: 'cert renew',
  }),
  'cert.enrolments': verb({
    method: 'GET',
    path: '/v1/certs/enrolments',
    action: 'cert.list',
    summary: 'Enrolment links of the last 30 days, newest first',
    query: z.object({ state: enrolment.shape.state.optional(), user: z.string().max(253).optional(), limit }),
    answer: z.object({ enrolments: z.array(enrolment), total: z.number() }),
    cli: 'cert links',
  }),
  'cert.unlink': verb({
    method: 'DELETE',
    path: '/v1/certs/enrolments/:id',
    action: 'cert.link-revoke',
    summary: 'Revoke an enrolment link that was not used',
    params: id,
    answer: enrolment,
    changes: true,
    resource: 'cert/:id',
    cli: 'cert unlink',
  }),
  'cert.link': verb({
    method: 'POST',
    path: '/v1/certs/enrolment',
    action: 'public',
    summary: 'What an enrolment link is for; asking does not use it up',
    body: z.strictObject({ code }),
    answer: z.object({
      user: z.string(),
      subject: z.string(),
      until: time,
      gate: z.string(),
      fingerprint: z.string().meta({ description: "SHA-256 of the gate's root" }),
    }),
    cli: 'cert fetch',
  }),
  'cert.fetch': verb({
    method: 'POST',
    path: '/v1/certs/enrolment/certificate',
    action: 'public',
    summary: 'Use an enrolment link: for a key made elsewhere, or for one that comes back as PKCS#12',
    body: z.union([
      z.strictObject({ code, csr: z.string().min(1).max(16_384).meta({ description: 'PEM' }) }),
      z.strictObject({ code, format: z.enum(['p12', 'p12-legacy']), password: filePassword }),
    ]),
    answer: issued,
    cli: 'cert fetch',
  }),
} as const;
