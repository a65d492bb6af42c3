// The routers between hubs that the file names: each stands while all of its hubs are open, and anew when one of them is.
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/parts.ts';
import type { Hub } from './hub.ts';
import type { Hubs } from './hubs.ts';
import { createRouteTable } from './route.ts';

export interface RouterPlan {
  readonly interfaces: readonly { readonly hub: string; readonly address: string }[];
  readonly routes: readonly { readonly network: string; readonly via: string }[];
}
export type RouterPlans = Readonly<Record<string, RouterPlan>>;

export interface Routers extends AsyncDisposable {
  /** What did not change stays. */
  replace(plans: RouterPlans): void;
}

interface Standing {
  readonly plan: string;
  readonly hubs: readonly Hub[];
  readonly table: AsyncDisposable;
}

export function openRouters(
  first: RouterPlans,
  hubs: Hubs,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Routers {
  let plans = first;
  const standing = new Map<string, Standing>();
  const end = (name: string, { table }: Standing): void => {
    standing.delete(name);
    void table[Symbol.asyncDispose]();
  };
  const settle = (): void => {
    for (const [name, one] of standing) {
      const plan = plans[name];
      const present = plan && open(plan, hubs);
      const isSame = present?.every((hub, index) => hub === one.hubs[index]) && JSON.stringify(plan) === one.plan;
      if (!isSame) end(name, one);
    }
    for (const [name, plan] of Object.entries(plans)) {
      const present = open(plan, hubs);
      if (standing.has(name) || !present) continue;
      const interfaces = plan.interfaces.map(({ address }, index) => ({ hub: present[index]!, address }));
      try {
        const table = createRouteTable({ name, interfaces, routes: plan.routes, clock });
        standing.set(name, { plan: JSON.stringify(plan), hubs: present, table });
      } catch (error) {
        log.warn({ router: name, error }, `the router ${name} could not be set up`);
      }
    }
  };
  settle();
  const forget = hubs.onChange(settle);
  return {
    replace(next) {
      plans = next;
      settle();
    },
    async [Symbol.asyncDispose]() {
      forget();
      await Promise.all([...standing.values()].map(({ table }) => table[Symbol.asyncDispose]()));
    },
  };
}

/** Its hubs, if all of them are online. */
function open({ interfaces }: RouterPlan, hubs: Hubs): Hub[] | undefined {
  const found = interfaces.map(({ hub }) => hubs.find(hub)?.hub);
  return found.every(hub => hub !== undefined) ? found : undefined;
}
