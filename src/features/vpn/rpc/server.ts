// The server as vpncmd sees it: what it is, what it can do, what goes on in it.
import { X509Certificate } from 'node:crypto';
import os from 'node:os';
import { type PackFields, packData, packText, unistr } from '../../../wire/softether-pack.ts';
import { spoken } from '../softether/door.ts';
import { Refusal } from '../softether/errors.ts';
import { type Ask, noCounts, type RpcTable, trafficFields } from './table.ts';

/** Capabilities that decide what vpncmd and the Server Manager offer; 0 is told as well, so that nobody guesses. */
const capabilities: Readonly<Record<string, number>> = {
  i_max_packet_size: 1600,
  i_max_hubs: 4096,
  i_max_sessions: 100_000,
  i_max_users_per_hub: 10_000,
  i_max_groups_per_hub: 10_000,
  i_max_access_lists: 32_768,
  i_max_mac_tables: 65_536,
  i_max_ip_tables: 65_536,
  i_max_secnat_tables: 4096,
  b_standalone: 1,
  b_bridge: 0,
  b_cluster_controller: 0,
  b_cluster_member: 0,
  b_virtual_nat_disabled: 0,
  b_local_bridge: 1,
  b_must_install_pcap: 0,
  b_tap_supported: 1,
  b_support_securenat: 1,
  b_support_config_hub: 1,
  b_vpn_client_connect: 1,
  b_support_policy_ver_3: 1,
  b_support_ex_acl: 1,
  b_support_ipv6_acl: 1,
  b_support_check_tcp_state: 1,
  b_support_check_mac: 1,
  b_support_limit_multilogin: 1,
  b_support_qos: 1,
  b_support_syslog: 0,
  b_support_ipsec: 0,
  b_support_sstp: 0,
  b_support_openvpn: 0,
  b_support_ddns: 0,
  b_support_layer3: 0,
  b_support_cascade: 0,
  b_support_radius: 1,
  b_support_crl: 0,
  b_support_ac: 0,
  b_support_read_log: 0,
  b_support_msg: 1,
  b_support_hub_admin_option: 0,
  b_support_rename_folder: 0,
  b_support_network_connection_name: 0,
  b_support_vlan: 1,
  b_support_udp_acceleration: 0,
  b_support_udp_recovery: 0,
  b_support_azure: 0,
  b_support_intel_aes: 0,
  b_support_vpn_over_icmp: 0,
  b_support_vpn_over_dns: 0,
  // The three p are the protocol's.
  b_suppport_push_route: 1,
  b_suppport_push_route_config: 1,
  b_is_azure: 0,
};

const serverInfo = ({ deps }: Ask): PackFields => ({
  ServerProductName: 'Sekisho',
  ServerVersionString: `Version ${deps.facts.version}, speaks SoftEther VPN ${spoken.version / 100} Build ${spoken.build}`,
  ServerBuildInfoString: `Node.js ${process.version}`,
  ServerVerInt: spoken.version,
  ServerBuildInt: spoken.build,
  ServerHostName: deps.facts.name(),
  ServerType: 0,
  ServerBuildDate: new Date(0),
  ServerFamilyName: 'Sekisho',
  OsType: 3100, // Linux, whatever we run on: viewers only pick a picture by it
  OsServicePack: 0,
  OsSystemName: os.type(),
  OsProductName: os.type(),
  OsVendorName: '',
  OsVersion: os.release(),
  KernelName: os.type(),
  KernelVersion: os.release(),
});

