// The access list as vpncmd keeps it: AccessAdd, AccessAddEx, their IPv6 sisters, AccessList, -Delete, -Enable, -Disable.
import { formatIp, ipBytes, parseIp } from '../../../wire/ip.ts';
import {
  ipFields,
  type Pack,
  type PackFields,
  type PackScalar,
  packBool,
  packData,
  packInt,
  packIp,
  packLength,
  packText,
  unistr,
} from '../../../wire/softether-pack.ts';
import type { FilterRule } from '../hub.ts';
import { filterRule } from '../settings.ts';
import { Refusal } from '../softether/errors.ts';
import { bitsOf, maskOf } from './nat.ts';
import { type Ask, aboutHub, hubOf, type RpcTable } from './table.ts';

const mostRules = 32_768;
const protocolNumbers = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** Rules have no names: SoftEther numbers them as they stand, from 1. */
const sorted = (rules: readonly FilterRule[]): readonly FilterRule[] =>
  rules.toSorted((a, b) => a.priority - b.priority);

const macText = (bytes: Buffer | undefined): string =>
  ((bytes ?? Buffer.alloc(6)).toString('hex').match(/../g) ?? []).join(':');
const macBytes = (mac: string | undefined): Buffer => Buffer.from((mac ?? '').replaceAll(':', ''), 'hex');

/** @throws Refusal */
function ruleOf(pack: Pack, index: number): FilterRule {
  const isV6 = packBool(pack, 'IsIPv6', index);
  const network = (side: 'Src' | 'Dest'): string | undefined =>
    isV6 ? network6(pack, side, index) : network4(pack, side, index);
  const range = (side: 'Src' | 'Dest'): readonly [number, number] | undefined => {
    const first = packInt(pack, `${side}PortStart`, index);
    const last = packInt(pack, `${side}PortEnd`, index);
    return first === 0 && last === 0 ? undefined : [first, last === 0 ? first : last];
  };
  const mac = (side: 'Src' | 'Dst') =>
    packBool(pack, `Check${side}Mac`, index)
      ? {
          mac: macText(packData(pack, `${side}MacAddress`, index)),
          mask: macText(packData(pack, `${side}MacMask`, index)),
        }
      : undefined;
  if (packText(pack, 'RedirectUrl', index) !== '')
    throw new Refusal('not-supported', 'redirecting HTTP by an access list is not done here');
  const protocol = packInt(pack, 'Protocol', index);
  const user = (side: 'Src' | 'Dest'): string | undefined => {
    const name = packText(pack, `${side}Username`, index);
    if (/^(include|exclude):/i.test(name)) throw new Refusal('not-supported', 'lists of users in files are not read');
    return name || undefined;
  };
  const wanted = {
    priority: packInt(pack, 'Priority', index),
    action: packBool(pack, 'Discard', index) ? 'discard' : 'pass',
    active: packBool(pack, 'Active', index),
    note: packText(pack, 'Note', index) || undefined,
    // An IPv6 rule without addresses is still about IPv6 only.
    from: network('Src') ?? (isV6 ? '::/0' : undefined),
    to: network('Dest'),
    protocol: protocol === 0 ? undefined : protocol,
    fromPort: range('Src'),
    toPort: range('Dest'),
    fromUser: user('Src'),
    toUser: user('Dest'),
    fromMac: mac('Src'),
    toMac: mac('Dst'),
    established: packBool(pack, 'CheckTcpState', index) ? packBool(pack, 'Established', index) : undefined,
    delay: packInt(pack, 'Delay', index) || undefined,
    jitter: packInt(pack, 'Jitter', index) || undefined,
    loss: packInt(pack, 'Loss', index) || undefined,
  };
  const said = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
  const checked = filterRule.safeParse(said);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw new Refusal('invalid-parameter', `${issue?.path.join('.')}: ${issue?.message}`);
  }
  return checked.data as FilterRule;
}

function network4(pack: Pack, side: 'Src' | 'Dest', index: number): string | undefined {
  const address = packIp(pack, `${side}IpAddress`, index);
  const mask = packIp(pack, `${side}SubnetMask`, index);
  if (address === '' && mask === '') return undefined;
  return `${address || '0.0.0.0'}/${bitsOf(mask)}`;
}

function network6(pack: Pack, side: 'Src' | 'Dest', index: number): string | undefined {
  const address = packData(pack, `${side}IpAddress6`, index);
  const mask = packData(pack, `${side}SubnetMask6`, index);
  if (address?.length !== 16 || mask?.length !== 16 || mask.every(byte => byte === 0)) return undefined;
  const bits = [...mask].map(byte => byte.toString(2).padStart(8, '0')).join('');
  if (!/^1*0*$/.test(bits)) throw new Refusal('invalid-parameter', 'this is no IPv6 mask');
  return `${formatIp(address)}/${bits.replaceAll('0', '').length}`;
}

