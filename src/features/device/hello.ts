// What a device says of itself, checked: it is shown to people and never decides anything.
import { z } from 'zod';
import { Fault } from '../../core/fault.ts';
import type { HelloAnswer } from './protocol.ts';
import { servicePattern } from './protocol.ts';

const text = (most: number) =>
  z
    .string()
    .max(most)
    .regex(/^[\x20-\x7e]*$/);

const answer = z.object({
  version: text(32),
  node: text(32),
  platform: text(64),
  /** Fingerprints of the roots that it has now; older agents do not say. */
  roots: z
    .array(z.string().regex(/^[0-9a-f]{64}$/))
    .max(8)
    .optional(),
  services: z.record(z.string().regex(servicePattern), text(256)).refine(all => Object.keys(all).length <= 256),
});

/** @throws Fault `protocol` */
export function parseHello(value: unknown): HelloAnswer {
  const parsed = answer.safeParse(value);
  if (parsed.success) {
    const { roots, ...rest } = parsed.data;
    return roots === undefined ? rest : { ...rest, roots };
  }
  throw new Fault('protocol', 'the device said of itself what cannot be understood', { cause: parsed.error });
}
