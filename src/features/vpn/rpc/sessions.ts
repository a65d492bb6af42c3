// Sessions as vpncmd sees and ends them: SessionList, SessionGet, SessionDisconnect; the hub's own ports among them.
import { ipFields, type PackFields, packText, timeOrNever, unistr } from '../../../wire/softether-pack.ts';
import type { OwnPort, PortCounts } from '../hub.ts';
import type { LiveMember } from '../live-member.ts';
import { Refusal } from '../softether/errors.ts';
import { packPolicy } from '../softether/policy.ts';
import { type Ask, aboutMember, hubOf, noCounts, type RpcTable, trafficFields } from './table.ts';

/** One line of the list, whoever sits there. */
interface Row {
  readonly name: string;
  readonly user: string;
  readonly host: string;
  readonly tcp: readonly [now: number, most: number];
  readonly counts: PortCounts;
  readonly kind: 'member' | OwnPort['kind'];
  readonly bridge: boolean;
  readonly monitor: boolean;
  readonly vlan: number;
  readonly uniqueId: Buffer;
  readonly since: Date;
  readonly last: Date;
}

const hostOf = ({ options }: LiveMember): string => ('host' in options.from ? options.from.host : '');
const countsOf = (session: LiveMember): PortCounts => session.attached?.counts() ?? noCounts;

const memberRow = (session: LiveMember): Row => ({
  name: session.name,
  user: session.options.policy.user || 'anonymous',
  host: hostOf(session),
  tcp: [session.connections.all, session.options.terms.connections],
  counts: countsOf(session),
  kind: 'member',
  bridge: session.options.client.bridge,
  monitor: session.options.client.monitor,
  vlan: session.policy.security.vlanId,
  uniqueId: session.options.client.uniqueId,
  since: session.since,
  last: session.lastFrame,
});
const ownNames: Readonly<Record<OwnPort['kind'], string>> = {
  nat: 'SecureNAT',
  bridge: 'Local Bridge',
  router: 'Router',
};
const ownRow = ({ kind, session, counts, created, device }: OwnPort): Row => ({
  ...{ name: session, user: ownNames[kind], host: device ?? '', tcp: [0, 0], counts, kind, since: created },
  ...{ bridge: kind === 'bridge', monitor: false, vlan: 0, uniqueId: Buffer.alloc(16), last: created },
});

const rowsOf = (ask: Ask): Row[] => {
  const { name, hub } = hubOf(ask);
  return [...(hub?.ownPorts() ?? []).map(ownRow), ...ask.service.sessions.list(name).map(memberRow)];
};

const bytes = ({ up, down }: PortCounts): bigint =>
  BigInt(up.unicastBytes + up.broadcastBytes + down.unicastBytes + down.broadcastBytes);
const frames = ({ up, down }: PortCounts): bigint =>
  BigInt(up.unicastFrames + up.broadcastFrames + down.unicastFrames + down.broadcastFrames);

function find(ask: Ask): LiveMember | Row {
  const wanted = packText(ask.pack, 'Name');
  const session = ask.service.sessions.find(hubOf(ask).name, wanted);
  if (session) return session;
  const row = rowsOf(ask).find(({ name }) => name.toLowerCase() === wanted.toLowerCase());
  if (!row) throw new Refusal('no-such-object', 'there is no session of this name');
  return row;
}

