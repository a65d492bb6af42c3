// A security policy in SoftEther's names: in the Welcome, in users and groups as administrators see them, and back.
import { type Pack, type PackFields, packInt } from '../../../wire/softether-pack.ts';
import type { SecurityPolicy } from '../hub.ts';

/** Key, name on the wire, and the least and most that a number may be (0 = no limit where the least is not above it). */
const table: readonly (readonly [key: keyof SecurityPolicy, name: string, range?: readonly [number, number]])[] = [
  ['access', 'Access'],
  ['dhcpFilter', 'DHCPFilter'],
  ['dhcpNoServer', 'DHCPNoServer'],
  ['dhcpForce', 'DHCPForce'],
  ['noBridge', 'NoBridge'],
  ['noRouting', 'NoRouting'],
  ['checkMac', 'CheckMac'],
  ['checkIp', 'CheckIP'],
  ['arpDhcpOnly', 'ArpDhcpOnly'],
  ['privacyFilter', 'PrivacyFilter'],
  ['noServer', 'NoServer'],
  ['noBroadcastLimiter', 'NoBroadcastLimiter'],
  ['monitorPort', 'MonitorPort'],
  ['maxConnection', 'MaxConnection', [1, 32]],
  ['timeOut', 'TimeOut', [5, 60]],
  ['maxMac', 'MaxMac', [0, 65_535]],
  ['maxIp', 'MaxIP', [0, 65_535]],
  ['maxUpload', 'MaxUpload', [0, 0xffffffff]],
  ['maxDownload', 'MaxDownload', [0, 0xffffffff]],
  ['fixPassword', 'FixPassword'],
  ['multiLogins', 'MultiLogins', [0, 65_535]],
  ['noQos', 'NoQoS'],
  ['rsAndRaFilter', 'RSandRAFilter'],
  ['raFilter', 'RAFilter'],
  ['dhcpv6Filter', 'DHCPv6Filter'],
  ['dhcpv6NoServer', 'DHCPv6NoServer'],
  ['noRoutingV6', 'NoRoutingV6'],
  ['checkIpv6', 'CheckIPv6'],
  ['noServerV6', 'NoServerV6'],
  ['maxIpv6', 'MaxIPv6', [0, 65_535]],
  ['noSavePassword', 'NoSavePassword'],
  ['autoDisconnect', 'AutoDisconnect', [0, 0xffffffff]],
  ['filterIpv4', 'FilterIPv4'],
  ['filterIpv6', 'FilterIPv6'],
  ['filterNonIp', 'FilterNonIP'],
  ['noIpv6DefaultRouterInRa', 'NoIPv6DefaultRouterInRA'],
  ['noIpv6DefaultRouterInRaWhenIpv6', 'NoIPv6DefaultRouterInRAWhenIPv6'],
  ['vlanId', 'VLanId', [0, 4095]],
];

/** SoftEther's own: everything is allowed, 32 TCP connections, twenty seconds of silence. */
export const defaultSecurity: SecurityPolicy = {
  ...(Object.fromEntries(table.map(([key, , range]) => [key, range ? 0 : false])) as unknown as SecurityPolicy),
  access: true,
  maxConnection: 32,
  timeOut: 20,
};

/** Whatever was kept or written, as a whole policy with every number in its range. */
export function completeSecurity(partial: Partial<Record<keyof SecurityPolicy, unknown>>): SecurityPolicy {
  const complete: Record<string, boolean | number> = {};
  for (const [key, , range] of table) {
    const value = partial[key];
    const fallback = defaultSecurity[key];
    if (!range) complete[key] = typeof value === 'boolean' ? value : fallback;
    else complete[key] = typeof value === 'number' && Number.isSafeInteger(value) ? clamp(value, range) : fallback;
  }
  return complete as unknown as SecurityPolicy;
}
const clamp = (value: number, [least, most]: readonly [number, number]): number =>
  Math.min(most, Math.max(least, value));

export function packPolicy(policy: SecurityPolicy): PackFields {
  const fields: Record<string, number> = {};
  for (const [key, name] of table) fields[`policy:${name}`] = Number(policy[key]);
  return { ...fields, 'policy:Ver3': 1 };
}

/** Of a PACK that carries one. */
export const unpackPolicy = (pack: Pack): SecurityPolicy =>
  completeSecurity(
    Object.fromEntries(
      table.map(([key, name, range]) => {
        const value = packInt(pack, `policy:${name}`);
        return [key, range ? value : value !== 0];
      }),
    ),
  );
