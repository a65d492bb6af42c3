// The tables of a hub as vpncmd shows them: MAC and IP addresses, DHCP leases, NAT flows.
import { Fault } from '../../../core/fault.ts';
import { ipFields, type PackFields, packInt } from '../../../wire/softether-pack.ts';
import type { Hub, NatEntry } from '../hub.ts';
import { Refusal } from '../softether/errors.ts';
import { type Ask, aboutHub, hubOf, type RpcTable } from './table.ts';

const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
const protocols: Readonly<Record<NatEntry['protocol'], number>> = { tcp: 0, udp: 1, dns: 2, icmp: 3 };
const states: Readonly<Record<NonNullable<NatEntry['state']>, number>> = {
  connecting: 0,
  requested: 1,
  connected: 2,
  established: 3,
  closing: 4,
};

function liveHub(ask: Ask): Hub {
  const { hub } = hubOf(ask);
  if (!hub) throw new Refusal('hub-stopping', 'the hub is offline');
  return hub;
}
function runningNat(ask: Ask): Hub {
  const { settings } = hubOf(ask);
  if (!settings.secureNat.enabled) throw new Refusal('nat-not-running', 'SecureNAT is off');
  return liveHub(ask);
}

const forget =
  (which: 'forgetMac' | 'forgetIp') =>
  (ask: Ask): PackFields => {
    const hub = liveHub(ask);
    const key = packInt(ask.pack, 'Key');
    if (!hub[which](key)) throw new Fault('missing', 'there is no such entry');
    return { HubName: hub.name, Key: key };
  };

export const tableFunctions: RpcTable = {
  EnumMacTable: {
    run: ask => {
      const hub = liveHub(ask);
      const rows = hub.macTable();
      return {
        HubName: hub.name,
        Key: rows.map(({ key }) => key),
        SessionName: rows.map(({ session }) => session),
        MacAddress: rows.map(({ mac }) => macBytes(mac)),
        VlanId: rows.map(({ vlan }) => vlan),
        CreatedTime: rows.map(({ created }) => created),
        UpdatedTime: rows.map(({ updated }) => updated),
        RemoteItem: rows.map(() => false),
        RemoteHostname: rows.map(() => ''),
      };
    },
  },
  DeleteMacTable: { action: 'vpn.hub-change', about: aboutHub(), run: forget('forgetMac') },
  EnumIpTable: {
    run: ask => {
      const hub = liveHub(ask);
      const rows = hub.ipTable();
      const addresses = rows.map(({ address }) => address);
      return {
        HubName: hub.name,
        Key: rows.map(({ key }) => key),
        SessionName: rows.map(({ session }) => session),
        // One address under the names that three generations of programs read it by.
        ...ipFields('Ip', addresses),
        ...ipFields('IpV6', addresses),
        ...ipFields('IpAddress', addresses),
        DhcpAllocated: rows.map(({ dhcp }) => dhcp),
        CreatedTime: rows.map(({ created }) => created),
        UpdatedTime: rows.map(({ updated }) => updated),
        RemoteItem: rows.map(() => false),
        RemoteHostname: rows.map(() => ''),
      };
    },
  },
  DeleteIpTable: { action: 'vpn.hub-change', about: aboutHub(), run: forget('forgetIp') },
  EnumDHCP: {
    run: ask => {
      const hub = runningNat(ask);
      const rows = hub.leases();
      const mask = (text: string): number => Buffer.from(text.split('.').map(Number)).readUInt32LE();
      return {
        HubName: hub.name,
        NumItem: rows.length,
        Id: rows.map(({ id }) => id),
        LeasedTime: rows.map(({ leased }) => leased),
        ExpireTime: rows.map(({ expires }) => expires),
        MacAddress: rows.map(({ mac }) => macBytes(mac)),
        ...ipFields(
          'IpAddress',
          rows.map(({ address }) => address),
        ),
        Mask: rows.map(row => mask(row.mask)),
        Hostname: rows.map(({ hostname }) => hostname),
      };
    },
  },
  EnumNAT: {
    run: ask => {
      const hub = runningNat(ask);
      const rows = hub.natTable();
      return {
        HubName: hub.name,
        NumItem: rows.length,
        Id: rows.map(({ id }) => id),
        Protocol: rows.map(({ protocol }) => protocols[protocol]),
        ...ipFields(
          'SrcIp',
          rows.map(({ from }) => from.host),
        ),
        SrcHost: rows.map(({ from }) => from.host),
        SrcPort: rows.map(({ from }) => from.port),
        ...ipFields(
          'DestIp',
          rows.map(({ to }) => to.host),
        ),
        DestHost: rows.map(({ to }) => to.host),
        DestPort: rows.map(({ to }) => to.port),
        CreatedTime: rows.map(({ created }) => created),
        LastCommTime: rows.map(({ used }) => used),
        SendSize: rows.map(({ sent }) => BigInt(sent)),
        RecvSize: rows.map(({ received }) => BigInt(received)),
        TcpStatus: rows.map(({ state }) => (state ? states[state] : 0)),
      };
    },
  },
};
