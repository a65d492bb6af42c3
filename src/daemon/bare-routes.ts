// Routes without a gate around them: no store, no folder, no users; what would be audited goes to the log.
import { type AuditEvent, createGate, createPolicy, createSessions, type LiveGate } from '../access/index.ts';
import { systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log, Metrics } from '../core/parts.ts';
import {
  type Identity,
  openRoutes,
  type ProxyService,
  planRoutes,
  proxyConfig,
  type RoutePlan,
} from '../features/proxy/index.ts';
import type { Read } from '../wire/config-value.ts';

export interface BareRoutes extends AsyncDisposable {
  readonly plans: readonly RoutePlan[];
  readonly service: ProxyService;
  drain(deadline: AbortSignal): Promise<void>;
}
export interface BareRoutesOptions {
  /** `proxy:` as it would be written. */
  readonly proxy: Readonly<Record<string, unknown>>;
  readonly read: Read;
  /** For `certificate: auto`; without it that is refused. */
  readonly auto?: (names: readonly string[]) => Promise<readonly Identity[]>;
  readonly log: Log;
}

/** @throws Fault `invalid` with the key of each mistake, or what listening says */
export async function openBareRoutes({ proxy, read, auto, log }: BareRoutesOptions): Promise<BareRoutes> {
  const needsGate = (what: string) => async (): Promise<never> => {
    throw new Fault('invalid', `${what} needs a gate; use sekisho up with a configuration`);
  };
  const plans = await planRoutes(proxyConfig.parse(proxy), {
    read,
    at: [],
    certificates: {
      auto: auto ?? needsGate('a certificate of the built-in CA'),
      acme: needsGate('ACME'),
      onChange: () => () => {},
    },
    trust: { clients: needsGate('asking for client certificates') },
  });
  const gate = bareGate(log);
  const service = await openRoutes(plans, {
    gate,
    identify: needsGate('asking for client certificates') as never,
    clock: systemClock,
    log,
    metrics: silent,
  });
  const drain = async (deadline: AbortSignal): Promise<void> => {
    await Promise.all([service.drain(deadline), gate.drain(deadline)]);
  };
  return { plans, service, drain, [Symbol.asyncDispose]: () => drain(AbortSignal.abort('closed')) };
}

/** Admits what a route opens by itself, and nothing else. */
function bareGate(log: Log): LiveGate {
  let seq = 0;
  const append = async (event: AuditEvent) => {
    const { facts, who: _, ...rest } = event;
    log.info({ ...rest, ...facts }, event.event);
    return { ...event, seq: ++seq, at: systemClock.now().toISOString(), hash: '' } as never;
  };
  return createGate({
    audit: { append },
    sessions: createSessions(),
    policy: () => createPolicy([]),
    standing: who => who,
    log,
    metrics: silent,
  });
}

const silent: Metrics = { count() {}, gauge() {}, observe() {} };
