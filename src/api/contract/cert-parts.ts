// What the verbs about certificates share: parts of a name, and what comes of issuing.
import { z } from 'zod';
import { time } from './common.ts';

export const part = z.string().min(1).max(64);
export const certificateDays = z.int().min(1).max(3650);

export const issued = z.object({
  serial: z.string(),
  fingerprint: z.string(),
  notAfter: time,
  cert: z.string().meta({ description: 'PEM' }),
  chain: z.array(z.string()).meta({ description: 'PEM, the intermediate first, without the root' }),
  ca: z.string().meta({ description: "PEM of the gate's root" }),
  key: z.string().optional().meta({ description: 'PEM (PKCS#8); shown this once, kept nowhere' }),
  p12: z.string().optional().meta({ description: 'PKCS#12, base64' }),
});
