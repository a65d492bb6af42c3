// audit: the record, row by row, chained by hash, with signed heads.
import { z } from 'zod';
import { limit, time, who } from './common.ts';
import { verb } from './verb.ts';

/** One fact, as access/ keeps and exports it. */
export const auditRow = z.object({
  seq: z.number(),
  at: z.string().meta({ description: 'RFC 3339, UTC' }),
  event: z.string(),
  session: z.string().nullable(),
  who,
  from: z.string().nullable(),
  resource: z.string(),
  rule: z.string().nullable(),
  outcome: z.enum(['allowed', 'denied', 'ended', 'done', 'failed']),
  facts: z.record(z.string(), z.unknown()),
  prev: z.string().meta({ description: 'the hash of the row before' }),
  hash: z.string(),
});
export type AuditRowAnswer = z.output<typeof auditRow>;

/** What `audit verify --head` wants back unchanged. */
export const signedHead = z.object({
  seq: z.number(),
  hash: z.string(),
  at: z.string(),
  key: z.string().meta({ description: 'which key signed' }),
  signature: z.string(),
});

export const verifyReport = z.object({
  ok: z.boolean(),
  rows: z.number(),
  first: z.number().optional(),
  last: z.number().optional(),
  heads: z.number().meta({ description: 'signed heads that the rows were compared with' }),
  problems: z.array(z.object({ seq: z.number(), problem: z.string(), text: z.string() })),
  notes: z.array(z.string()).meta({ description: 'what could not be compared, and why; no fault of the chain' }),
});
export type VerifyAnswer = z.output<typeof verifyReport>;

const filter = {
  event: z.string().max(128).optional().meta({ description: '`proxy.denied`; `*` matches any run' }),
  user: z.string().max(128).optional(),
  resource: z.string().max(256).optional(),
  outcome: z.enum(['allowed', 'denied', 'ended', 'done', 'failed']).optional(),
  session: z.string().max(128).optional(),
  since: time.optional(),
  until: time.optional(),
};

const recording = z.object({
  id: z.string().meta({ description: 'the session’s' }),
  device: z.string(),
  service: z.string(),
  user: z.string(),
  login: z.string().meta({ description: 'the user on the device' }),
  begun: time,
  bytes: z.number(),
});

export const auditVerbs = {
  'audit.search': verb({
    method: 'GET',
    path: '/v1/audit',
    action: 'audit.read',
    summary: 'Rows that match, newest first',
    query: z.object({ ...filter, before: z.coerce.number().int().positive().optional(), limit }),
    answer: z.object({
      rows: z.array(auditRow),
      next: z.number().optional().meta({ description: 'pass it as `before` for the rows that follow' }),
    }),
    cli: 'audit search',
  }),
  'audit.tail': verb({
    method: 'GET',
    path: '/v1/audit/tail',
    action: 'audit.read',
    summary: 'The newest rows, and with `follow` those to come, one JSON value a line',
    query: z.object({
      after: z.coerce.number().int().nonnegative().optional().meta({ description: 'rows after this number' }),
      last: z.coerce.number().int().min(0).max(1000).default(10),
      follow: z.stringbool().default(false),
    }),
    answer: auditRow,
    stream: 'lines',
    cli: 'audit tail',
  }),
  'audit.verify': verb({
    method: 'POST',
    path: '/v1/audit/verify',
    action: 'audit.verify',
    summary: 'Check the chain from its first row to its signed head',
    body: z.strictObject({ head: signedHead.optional() }),
    answer: verifyReport,
    cli: 'audit verify',
  }),
  'audit.export': verb({
    method: 'GET',
    path: '/v1/audit/export',
    action: 'audit.export',
    changes: true,
    resource: 'audit/rows',
    summary: 'Everything an offline verifier needs, one JSON value a line; or as CSV. The last line is signed',
    query: z.object({
      since: time.optional(),
      until: time.optional(),
      format: z.enum(['jsonl', 'csv']).default('jsonl'),
    }),
    answer: z.looseObject({}),
    stream: 'lines',
    csv: true,
    cli: 'audit export',
  }),
  'audit.head': verb({
    method: 'GET',
    path: '/v1/audit/head',
    action: 'audit.read',
    summary: 'The signed head of the chain, and the key that checks it',
    answer: z.object({ head: signedHead, publicKey: z.string().meta({ description: 'Ed25519, PEM' }) }),
    cli: 'audit head',
  }),
  'audit.recording-list': verb({
    method: 'GET',
    path: '/v1/audit/recordings',
    action: 'audit.read',
    summary: 'Recordings of terminals, newest first',
    query: z.object({ device: z.string().max(128).optional(), user: z.string().max(128).optional(), limit }),
    answer: z.object({ recordings: z.array(recording), total: z.number().meta({ description: 'before the limit' }) }),
    cli: 'audit recordings',
  }),
  'audit.recording': verb({
    method: 'GET',
    path: '/v1/audit/recordings/:id',
    action: 'audit.recording-read',
    summary: 'One recording as asciicast v2: what the screen showed, not what was typed',
    params: z.object({ id: z.string().min(1).max(64) }),
    answer: z.looseObject({}),
    stream: 'bytes',
    changes: true,
    resource: 'recording/:id',
    cli: 'audit recording',
  }),
} as const;
