// Groups of a hub as vpncmd administers them: a name and a policy that members share.
import { type PackFields, packBool, packText, unistr } from '../../../wire/softether-pack.ts';
import type { Group } from '../members.ts';
import { Refusal } from '../softether/errors.ts';
import { completeSecurity, packPolicy, unpackPolicy } from '../softether/policy.ts';
import { type Ask, aboutMember, hubOf, noCounts, type RpcTable, trafficFields } from './table.ts';

const groupFields = ({ hub, name, realname, note, policy }: Group): PackFields => ({
  HubName: hub,
  Name: name,
  Realname: unistr(realname),
  Note: unistr(note),
  ...trafficFields(noCounts),
  UsePolicy: policy !== undefined,
  ...(policy ? packPolicy(completeSecurity(policy)) : {}),
});

function find(ask: Ask): Group {
  const name = packText(ask.pack, 'Name');
  const group = ask.service.members.groups(hubOf(ask).name).find(one => one.name === name);
  if (!group) throw new Refusal('no-such-group', 'there is no such group');
  return group;
}

async function save(ask: Ask): Promise<PackFields> {
  const { pack, service } = ask;
  const name = packText(pack, 'Name');
  if (!/^[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,62}$/u.test(name))
    throw new Refusal('invalid-name', 'a group’s name starts with a letter or digit, 63 characters at most');
  const group: Group = {
    ...{ hub: hubOf(ask).name, name },
    realname: packText(pack, 'Realname').slice(0, 255),
    note: packText(pack, 'Note').slice(0, 255),
    ...(packBool(pack, 'UsePolicy') ? { policy: unpackPolicy(pack) } : {}),
  };
  await service.members.saveGroup(group);
  return groupFields(group);
}

export const groupFunctions: RpcTable = {
  CreateGroup: {
    action: 'vpn.group-add',
    about: aboutMember,
    run: ask => {
      const { name } = hubOf(ask);
      if (ask.service.members.groups(name).some(group => group.name === packText(ask.pack, 'Name')))
        throw new Refusal('group-exists', 'there is such a group already');
      return save(ask);
    },
  },
  SetGroup: {
    action: 'vpn.group-change',
    about: aboutMember,
    run: ask => {
      find(ask);
      return save(ask);
    },
  },
  GetGroup: { run: ask => groupFields(find(ask)) },
  DeleteGroup: {
    action: 'vpn.group-remove',
    about: aboutMember,
    run: async ask => {
      const { hub, name } = find(ask);
      await ask.service.members.removeGroup(hub, name);
      return { HubName: hub, Name: name };
    },
  },
  EnumGroup: {
    run: ask => {
      const { name } = hubOf(ask);
      const groups = ask.service.members.groups(name);
      const members = ask.service.members.list(name);
      return {
        HubName: name,
        Name: groups.map(group => group.name),
        Realname: groups.map(({ realname }) => unistr(realname)),
        Note: groups.map(({ note }) => unistr(note)),
        NumUsers: groups.map(group => members.filter(member => member.group === group.name).length),
        DenyAccess: groups.map(({ policy }) => policy?.access === false),
      };
    },
  },
};