function statusOf(ask: Ask, session: LiveMember): PackFields {
  const { options, connections, bytes: moved } = session;
  const { client, terms, policy } = options;
  const member = ask.service.members.find(options.hub.name, policy.user);
  const host = hostOf(session);
  return {
    HubName: options.hub.name,
    Name: session.name,
    Username: policy.user || 'anonymous',
    RealUsername: policy.user || 'anonymous',
    GroupName: member?.group ?? '',
    ...ipFields('SessionStatus_ClientIp', host),
    SessionStatus_ClientIp6: Buffer.alloc(16),
    SessionStatus_ClientHostName: client.hostname || host,
    ...ipFields('Client_Ip_Address', host),
    AccountName: unistr(''),
    Active: 1,
    Connected: connections.all > 0,
    SessionStatus: 4, // established
    ServerName: ask.deps.facts.name(),
    ServerPort: 443,
    ServerProductName: `Sekisho ${ask.deps.facts.version}`,
    ServerProductVer: 501,
    ServerProductBuild: 9674,
    CipherName: 'TLS',
    SessionName: session.name,
    ConnectionName: options.connection,
    // Whoever has the key may add a connection: it is not told.
    SessionKey: Buffer.alloc(20),
    NumConnectionsEstablished: session.established,
    HalfConnection: terms.half,
    QoS: terms.qos,
    MaxTcpConnections: terms.connections,
    NumTcpConnections: connections.all,
    NumTcpConnectionsUpload: connections.up,
    NumTcpConnectionsDownload: connections.down,
    UseEncrypt: 1,
    UseCompress: terms.compress,
    IsRUDPSession: 0,
    UnderlayProtocol: 'Standard TCP/IP',
    IsUdpAccelerationEnabled: 0,
    IsUsingUdpAcceleration: 0,
    IsBridgeMode: client.bridge,
    IsMonitorMode: client.monitor,
    StartTime: session.since,
    FirstConnectionEstablisiedTime: session.since,
    CurrentConnectionEstablishTime: session.since,
    TotalSendSize: BigInt(moved.down),
    TotalRecvSize: BigInt(moved.up),
    TotalSendSizeReal: BigInt(moved.down),
    TotalRecvSizeReal: BigInt(moved.up),
    VLanId: policy.security.vlanId,
    ...packPolicy(session.policy.security),
    ...trafficFields(countsOf(session)),
    ClientProductName: client.product,
    ClientProductVer: client.version,
    ClientProductBuild: client.build,
    ClientOsName: client.os,
    ClientOsVer: '',
    ClientOsProductId: '',
    ClientHostname: client.hostname,
    ...ipFields('ClientIpAddress', host),
    ClientPort: 'port' in options.from ? options.from.port : 0,
    UniqueId: client.uniqueId,
  };
}

const ownStatus = (ask: Ask, row: Row): PackFields => ({
  HubName: hubOf(ask).name,
  Name: row.name,
  Username: row.user,
  RealUsername: row.user,
  GroupName: '',
  Active: 1,
  Connected: 1,
  SessionStatus: 4,
  SessionName: row.name,
  ConnectionName: '',
  StartTime: row.since,
  FirstConnectionEstablisiedTime: row.since,
  CurrentConnectionEstablishTime: row.since,
  ...trafficFields(row.counts),
});

export const sessionFunctions: RpcTable = {
  EnumSession: {
    run: ask => {
      const rows = rowsOf(ask);
      const column = <T>(pick: (row: Row) => T): T[] => rows.map(pick);
      return {
        HubName: hubOf(ask).name,
        Name: column(({ name }) => name),
        Username: column(({ user }) => user),
        ...ipFields(
          'Ip',
          column(({ host }) => host),
        ),
        ...ipFields(
          'ClientIP',
          column(({ host }) => host),
        ),
        Hostname: column(({ host }) => host),
        MaxNumTcp: column(({ tcp }) => tcp[1]),
        CurrentNumTcp: column(({ tcp }) => tcp[0]),
        PacketSize: column(({ counts }) => bytes(counts)),
        PacketNum: column(({ counts }) => frames(counts)),
        RemoteSession: column(() => false),
        RemoteHostname: column(() => ''),
        LinkMode: column(() => false),
        SecureNATMode: column(({ kind }) => kind === 'nat'),
        BridgeMode: column(({ kind }) => kind === 'bridge'),
        Layer3Mode: column(({ kind }) => kind === 'router'),
        Client_BridgeMode: column(({ bridge }) => bridge),
        Client_MonitorMode: column(({ monitor }) => monitor),
        VLanId: column(({ vlan }) => vlan),
        UniqueId: column(({ uniqueId }) => uniqueId),
        IsDormantEnabled: column(() => false),
        IsDormant: column(() => false),
        LastCommDormant: column(() => timeOrNever(undefined)),
        CreatedTime: column(({ since }) => since),
        LastCommTime: column(({ last }) => last),
      };
    },
  },
  GetSessionStatus: {
    run: ask => {
      const found = find(ask);
      return 'options' in found ? statusOf(ask, found) : ownStatus(ask, found);
    },
  },
  DeleteSession: {
    action: 'session.cut',
    about: aboutMember,
    run: async ask => {
      const found = find(ask);
      if (!('options' in found))
        throw new Refusal(
          found.kind === 'bridge' ? 'bridge-session' : 'nat-session',
          'it is the hub’s own; turn off what it serves instead',
        );
      await found.end('closed');
      return { HubName: found.options.hub.name, Name: found.name };
    },
  },
};