const serverStatus = ({ service, deps, since }: Ask): PackFields => {
  const hubs = service.hubs.list();
  const live = hubs.flatMap(({ hub }) => (hub ? [hub] : []));
  const sum = (of: (hub: (typeof live)[number]) => number): number => live.reduce((total, hub) => total + of(hub), 0);
  const tcp = hubs.flatMap(({ name }) => service.sessions.list(name)).reduce((n, one) => n + one.connections.all, 0);
  const own = sum(hub => hub.ownPorts().length);
  const traffic = live.map(hub => hub.counts());
  const add = (way: 'up' | 'down') => ({
    unicastBytes: traffic.reduce((n, one) => n + one[way].unicastBytes, 0),
    unicastFrames: traffic.reduce((n, one) => n + one[way].unicastFrames, 0),
    broadcastBytes: traffic.reduce((n, one) => n + one[way].broadcastBytes, 0),
    broadcastFrames: traffic.reduce((n, one) => n + one[way].broadcastFrames, 0),
  });
  const memory = process.memoryUsage();
  const sessions = service.sessions.size + own;
  return {
    ServerType: 0,
    NumHubTotal: hubs.length,
    NumHubStandalone: hubs.length,
    NumHubStatic: 0,
    NumHubDynamic: 0,
    NumSessionsTotal: sessions,
    NumSessionsLocal: sessions,
    NumSessionsRemote: 0,
    NumTcpConnections: tcp,
    NumTcpConnectionsLocal: tcp,
    NumTcpConnectionsRemote: 0,
    NumMacTables: sum(hub => hub.macTable().length),
    NumIpTables: sum(hub => hub.ipTable().length),
    NumUsers: hubs.reduce((n, { name }) => n + service.members.list(name).length, 0),
    NumGroups: hubs.reduce((n, { name }) => n + service.members.groups(name).length, 0),
    CurrentTime: deps.clock.now(),
    CurrentTick: BigInt(Math.max(0, deps.clock.now().getTime() - since.getTime())),
    AssignedBridgeLicenses: 0,
    AssignedClientLicenses: 0,
    AssignedBridgeLicensesTotal: 0,
    AssignedClientLicensesTotal: 0,
    StartTime: since,
    ...trafficFields(live.length > 0 ? { up: add('up'), down: add('down'), dropped: 0 } : noCounts),
    TotalMemory: BigInt(os.totalmem()),
    UsedMemory: BigInt(os.totalmem() - os.freemem()),
    FreeMemory: BigInt(os.freemem()),
    TotalPhys: BigInt(os.totalmem()),
    UsedPhys: BigInt(memory.rss),
    FreePhys: BigInt(os.freemem()),
  };
};

const nothing = (fields: PackFields = {}) => ({ run: () => fields });

export const serverFunctions: RpcTable = {
  Test: { run: () => ({ IntValue: 0, Int64Value: 0n, StrValue: '', UniStrValue: unistr('') }) },
  GetServerInfo: { run: serverInfo },
  GetServerStatus: { run: serverStatus },
  GetCaps: {
    run: () => ({
      CapsName: Object.keys(capabilities),
      CapsValue: Object.values(capabilities),
      CapsDescrption: Object.keys(capabilities).map(() => unistr('')),
      ...Object.fromEntries(Object.entries(capabilities).map(([name, value]) => [`caps_${name}`, value])),
    }),
  },
  GetServerCert: {
    // Never the key: whoever has it is the gate.
    run: ({ deps }) => {
      const pem = deps.certificate();
      if (pem === undefined) throw new Refusal('not-supported', 'there is no certificate to show');
      return { Cert: new X509Certificate(pem).raw, Flag1: 0 };
    },
  },
  SetServerPassword: {
    action: 'vpn.admin-password-change',
    about: () => 'vpn/admin',
    run: async ({ pack, service }) => {
      const plain = packText(pack, 'PlainTextPassword');
      const hash = packData(pack, 'HashedPassword') ?? Buffer.alloc(0);
      await service.administration.setPassword(plain === '' ? { hash } : plain);
      return {};
    },
  },
  Flush: nothing(),
  EnumCrl: { run: ({ pack }) => ({ HubName: packText(pack, 'HubName'), NumItem: 0 }) },
  EnumCa: { run: ({ pack }) => ({ HubName: packText(pack, 'HubName') }) },
  EnumLink: { run: ({ pack }) => ({ HubName: packText(pack, 'HubName') }) },
  GetAcList: { run: ({ pack }) => ({ HubName: packText(pack, 'HubName'), NumItem: 0 }) },
  EnumL3Switch: nothing({ NumItem: 0 }),
  EnumLogFile: nothing({ NumItem: 0 }),
  EnumLicenseKey: nothing({ NumItem: 0 }),
  EnumEtherIpId: nothing({ NumItem: 0 }),
  GetHubAdminOptions: { run: ({ pack }) => ({ HubName: packText(pack, 'HubName'), NumItem: 0 }) },
  GetOpenVpnSstpConfig: nothing({ EnableOpenVPN: 0, EnableSSTP: 0 }),
  GetServerCipher: nothing({ String: 'TLS_AES_256_GCM_SHA384' }),
};
