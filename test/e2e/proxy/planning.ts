// Plans from a configuration as a user writes it, with files read as the daemon reads them.
import { readFile } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import { proxyConfig } from '../../../src/features/proxy/config.ts';
import { type PlanDeps, planRoutes } from '../../../src/features/proxy/plan.ts';
import type { RoutePlan, RouteTrust } from '../../../src/features/proxy/route-plan.ts';
import type { Read } from '../../../src/wire/config-value.ts';

export function plan(config: object, deps: Partial<PlanDeps> = {}): Promise<RoutePlan[]> {
  return planRoutes(proxyConfig.parse(config), {
    read: readReference,
    certificates: { auto: async () => [], acme: async () => [], onChange: () => () => {} },
    trust: {
      clients: async ({ mode, ca = [], depth }, read): Promise<RouteTrust> => ({
        mode,
        cas: await Promise.all(ca.map(async one => (await read(one)).toString())),
        builtin: [],
        crls: [],
        crlGrace: 0,
        depth,
      }),
    },
    ...deps,
  });
}

/** `file:` as the daemon reads it. */
export const readReference: Read = async reference => {
  try {
    return await readFile(reference.replace(/^file:/, ''));
  } catch (cause) {
    throw new Fault('invalid', `${reference} cannot be read; check the path and its permissions`, { cause });
  }
};
