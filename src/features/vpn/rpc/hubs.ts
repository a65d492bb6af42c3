// Hubs as vpncmd administers them: HubCreate, HubList, HubDelete, StatusGet, Online, Offline, options and message.
import {
  type Pack,
  type PackFields,
  packBool,
  packData,
  packInt,
  packText,
  timeOrNever,
} from '../../../wire/softether-pack.ts';
import type { HubEntry } from '../hubs.ts';
import type { VpnService } from '../service.ts';
import { Refusal } from '../softether/errors.ts';
import { aboutHub, hubOf, latest, noCounts, type RpcTable, trafficFields } from './table.ts';

const hubFields = ({ name, settings }: HubEntry): PackFields => ({
  HubName: name,
  // Hubs have no administrators of their own: there is nothing to tell.
  HashedPassword: Buffer.alloc(20),
  SecurePassword: Buffer.alloc(20),
  Online: settings.online,
  MaxSession: settings.maxSessions,
  NoEnum: !settings.listing,
  HubType: 0,
});

/** A password for hub administrators is refused aloud, unless it is the empty one that vpncmd always sends. */
const optionsOf = (pack: Pack) => ({
  online: packBool(pack, 'Online'),
  maxSessions: packInt(pack, 'MaxSession'),
  listing: !packBool(pack, 'NoEnum'),
});

/** As SoftEther's standalone server: static and dynamic hubs are those of a cluster. */
function onlyStandalone(pack: Pack): void {
  if (packInt(pack, 'HubType') !== 0) throw new Refusal('invalid-parameter', 'there is no cluster of hubs');
}

const logins = (service: VpnService, hub: string): { readonly count: number; readonly last: Date | undefined } => {
  const members = service.members.list(hub);
  return {
    count: members.reduce((sum, member) => sum + member.logins, 0),
    last: latest(members.map(({ lastLogin }) => lastLogin)),
  };
};
const lastFrame = (service: VpnService, { name, created }: HubEntry): Date =>
  latest(service.sessions.list(name).map(session => session.lastFrame)) ?? created;

export const hubFunctions: RpcTable = {
  CreateHub: {
    action: 'vpn.hub-create',
    about: aboutHub(),
    run: async ({ pack, service }) => {
      onlyStandalone(pack);
      return hubFields(await service.hubs.create(packText(pack, 'HubName'), { ...optionsOf(pack), online: true }));
    },
  },
  GetHub: { run: ask => hubFields(hubOf(ask)) },
  SetHub: {
    action: 'vpn.hub-change',
    about: aboutHub(),
    run: async ask => {
      onlyStandalone(ask.pack);
      const hash = packData(ask.pack, 'HashedPassword');
      if (hash?.some(byte => byte !== 0))
        throw new Refusal('not-supported', 'hubs have no administrators of their own; the gate’s administer all');
      return hubFields(await ask.service.hubs.change(hubOf(ask).name, optionsOf(ask.pack)));
    },
  },
  DeleteHub: {
    action: 'vpn.hub-delete',
    about: aboutHub(),
    run: async ask => {
      const { name } = hubOf(ask);
      await ask.service.hubs.remove(name);
      return { HubName: name };
    },
  },
  SetHubOnline: {
    action: 'vpn.hub-change',
    about: aboutHub(),
    run: async ask => {
      const { name } = hubOf(ask);
      const online = packBool(ask.pack, 'Online');
      await ask.service.hubs.change(name, { online });
      return { HubName: name, Online: online };
    },
  },
  EnumHub: {
    run: ({ service }) => {
      const hubs = service.hubs.list();
      const seen = hubs.map(({ name }) => logins(service, name));
      const sessions = ({ name, hub }: HubEntry): number =>
        service.sessions.list(name).length + (hub?.ownPorts().length ?? 0);
      return {
        HubName: hubs.map(({ name }) => name),
        Online: hubs.map(({ hub }) => hub !== undefined),
        HubType: hubs.map(() => 0),
        NumSessions: hubs.map(sessions),
        NumUsers: hubs.map(({ name }) => service.members.list(name).length),
        NumGroups: hubs.map(({ name }) => service.members.groups(name).length),
        NumMacTables: hubs.map(({ hub }) => hub?.macTable().length ?? 0),
        NumIpTables: hubs.map(({ hub }) => hub?.ipTable().length ?? 0),
        LastCommTime: hubs.map(entry => lastFrame(service, entry)),
        CreatedTime: hubs.map(({ created }) => created),
        LastLoginTime: seen.map(({ last }) => timeOrNever(last)),
        NumLogin: seen.map(({ count }) => count),
        IsTrafficFilled: hubs.map(() => 1),
        ...trafficFields(
          hubs.map(({ hub }) => hub?.counts() ?? noCounts),
          'Ex.',
        ),
      };
    },
  },
  GetHubStatus: {
    run: ask => {
      const { service } = ask;
      const entry = hubOf(ask);
      const { name, hub, settings } = entry;
      const { count, last } = logins(service, name);
      const clients = service.sessions.list(name).length;
      const own = hub?.ownPorts() ?? [];
      return {
        HubName: name,
        Online: hub !== undefined,
        HubType: 0,
        NumSessions: clients + own.length,
        NumSessionsClient: clients,
        NumSessionsBridge: own.filter(({ kind }) => kind === 'bridge').length,
        NumAccessLists: settings.filter.length,
        NumUsers: service.members.list(name).length,
        NumGroups: service.members.groups(name).length,
        NumMacTables: hub?.macTable().length ?? 0,
        NumIpTables: hub?.ipTable().length ?? 0,
        SecureNATEnabled: settings.secureNat.enabled,
        ...trafficFields(hub?.counts() ?? noCounts),
        LastCommTime: lastFrame(service, entry),
        CreatedTime: entry.created,
        LastLoginTime: timeOrNever(last),
        NumLogin: count,
      };
    },
  },
  GetHubMsg: {
    run: ask => {
      const { name, settings } = hubOf(ask);
      return { HubName: name, Msg: Buffer.from(settings.message, 'utf8') };
    },
  },
  SetHubMsg: {
    action: 'vpn.hub-change',
    about: aboutHub(),
    run: async ask => {
      const { name } = hubOf(ask);
      const message = packData(ask.pack, 'Msg')?.toString('utf8') ?? '';
      if (message.length > 20_000)
        throw new Refusal('invalid-parameter', 'the message is longer than 20,000 characters');
      await ask.service.hubs.change(name, { message });
      return { HubName: name, Msg: Buffer.from(message, 'utf8') };
    },
  },
};
