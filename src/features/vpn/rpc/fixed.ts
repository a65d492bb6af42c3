// What SoftEther lets one set and this gate has one answer for. Reading tells it; setting it to what it is already
// succeeds, so that scripts that turn off what is off run through; everything else is refused.
import { type Pack, type PackFields, packInt, packText, unistr } from '../../../wire/softether-pack.ts';
import { type ErrorName, Refusal } from '../softether/errors.ts';
import { hubOf, type RpcFunction, type RpcTable } from './table.ts';

interface Fixed {
  readonly get: string;
  readonly set: string;
  readonly ofHub?: true;
  readonly fields: PackFields;
  /** The fields that decide whether a change is one. */
  readonly decides: readonly string[];
  /** Why it cannot be otherwise. */
  readonly reason: string;
}

const settings: readonly Fixed[] = [
  {
    ...{ get: 'GetHubLog', set: 'SetHubLog', ofHub: true },
    // The security log is the gate's audit: always, and kept by audit.keep.
    fields: {
      ...{ SaveSecurityLog: 1, SecurityLogSwitchType: 4, SavePacketLog: 0, PacketLogSwitchType: 4 },
      PacketLogConfig: Array.from({ length: 16 }, () => 0),
    },
    decides: ['SaveSecurityLog', 'SecurityLogSwitchType', 'SavePacketLog', 'PacketLogSwitchType', 'PacketLogConfig'],
    reason: 'the audit is always written, and packets never are',
  },
  {
    ...{ get: 'GetHubRadius', set: 'SetHubRadius', ofHub: true },
    fields: { RadiusServerName: '', RadiusPort: 1812, RadiusSecret: '', RadiusRetryInterval: 500 },
    decides: ['RadiusServerName'],
    reason: 'members of type RADIUS are checked against the gate’s own password',
  },
  {
    ...{ get: 'GetKeep', set: 'SetKeep', decides: ['UseKeepConnect'] },
    fields: {
      ...{ UseKeepConnect: 0, KeepConnectHost: '', KeepConnectPort: 80 },
      ...{ KeepConnectProtocol: 0, KeepConnectInterval: 50 },
    },
    reason: 'the gate calls nobody to keep a line up',
  },
  {
    ...{ get: 'GetSysLog', set: 'SetSysLog', decides: ['SaveType'] },
    fields: { SaveType: 0, Port: 514, Hostname: '' },
    reason: 'the log goes where the gate’s own goes',
  },
  {
    ...{ get: 'GetFarmSetting', set: 'SetFarmSetting', decides: ['ServerType'] },
    fields: { ServerType: 0, ControllerName: '', ControllerPort: 0, Weight: 100, ControllerOnly: 0 },
    reason: 'there is no cluster',
  },
  {
    ...{ get: 'GetSpecialListener', set: 'SetSpecialListener' },
    fields: { VpnOverIcmpListener: 0, VpnOverDnsListener: 0 },
    decides: ['VpnOverIcmpListener', 'VpnOverDnsListener'],
    reason: 'there is no VPN over ICMP or DNS',
  },
  {
    ...{ get: 'GetAzureStatus', set: 'SetAzureStatus', decides: ['IsEnabled'] },
    fields: { IsConnected: 0, IsEnabled: 0 },
    reason: 'no relay of others is used',
  },
  {
    ...{ get: 'GetIPsecServices', set: 'SetIPsecServices', decides: ['L2TP_Raw', 'L2TP_IPsec', 'EtherIP_IPsec'] },
    fields: { L2TP_Raw: 0, L2TP_IPsec: 0, EtherIP_IPsec: 0, IPsec_Secret: '', L2TP_DefaultHub: '' },
    reason: 'there is no IPsec',
  },
];

/** Options of a hub by their SoftEther names, as they are here. */
const extOptions: Readonly<Record<string, number>> = {
  DisableUdpAcceleration: 1,
  DisableUserModeSecureNAT: 0,
  DisableKernelModeSecureNAT: 1,
  DisableIpRawModeSecureNAT: 1,
  SecureNAT_RandomizeAssignIp: 0,
  NoArpPolling: 1,
  NoIPv6AddrPolling: 1,
};

/** Things that there are none of: asking for one of them is answered as SoftEther answers for one that is not there. */
const absent: Readonly<Partial<Record<ErrorName, readonly string[]>>> = {
  'no-such-object': [
    ...['GetCa', 'DeleteCa', 'GetCrl', 'SetCrl', 'DelCrl', 'GetEtherIpId', 'DeleteEtherIpId'],
    ...['GetLink', 'SetLink', 'DeleteLink', 'RenameLink', 'SetLinkOnline', 'SetLinkOffline', 'GetLinkStatus'],
  ],
  'no-such-switch': [
    ...['DelL3Switch', 'StartL3Switch', 'StopL3Switch', 'EnumL3If', 'AddL3If', 'DelL3If'],
    ...['EnumL3Table', 'AddL3Table', 'DelL3Table'],
  ],
  'not-a-controller': ['EnumFarmMember', 'GetFarmInfo'],
  'not-a-cluster-member': ['GetFarmConnectionStatus'],
};

const sameAs = (fields: PackFields, decides: readonly string[], pack: Pack): boolean =>
  decides.every(name => {
    const value = fields[name];
    if (typeof value === 'string') return packText(pack, name) === value;
    return (Array.isArray(value) ? value : [value]).every((one, index) => packInt(pack, name, index) === Number(one));
  });

const settingFunctions = settings.flatMap(({ get, set, ofHub, fields, decides, reason }): [string, RpcFunction][] => {
  const told = (ask: Parameters<RpcFunction['run']>[0]): PackFields =>
    ofHub ? { HubName: hubOf(ask).name, ...fields } : fields;
  const change: RpcFunction = {
    run: ask => {
      if (!sameAs(fields, decides, ask.pack)) throw new Refusal('not-supported', reason);
      return told(ask);
    },
  };
  return [
    [get, { run: told }],
    [set, change],
  ];
});

export const fixedFunctions: RpcTable = {
  ...Object.fromEntries(settingFunctions),
  ...Object.fromEntries(
    Object.entries(absent).flatMap(([code, names]) =>
      names.map((name): [string, RpcFunction] => [
        name,
        {
          run: () => {
            throw new Refusal(code as ErrorName, 'there are none of these here');
          },
        },
      ]),
    ),
  ),
  GetHubExtOptions: {
    run: ask => ({
      ...{ HubName: hubOf(ask).name, NumItem: Object.keys(extOptions).length },
      ...{ Name: Object.keys(extOptions), Value: Object.values(extOptions) },
      Descrption: Object.keys(extOptions).map(() => unistr('')),
    }),
  },
  SetHubExtOptions: {
    run: ask => {
      for (let index = 0; index < packInt(ask.pack, 'NumItem'); index++) {
        const name = packText(ask.pack, 'Name', index);
        if (extOptions[name] !== packInt(ask.pack, 'Value', index))
          throw new Refusal('not-supported', `${name} cannot be changed here`);
      }
      return { HubName: hubOf(ask).name };
    },
  },
  GetPortsUDP: { run: () => ({}) },
};
