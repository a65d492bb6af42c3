// web: the internal web services that are reached through the gate, and how browsers are told.
import { z } from 'zod';
import { verb } from './verb.ts';

export const webForm = z.enum(['pac', 'chrome', 'edge', 'firefox', 'apple', 'relay', 'curl', 'env']);

export const webState = z.object({
  forward: z
    .object({
      proxy: z.string().meta({ description: 'what browsers are told: HTTPS host:port' }),
      pac: z.object({ url: z.string(), public: z.boolean() }),
      hosts: z.array(z.object({ key: z.string(), ports: z.string(), to: z.string() })),
      connections: z.number().meta({ description: 'client connections now' }),
      warnings: z.array(z.string()),
    })
    .optional(),
  sites: z
    .object({
      domain: z.string().optional(),
      sites: z.array(
        z.object({
          key: z.string(),
          url: z.string(),
          to: z.string(),
          clients: z.enum(['required', 'none']),
          health: z.enum(['unknown', 'up', 'down']),
        }),
      ),
      connections: z.number().meta({ description: 'client connections now' }),
      warnings: z.array(z.string()),
    })
    .optional(),
});
export type WebAnswer = z.output<typeof webState>;

export const webCheck = z.object({
  site: z.string(),
  as: z.string(),
  from: z.string(),
  verdict: z.enum(['reached', 'after-approval', 'not-mapped', 'denied', 'address-refused', 'unresolved', 'own-page']),
  text: z.string(),
  line: z.object({ key: z.string(), to: z.string() }).optional(),
  rule: z.string().optional(),
  addresses: z.array(z.object({ address: z.string(), fault: z.string().optional() })),
});
export type WebCheckAnswer = z.output<typeof webCheck>;

export const webVerbs = {
  'web.list': verb({
    method: 'GET',
    path: '/v1/web',
    action: 'web.list',
    summary: 'What may be reached: through the forward proxy, with its PAC file, and as renamed sites',
    answer: webState,
    cli: 'web list',
  }),
  'web.pac': verb({
    method: 'GET',
    path: '/v1/web/pac',
    action: 'web.list',
    summary: 'The PAC file, or the same for policies, profiles and programs',
    query: z.object({ for: webForm.default('pac') }),
    answer: z.object({ file: z.string(), type: z.string(), text: z.string(), note: z.string() }),
    cli: 'web pac',
  }),
  'web.check': verb({
    method: 'GET',
    path: '/v1/web/check',
    action: 'web.check',
    summary: 'Would this address be reached, by whom, and why not',
    query: z.object({
      url: z.string().min(1).max(2000).meta({ example: 'http://server1:8081/' }),
      as: z.string().min(1).max(63).optional().meta({ description: 'a user; default: the caller' }),
      from: z.union([z.ipv4(), z.ipv6()]).optional().meta({ description: 'an address; default: the caller’s own' }),
    }),
    answer: webCheck,
    cli: 'web check',
  }),
} as const;
