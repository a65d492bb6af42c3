// SecureNAT as vpncmd sets it: on and off, the virtual host, NAT, DHCP and its pushed routes.
import {
  ipFields,
  type Pack,
  type PackFields,
  packBool,
  packData,
  packInt,
  packIp,
  packText,
} from '../../../wire/softether-pack.ts';
import type { DhcpOptions, NatOptions } from '../hub.ts';
import { defaultNat, natOptions } from '../settings.ts';
import { Refusal } from '../softether/errors.ts';
import { aboutHub, hubOf, type RpcTable } from './table.ts';

const octets = (address: string): number => Buffer.from(address.split('.').map(Number)).readUInt32BE();
const dotted = (value: number): string => [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.');
export const maskOf = (bits: number): string => dotted(bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0);
/** @throws Refusal for a mask with holes */
export function bitsOf(mask: string): number {
  const value = octets(mask || '0.0.0.0');
  const bits = value === 0 ? 0 : 32 - Math.log2(2 ** 32 - value);
  if (!Number.isInteger(bits)) throw new Refusal('invalid-parameter', `${mask} is no subnet mask`);
  return bits;
}

const macText = (bytes: Buffer): string => (bytes.toString('hex').match(/../g) ?? []).join(':');

/** `10.0.1.0/255.255.255.0/192.168.30.1, …` as SoftEther writes pushed routes. */
const formatRoutes = (routes: DhcpOptions['routes'], router: string): string =>
  (routes ?? [])
    .map(({ network, gateway = router }) => {
      const [address = '', bits = '32'] = network.split('/');
      return `${address}/${maskOf(Number(bits))}/${gateway}`;
    })
    .join(', ');

/** @throws Refusal */
function parseRoutes(text: string, router: string): NonNullable<DhcpOptions['routes']> {
  return text
    .split(/[,\s]+/)
    .filter(item => item !== '')
    .map(item => {
      const [network = '', mask = '', gateway = ''] = item.split('/');
      if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(network) || !/^\d{1,3}(\.\d{1,3}){3}$/.test(gateway))
        throw new Refusal('invalid-parameter', `"${item}" is no route: network/mask/gateway`);
      const bits = mask.includes('.') ? bitsOf(mask) : Number(mask);
      return { network: `${network}/${bits}`, ...(gateway === router ? {} : { gateway }) };
    });
}

function natFields(
  hub: string,
  { address, mac, nat = true, mtu, tcpTimeout, udpTimeout, dhcp }: NatOptions,
): PackFields {
  const [router = '', bits = '24'] = address.split('/');
  const [start, end] = dhcp?.range ?? defaultNat.dhcp?.range ?? ['', ''];
  return {
    RpcHubName: hub,
    MacAddress: mac ? Buffer.from(mac.replaceAll(':', ''), 'hex') : Buffer.alloc(6),
    ...ipFields('Ip', router),
    ...ipFields('Mask', maskOf(Number(bits))),
    UseNat: nat,
    Mtu: mtu ?? 1500,
    NatTcpTimeout: tcpTimeout ?? 1800,
    NatUdpTimeout: udpTimeout ?? 60,
    UseDhcp: dhcp !== undefined,
    ...ipFields('DhcpLeaseIPStart', start),
    ...ipFields('DhcpLeaseIPEnd', end),
    ...ipFields('DhcpSubnetMask', dhcp?.mask ?? maskOf(Number(bits))),
    DhcpExpireTimeSpan: dhcp?.lease ?? 7200,
    ...ipFields('DhcpGatewayAddress', dhcp?.gateway ?? ''),
    ...ipFields('DhcpDnsServerAddress', dhcp?.dns === undefined ? router : (dhcp.dns[0] ?? '')),
    ...ipFields('DhcpDnsServerAddress2', dhcp?.dns?.[1] ?? ''),
    DhcpDomainName: dhcp?.domain ?? '',
    SaveLog: 1,
    ApplyDhcpPushRoutes: 1,
    DhcpPushRoutes: formatRoutes(dhcp?.routes, router),
  };
}

/** @throws Refusal */
function optionsOf(pack: Pack, before: NatOptions): NatOptions {
  const router = packIp(pack, 'Ip');
  const mac = packData(pack, 'MacAddress');
  const mask = packIp(pack, 'DhcpSubnetMask');
  const gateway = packIp(pack, 'DhcpGatewayAddress');
  const dns = [packIp(pack, 'DhcpDnsServerAddress'), packIp(pack, 'DhcpDnsServerAddress2')].filter(one => one !== '');
  const domain = packText(pack, 'DhcpDomainName');
  const routes = parseRoutes(packText(pack, 'DhcpPushRoutes'), router);
  const dhcp = {
    range: [packIp(pack, 'DhcpLeaseIPStart'), packIp(pack, 'DhcpLeaseIPEnd')],
    ...{ ...(mask === '' ? {} : { mask }), lease: packInt(pack, 'DhcpExpireTimeSpan'), dns, routes },
    ...(gateway === '' ? {} : { gateway }),
    ...(domain === '' ? {} : { domain }),
    ...(before.dhcp?.reservations ? { reservations: before.dhcp.reservations } : {}),
  };
  const checked = natOptions.safeParse({
    address: `${router}/${bitsOf(packIp(pack, 'Mask'))}`,
    ...(mac?.length === 6 && mac.some(byte => byte !== 0) ? { mac: macText(mac) } : {}),
    ...{ nat: packBool(pack, 'UseNat'), mtu: packInt(pack, 'Mtu') },
    ...{ tcpTimeout: packInt(pack, 'NatTcpTimeout'), udpTimeout: packInt(pack, 'NatUdpTimeout') },
    ...(packBool(pack, 'UseDhcp') ? { dhcp } : {}),
  });
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw new Refusal('invalid-parameter', `${issue?.path.join('.')}: ${issue?.message}`);
  }
  return checked.data as NatOptions;
}

const turn = (enabled: boolean): RpcTable[string] => ({
  action: 'vpn.hub-change',
  about: aboutHub(),
  run: async ask => {
    const { name, settings } = hubOf(ask);
    await ask.service.hubs.change(name, { secureNat: { ...settings.secureNat, enabled } });
    return { HubName: name };
  },
});

export const natFunctions: RpcTable = {
  EnableSecureNAT: turn(true),
  DisableSecureNAT: turn(false),
  GetSecureNATOption: {
    run: ask => {
      const { name, settings } = hubOf(ask, 'RpcHubName');
      return natFields(name, settings.secureNat.options);
    },
  },
  SetSecureNATOption: {
    action: 'vpn.hub-change',
    about: aboutHub('RpcHubName'),
    run: async ask => {
      const { name, settings } = hubOf(ask, 'RpcHubName');
      const options = optionsOf(ask.pack, settings.secureNat.options);
      await ask.service.hubs.change(name, { secureNat: { ...settings.secureNat, options } });
      return natFields(name, options);
    },
  },
  GetSecureNATStatus: {
    run: ask => {
      const { name, hub, settings } = hubOf(ask);
      if (!settings.secureNat.enabled || !hub) throw new Refusal('nat-not-running', 'SecureNAT is off');
      const flows = hub.natTable();
      const count = (protocol: string): number => flows.filter(flow => flow.protocol === protocol).length;
      return {
        HubName: name,
        NumTcpSessions: count('tcp'),
        NumUdpSessions: count('udp'),
        NumIcmpSessions: count('icmp'),
        NumDnsSessions: count('dns'),
        NumDhcpClients: hub.leases().length,
        IsKernelMode: 0,
        IsRawIpMode: 0,
      };
    },
  },
};
