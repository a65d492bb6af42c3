// gate: looking after the gate itself — health, check, reload, backup, the event stream, this document.
import { z } from 'zod';
import { health } from './status.ts';
import { verb } from './verb.ts';

export const finding = z.object({
  level: z.enum(['error', 'weak', 'note']),
  where: z.string().optional().meta({ description: 'file, line and key path' }),
  text: z.string(),
});

export const gateVerbs = {
  'gate.health': verb({
    method: 'GET',
    path: '/healthz',
    action: 'public',
    summary: 'ok, degraded or down; nothing else',
    answer: z.object({ health }),
    badStatus: 503,
    noCli: 'for load balancers and monitors; `status` says it with the reasons, and ends with 1 when the gate is down',
  }),
  'gate.check': verb({
    method: 'GET',
    path: '/v1/check',
    action: 'api.check',
    summary: "Check the running gate's configuration file as it is on disk now",
    answer: z.object({ ok: z.boolean(), opens: z.array(z.string()), findings: z.array(finding) }),
    cli: 'check',
  }),
  'gate.reload': verb({
    method: 'POST',
    path: '/v1/reload',
    action: 'api.reload',
    summary: 'Read the configuration again; what did not change keeps its connections',
    answer: z.object({
      added: z.array(z.string()),
      changed: z.array(z.string()),
      removed: z.array(z.string()),
      kept: z.array(z.string()),
      warnings: z.array(z.string()),
    }),
    changes: true,
    resource: 'api/gate',
    cli: 'reload',
  }),
  'gate.backup': verb({
    method: 'POST',
    path: '/v1/backup',
    action: 'api.backup',
    summary: 'Database, CA keys and audit key in one encrypted file, while the gate runs',
    body: z.strictObject({ passphrase: z.string().min(12, 'a passphrase has at least 12 characters').max(1024) }),
    answer: z.string().meta({ format: 'binary' }),
    stream: 'bytes',
    changes: true,
    resource: 'api/gate',
    cli: 'backup',
  }),
  'gate.events': verb({
    method: 'GET',
    path: '/v1/events',
    action: 'audit.read',
    summary:
      'Server-sent events: `audit` (id = row number, resumable by Last-Event-ID) and `session` (opened, ended). ' +
      'Session changes that find no room are counted by an event `missed`; a client that stops to read is told so by `dropped` and is let go.',
    query: z.object({ after: z.coerce.number().int().nonnegative().optional() }),
    answer: z.looseObject({}),
    stream: 'events',
    noCli: 'it keeps pages up to date; `audit tail --follow` follows the same facts',
  }),
  'gate.openapi': verb({
    method: 'GET',
    path: '/v1/openapi.json',
    action: 'public',
    summary: 'This document',
    answer: z.looseObject({ openapi: z.string() }),
    noCli: 'a document for programs; `--help` is the one for people',
  }),
} as const;
