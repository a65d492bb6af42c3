// Which process carries which route: workers take those with TCP listeners of their own, the gate process the others.
import { formatUrl, type ListenAddress } from '../core/address.ts';

interface Placed {
  readonly name: string;
  readonly listens: readonly { readonly address: ListenAddress }[];
  readonly outward?: { readonly upstreams: readonly { readonly target: { readonly kind: string } }[] };
}
export interface Placement<P> {
  readonly gate: readonly P[];
  readonly workers: readonly P[];
}

/**
 * The gate process keeps what cannot be shared: its own port; unix sockets (each worker would take the file from the
 * others); datagrams (the kernel would deal one client's to several workers); descriptors from systemd (cluster would
 * close them with the last worker that dies); ways to devices, whose links it holds. Routes that stand on one address stay together, and an address that the
 * gate process holds now stays there, so that it never has to be bound twice.
 */
export function placeRoutes<P extends Placed>(
  plans: readonly P[],
  stays: (address: ListenAddress) => boolean,
  held: readonly P[] = [],
): Placement<P> {
  const keysOf = (plan: P): string[] => plan.listens.map(({ address }) => keyOf(address));
  const here = new Set(held.flatMap(keysOf));
  let gate = plans.filter(
    plan =>
      plan.listens.some(({ address }) => isUnshared(address) || stays(address) || here.has(keyOf(address))) ||
      plan.outward?.upstreams.some(({ target }) => target.kind === 'device'),
  );
  for (;;) {
    const taken = new Set(gate.flatMap(keysOf));
    const more = plans.filter(plan => keysOf(plan).some(key => taken.has(key)));
    if (more.length === gate.length) break;
    gate = more;
  }
  return { gate: plans.filter(plan => gate.includes(plan)), workers: plans.filter(plan => !gate.includes(plan)) };
}

const isUnshared = ({ kind }: ListenAddress): boolean => kind === 'gate' || kind === 'unix' || kind === 'udp';
/** The same for every way of listening on one port. */
export const keyOf = (address: ListenAddress): string => formatUrl(address).replace(/^tls:/, 'tcp:');
