// What a new reading of the configuration changes: by route, and which keys wait for the next start.
import { isDeepStrictEqual } from 'node:util';
import type { RoutePlan } from '../features/proxy/index.ts';
import type { Config } from './config.ts';

/** Names of what was added, changed, removed, kept; routes as `proxy/db`. */
export interface ReloadReport {
  readonly added: string[];
  readonly changed: string[];
  readonly removed: string[];
  readonly kept: string[];
  readonly warnings: string[];
}

export function difference(before: readonly RoutePlan[], after: readonly RoutePlan[]): Omit<ReloadReport, 'warnings'> {
  const old = new Map(before.map(plan => [plan.name, plan]));
  const names = new Set(after.map(({ name }) => name));
  const named = (plans: readonly RoutePlan[]): string[] => plans.map(({ name }) => `proxy/${name}`);
  const known = after.filter(({ name }) => old.has(name));
  const isSame = (plan: RoutePlan): boolean =>
    isDeepStrictEqual({ ...plan, warnings: [] }, { ...old.get(plan.name), warnings: [] });
  return {
    added: named(after.filter(({ name }) => !old.has(name))),
    changed: named(known.filter(plan => !isSame(plan))),
    removed: named(before.filter(({ name }) => !names.has(name))),
    kept: named(known.filter(isSame)),
  };
}

/** Keys that are read once, at the start: what they made is in use by everything else. */
const fixed: readonly (readonly [key: string, of: (config: Config) => unknown])[] = [
  ['gate', ({ gate }) => gate === undefined],
  ['gate.workers', ({ gate }) => gate?.workers],
  ['gate.proxy-protocol', ({ gate }) => gate?.['proxy-protocol']],
  ['gate.limits', ({ gate }) => gate?.limits],
  ['web.forward', ({ web }) => web?.forward === undefined],
  ['web.sites', ({ web }) => web?.sites === undefined],
  ['web.forward.name', ({ web }) => web?.forward?.name],
  ['endpoint.ports', ({ endpoint }) => endpoint.ports],
  ['endpoint.cooling', ({ endpoint }) => endpoint.cooling],
  ['endpoint.webhook', ({ endpoint }) => endpoint.webhook],
  ['vpn.listen', ({ vpn }) => vpn?.listen],
  ['vpn.openvpn', ({ vpn }) => vpn?.openvpn],
  ['store', ({ store }) => store],
  ['tunnel', ({ tunnel }) => tunnel],
  ['trust.rate-limit', ({ trust }) => trust['rate-limit']],
  ['trust.sign-in.idle', ({ trust }) => trust['sign-in'].idle],
  ['notify', ({ notify }) => notify],
  ['trust.certificates', ({ trust }) => trust.certificates],
  ['trust.crl-url', ({ trust }) => trust['crl-url']],
  ['log.access', ({ log }) => log.access === undefined],
  ['audit.checkpoint', ({ audit }) => audit.checkpoint],
];

/** The keys that differ and take effect only when the gate is started anew. */
export function restartNeeded(before: Config, after: Config): string[] {
  return fixed.filter(([, of]) => !isDeepStrictEqual(of(before), of(after))).map(([key]) => key);
}
