// Listeners and connections as vpncmd sees them. Where the gate listens is the configuration's: vpn.listen, and its own port.
import { ipFields, type Pack, packBool, packInt, packText, timeOrNever } from '../../../wire/softether-pack.ts';
import type { LiveMember } from '../live-member.ts';
import { spoken } from '../softether/door.ts';
import { Refusal } from '../softether/errors.ts';
import type { Ask, RpcTable } from './table.ts';

const isOpen = ({ deps, pack }: Ask): boolean => deps.ports().includes(packInt(pack, 'Port'));
const ofTheFile = (): never => {
  throw new Refusal('not-enough-right', 'listeners are set in the configuration file (vpn.listen)');
};
const notThere = (): never => {
  throw new Refusal('no-such-listener', 'nothing of the gate listens there');
};

const sessionsOf = ({ service }: Ask): readonly LiveMember[] =>
  service.hubs.list().flatMap(({ name }) => service.sessions.list(name));
const find = (ask: Ask): LiveMember => {
  const name = packText(ask.pack, 'Name').toLowerCase();
  const found = sessionsOf(ask).find(({ options }) => options.connection.toLowerCase() === name);
  if (!found) throw new Refusal('no-such-object', 'there is no such connection');
  return found;
};
const aboutConnection = (pack: Pack): string =>
  `vpn/${
    packText(pack, 'Name')
      .slice(0, 63)
      .replace(/[^A-Za-z0-9_-]/g, '?') || '*'
  }`;
const hostOf = ({ options }: LiveMember): string => ('host' in options.from ? options.from.host : '');
const portOf = ({ options }: LiveMember): number => ('port' in options.from ? options.from.port : 0);

export const listenerFunctions: RpcTable = {
  EnumListener: {
    run: ({ deps }) => {
      const ports = deps.ports();
      return { Ports: ports, Enables: ports.map(() => 1), Errors: ports.map(() => 0) };
    },
  },
  CreateListener: {
    run: ask => {
      if (isOpen(ask)) throw new Refusal('listener-exists', 'the gate listens there already');
      return ofTheFile();
    },
  },
  DeleteListener: { run: ask => (isOpen(ask) ? ofTheFile() : notThere()) },
  EnableListener: {
    run: ask => {
      if (!isOpen(ask)) return notThere();
      return packBool(ask.pack, 'Enable') ? { Port: packInt(ask.pack, 'Port'), Enable: 1 } : ofTheFile();
    },
  },
  EnumConnection: {
    run: ask => {
      const sessions = sessionsOf(ask);
      return {
        Name: sessions.map(({ options }) => options.connection),
        Hostname: sessions.map(hostOf),
        ...ipFields('Ip', sessions.map(hostOf)),
        Port: sessions.map(portOf),
        ConnectedTime: sessions.map(({ since }) => timeOrNever(since)),
        Type: sessions.map(() => 5),
      };
    },
  },
  GetConnectionInfo: {
    run: ask => {
      const found = find(ask);
      const { client, connection } = found.options;
      return {
        ...{ Name: connection, Hostname: hostOf(found), ...ipFields('Ip', hostOf(found)), Port: portOf(found) },
        ...{ ConnectedTime: timeOrNever(found.since), Type: 5 },
        ...{ ServerStr: 'Sekisho', ServerVer: spoken.version, ServerBuild: spoken.build },
        ...{ ClientStr: client.product, ClientVer: client.version, ClientBuild: client.build },
      };
    },
  },
  // A session's first connection is the session: it ends with it.
  DisconnectConnection: {
    action: 'session.cut',
    about: aboutConnection,
    run: async ask => {
      await find(ask).end('closed');
      return { Name: packText(ask.pack, 'Name') };
    },
  },
};
