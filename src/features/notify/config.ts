// The `notify:` slice of the configuration: who is told of what, by a webhook or by mail.
import { z } from 'zod';
import { duration, reference } from '../../wire/config-value.ts';

export const notifyEvents = ['approval.waiting', 'cert.expiring', 'denied.burst'] as const;
export type NotifyEvent = (typeof notifyEvents)[number];

/** One address and nothing else: no name, no list, nothing that could become a header (RFC 5321 §4.1.2, as people write it). */
const address = z
  .string()
  .max(254)
  .regex(
    /^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/,
    'write one address, like ops@example.com',
  );

export const notifyConfig = z.strictObject({
  events: z
    .array(z.enum(notifyEvents))
    .min(1)
    .default([...notifyEvents]),
  webhook: z
    .strictObject({
      url: z
        .url({ protocol: /^https?$/, error: 'write a URL like https://hooks.example.com/sekisho' })
        .refine(
          text => text.startsWith('https:') || /^http:\/\/(127\.\d+\.\d+\.\d+|localhost|\[::1\])[:/]/.test(text),
          'what is told would go over the network unencrypted; write https://',
        ),
      /** What each delivery is signed with (HMAC-SHA256). */
      secret: reference,
      ca: reference.optional(),
    })
    .optional(),
  mail: z
    .strictObject({
      /** `smtps://` speaks TLS at once, `smtp://` must turn to it (STARTTLS) before anything is said. */
      server: z
        .url({ protocol: /^smtps?$/, error: 'write smtps://mail.example.com or smtp://mail.example.com:587' })
        .refine(text => !/@|[?#]/.test(text), 'user and password stand under auth'),
      from: address,
      to: z.array(address).min(1).max(50),
      /** As whom the gate signs in there. */
      auth: z.strictObject({ user: z.string().min(1).max(256), password: reference }).optional(),
      /** CA certificates of the server; default: the system's. */
      ca: reference.optional(),
      language: z.enum(['en', 'ja']).default('en'),
    })
    .optional(),
  /** What a burst of denials is: so many from one address for one word. */
  burst: z
    .strictObject({
      count: z.int().min(2).max(1_000_000).default(50),
      within: duration.refine(ms => ms >= 10_000 && ms <= 86_400_000, 'between 10s and 24h').default(300_000),
    })
    .prefault({}),
  /** How long the same is not told again. */
  quiet: duration.refine(ms => ms <= 30 * 86_400_000, 'at most 30d').default(3_600_000),
});

export type NotifyConfig = z.output<typeof notifyConfig>;
export type MailConfig = NonNullable<NotifyConfig['mail']>;
