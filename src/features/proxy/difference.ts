// What a reload changes: plans and fronts compared. Plans are plain JSON, made by the same code, so the same text is
// the same plan; warnings change with the date and do not count.
import type { Challenge, Entry, Front } from './front.ts';
import { listenKey } from './plan-listens.ts';
import type { RoutePlan } from './route-plan.ts';

const text = (plan: RoutePlan): string => JSON.stringify({ ...plan, warnings: [] });

export const isSame = (one: RoutePlan, other: RoutePlan): boolean => text(one) === text(other);

export const hasSameTargets = (one: RoutePlan, other: RoutePlan): boolean =>
  JSON.stringify(one.outward) === JSON.stringify(other.outward);

/** Whether two plans, both with TLS, differ in nothing but certificates and TLS options. */
export function differsInTlsOnly(one: RoutePlan, other: RoutePlan): boolean {
  const { tls: oneTls, ...oneRest } = one;
  const { tls: otherTls, ...otherRest } = other;
  return oneTls !== undefined && otherTls !== undefined && text(oneRest) === text(otherRest);
}

/** Names the front of a route's nth listener. On the gate's port every route has a listener of its own. */
export function frontKey(plan: RoutePlan, index: number): string {
  const address = plan.listens[index]?.address ?? { kind: 'gate' };
  if (address.kind !== 'gate') return listenKey(address, plan.name, index);
  return `gate ${JSON.stringify([plan.name, plan.names, plan.alpn])}`;
}

/** Whether the front must be told of other routes or challenges than it has. */
export function hasChanged(front: Front, entries: readonly Entry[], challenges: readonly Challenge[]): boolean {
  const flat = (all: readonly Entry[]): unknown[] => all.flatMap(({ route, mode }) => [route, mode]);
  return !sameItems(flat(front.entries), flat(entries)) || !sameItems(front.challenges, challenges);
}

const sameItems = (one: readonly unknown[], other: readonly unknown[]): boolean =>
  one.length === other.length && one.every((item, index) => item === other[index]);