/** All rules as parallel lists; a single one is a list of one. */
function fields(rules: readonly FilterRule[]): PackFields {
  const list = <T extends PackScalar>(pick: (rule: FilterRule, index: number) => T): T[] => rules.map(pick);
  const part = (network: string | undefined, family: 4 | 6): { address: string; bits: number } | undefined => {
    const ip = network === undefined ? undefined : parseIp(network.split('/')[0] ?? '');
    if (!network || ip?.family !== family) return undefined;
    return { address: network.split('/')[0] ?? '', bits: Number(network.split('/')[1] ?? (family === 4 ? 32 : 128)) };
  };
  const side = (name: 'Src' | 'Dest', pick: (rule: FilterRule) => string | undefined): PackFields => {
    const v4 = rules.map(rule => part(pick(rule), 4));
    const v6 = rules.map(rule => part(pick(rule), 6));
    return {
      ...ipFields(
        `${name}IpAddress`,
        v4.map(one => one?.address ?? ''),
      ),
      ...ipFields(
        `${name}SubnetMask`,
        v4.map(one => (one ? maskOf(one.bits) : '')),
      ),
      [`${name}IpAddress6`]: v6.map(one => {
        const ip = one && parseIp(one.address);
        return ip ? ipBytes(ip, 16) : Buffer.alloc(16);
      }),
      [`${name}SubnetMask6`]: v6.map(one => mask6(one?.bits ?? 0)),
    };
  };
  const isV6 = ({ from, to }: FilterRule): boolean => (from ?? to ?? '').includes(':');
  return {
    Id: list((_, index) => index + 1),
    UniqueId: list((_, index) => index + 1),
    Note: list(({ note }) => unistr(note ?? '')),
    Active: list(({ active }) => active ?? true),
    Priority: list(({ priority }) => priority),
    Discard: list(({ action }) => action === 'discard'),
    ...side('Src', ({ from }) => from),
    ...side('Dest', ({ to }) => to),
    IsIPv6: list(isV6),
    Protocol: list(({ protocol = 0 }) => (typeof protocol === 'number' ? protocol : protocolNumbers[protocol])),
    SrcPortStart: list(({ fromPort }) => fromPort?.[0] ?? 0),
    SrcPortEnd: list(({ fromPort }) => fromPort?.[1] ?? 0),
    DestPortStart: list(({ toPort }) => toPort?.[0] ?? 0),
    DestPortEnd: list(({ toPort }) => toPort?.[1] ?? 0),
    SrcUsername: list(({ fromUser }) => fromUser ?? ''),
    DestUsername: list(({ toUser }) => toUser ?? ''),
    CheckSrcMac: list(({ fromMac }) => fromMac !== undefined),
    SrcMacAddress: list(({ fromMac }) => macBytes(fromMac?.mac ?? '00:00:00:00:00:00')),
    SrcMacMask: list(({ fromMac }) => macBytes(fromMac?.mask ?? '00:00:00:00:00:00')),
    CheckDstMac: list(({ toMac }) => toMac !== undefined),
    DstMacAddress: list(({ toMac }) => macBytes(toMac?.mac ?? '00:00:00:00:00:00')),
    DstMacMask: list(({ toMac }) => macBytes(toMac?.mask ?? '00:00:00:00:00:00')),
    CheckTcpState: list(({ established }) => established !== undefined),
    Established: list(({ established }) => established ?? false),
    Delay: list(({ delay }) => delay ?? 0),
    Jitter: list(({ jitter }) => jitter ?? 0),
    Loss: list(({ loss }) => loss ?? 0),
    RedirectUrl: list(() => ''),
  };
}

const mask6 = (bits: number): Buffer =>
  Buffer.from(Array.from({ length: 16 }, (_, at) => (0xff00 >> Math.max(0, Math.min(8, bits - at * 8))) & 0xff));

async function replace(ask: Ask, rules: readonly FilterRule[]): Promise<readonly FilterRule[]> {
  if (rules.length > mostRules) throw new Refusal('too-many-rules', `an access list has ${mostRules} lines at most`);
  await ask.service.hubs.change(hubOf(ask).name, { filter: sorted(rules) });
  return sorted(rules);
}

const action = 'vpn.filter-change';

export const accessFunctions: RpcTable = {
  AddAccess: {
    action,
    about: aboutHub(),
    run: async ask => {
      const { name, settings } = hubOf(ask);
      const rule = ruleOf(ask.pack, 0);
      await replace(ask, [...settings.filter, rule]);
      return { HubName: name, ...fields([rule]) };
    },
  },
  EnumAccess: {
    run: ask => {
      const { name, settings } = hubOf(ask);
      return { HubName: name, ...fields(sorted(settings.filter)) };
    },
  },
  DeleteAccess: {
    action,
    about: aboutHub(),
    run: async ask => {
      const { name, settings } = hubOf(ask);
      const rules = sorted(settings.filter);
      const id = packInt(ask.pack, 'Id');
      if (id < 1 || id > rules.length) throw new Refusal('no-such-object', 'there is no line of this number');
      await replace(ask, rules.toSpliced(id - 1, 1));
      return { HubName: name, Id: id };
    },
  },
  SetAccessList: {
    action,
    about: aboutHub(),
    run: async ask => {
      const count = packLength(ask.pack, 'Priority');
      const rules = await replace(
        ask,
        Array.from({ length: count }, (_, index) => ruleOf(ask.pack, index)),
      );
      return { HubName: hubOf(ask).name, ...fields(rules) };
    },
  },
};
