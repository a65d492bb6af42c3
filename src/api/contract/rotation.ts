// cert: the CA's root gives way to the next one, step by step.
import { z } from 'zod';
import { time } from './common.ts';
import { verb } from './verb.ts';

export const rotationStep = z.enum(['prepare', 'switch', 'retire', 'abandon']);
export type RotationStep = z.output<typeof rotationStep>;

export const rotation = z.object({
  stage: z.enum(['steady', 'prepared', 'switched']),
  roots: z.array(
    z.object({
      fingerprint: z.string(),
      notAfter: time,
      role: z.enum(['issuing', 'next', 'former']),
      cert: z.string().meta({ description: 'PEM' }),
    }),
  ),
  devices: z.object({
    total: z.number().meta({ description: 'enrolled and not revoked, with an agent of ours' }),
    waiting: z.array(z.string()).meta({ description: 'do not know the newest root yet; 100 at most are named' }),
    waitingCount: z.number(),
  }),
  former: z.object({
    total: z.number().meta({ description: 'certificates that count now and not after `retire`' }),
    names: z.array(z.string()).meta({ description: 'whose; 100 at most' }),
  }),
  next: z.array(
    z.object({
      step: rotationStep,
      would: z.array(z.string()).meta({ description: 'what it would do, in sentences' }),
      against: z.array(z.string()).meta({ description: 'why it is refused without `force`' }),
    }),
  ),
});
export type RotationAnswer = z.output<typeof rotation>;

export const rotationVerbs = {
  'cert.rotation': verb({
    method: 'GET',
    path: '/v1/certs/rotation',
    action: 'cert.list',
    summary: 'Where the CA stands on its way to the next root, and what each next step would do',
    answer: rotation,
    cli: 'cert rotate',
  }),
  'cert.rotate': verb({
    method: 'POST',
    path: '/v1/certs/rotation',
    action: 'cert.rotate',
    summary: 'Take a step to the next root; GET says before what it would do',
    body: z.strictObject({
      step: rotationStep,
      force: z.boolean().default(false).meta({ description: 'although something speaks against it' }),
    }),
    answer: rotation,
    changes: true,
    resource: 'cert/ca',
    cli: 'cert rotate',
  }),
} as const;
