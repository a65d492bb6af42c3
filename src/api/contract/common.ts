// Shapes that several words share: names, times, pages, faults.
import { z } from 'zod';
import { parseDuration } from '../../core/duration.ts';
import { Fault, type FaultCode, faults } from '../../core/fault.ts';

/** Names that can stand in URLs, certificates, rules and audit records alike; letters of any script. */
export const name = z
  .string()
  .regex(
    /^[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,62}$/u,
    'a name starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most',
  )
  .meta({ example: 'staff01' });

/** RFC 3339, UTC. */
export const time = z.iso.datetime({ offset: true }).meta({ example: '2026-11-22T09:00:00.000Z' });

/** `30m`, `8h`, `90d`; stays text on the wire. */
export const durationText = z
  .string()
  .max(32)
  .superRefine((text, context) => {
    try {
      parseDuration(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Fault ? error.message : String(error) });
    }
  })
  .meta({ format: 'duration', example: '8h' });

export const role = z.enum(['admin', 'operator', 'approver', 'auditor', 'member']);
export type Role = z.output<typeof role>;

/** Who, as the audit and live sessions say it. */
export const who = z.object({ kind: z.string(), id: z.string(), credential: z.string() });

export const limit = z.coerce.number().int().min(1).max(1000).default(100);

/** How many of a list to leave out before the first that is wanted. */
export const offset = z.coerce.number().int().min(0).max(1_000_000).default(0);

/** A verb that has nothing to say but that it is done. */
export const done = z.object({ done: z.literal(true) });

/** What every refusal looks like. */
export const fault = z.object({
  error: z.object({
    code: z.enum(Object.keys(faults) as [FaultCode, ...FaultCode[]]),
    message: z.string().meta({ description: 'what, where and what to do' }),
    request: z.string().meta({ description: "this request's id; the gate's log has it" }),
  }),
});
