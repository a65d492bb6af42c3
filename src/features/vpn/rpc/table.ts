// What one function that vpncmd calls is: its fields in, its fields out, and the action that it is in the audit.
import type { Action, Address, Principal } from '../../../core/parts.ts';
import { type Pack, type PackFields, packText } from '../../../wire/softether-pack.ts';
import type { VpnDeps } from '../deps.ts';
import type { PortCounts, Traffic } from '../hub.ts';
import type { HubEntry } from '../hubs.ts';
import type { VpnService } from '../service.ts';
import { Refusal } from '../softether/errors.ts';

/** One call. */
export interface Ask {
  readonly pack: Pack;
  readonly service: VpnService;
  readonly deps: VpnDeps;
  readonly since: Date;
  readonly who: Principal;
  readonly from: Address;
}
export interface RpcFunction {
  /** It changes something: the gate admits it, and the audit has it before and after. */
  readonly action?: Action;
  /** What it changes, for the audit: `hub/mikalab`. */
  readonly about?: (pack: Pack) => string;
  run(ask: Ask): PackFields | Promise<PackFields>;
}
export type RpcTable = Readonly<Record<string, RpcFunction>>;

/** The hub that the call names. @throws Refusal */
export function hubOf({ pack, service }: Ask, field = 'HubName'): HubEntry {
  const entry = service.hubs.find(packText(pack, field));
  if (!entry) throw new Refusal('no-such-hub', 'there is no hub of this name');
  return entry;
}

export const aboutHub =
  (field = 'HubName') =>
  (pack: Pack): string =>
    `hub/${printable(packText(pack, field))}`;
export const aboutMember = (pack: Pack): string =>
  `hub/${printable(packText(pack, 'HubName'))}/${printable(packText(pack, 'Name'))}`;
const printable = (text: string): string => text.slice(0, 63).replace(/[^\p{L}\p{N}._-]/gu, '?') || '*';

const noTraffic: Traffic = { unicastBytes: 0, unicastFrames: 0, broadcastBytes: 0, broadcastFrames: 0 };
export const noCounts: PortCounts = { up: noTraffic, down: noTraffic, dropped: 0 };

/** Received is what came up from a port, sent what went down to it. */
export function trafficFields(counts: PortCounts | readonly PortCounts[], prefix = ''): PackFields {
  const list = 'up' in counts ? [counts] : counts;
  const column = (pick: (one: PortCounts) => number): bigint[] => list.map(one => BigInt(pick(one)));
  return {
    [`${prefix}Recv.BroadcastBytes`]: column(({ up }) => up.broadcastBytes),
    [`${prefix}Recv.BroadcastCount`]: column(({ up }) => up.broadcastFrames),
    [`${prefix}Recv.UnicastBytes`]: column(({ up }) => up.unicastBytes),
    [`${prefix}Recv.UnicastCount`]: column(({ up }) => up.unicastFrames),
    [`${prefix}Send.BroadcastBytes`]: column(({ down }) => down.broadcastBytes),
    [`${prefix}Send.BroadcastCount`]: column(({ down }) => down.broadcastFrames),
    [`${prefix}Send.UnicastBytes`]: column(({ down }) => down.unicastBytes),
    [`${prefix}Send.UnicastCount`]: column(({ down }) => down.unicastFrames),
  };
}

export const latest = (dates: readonly (Date | undefined)[]): Date | undefined =>
  dates.reduce<Date | undefined>((best, one) => (one && (!best || one > best) ? one : best), undefined);
