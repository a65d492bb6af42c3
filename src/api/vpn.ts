// vpn: hubs, members, sessions and tables, as the room has them.
import { X509Certificate } from 'node:crypto';
import { formatAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type {
  Group,
  HubEntry,
  HubSettings,
  LiveMember,
  Member,
  MemberChange,
  NewProof,
  VpnService,
} from '../features/vpn/index.ts';
import type {
  VpnGroupAnswer,
  VpnHubAnswer,
  VpnMemberAnswer,
  VpnSessionAnswer,
  VpnTablesAnswer,
  vpnVerbs,
} from './contract/vpn.ts';
import type { ApiDeps } from './deps.ts';
import type { Call, Handlers } from './verbs.ts';

export function vpnHandlers(deps: ApiDeps): Pick<Handlers, keyof typeof vpnVerbs> {
  const vpn = (): VpnService => {
    const service = deps.house.vpn?.();
    if (!service) throw new Fault('missing', 'this gate has no VPN');
    return service;
  };
  const hubName = (name: string): string => vpn().hubs.get(name).name;
  return {
    'vpn.hub-list': async () => ({
      hubs: vpn()
        .hubs.list()
        .map(entry => toHub(entry, vpn())),
    }),
    'vpn.hub-show': async ({ params }) => toHub(vpn().hubs.get(params.hub), vpn()),
    'vpn.hub-create': async ({ body }) =>
      toHub(await vpn().hubs.create(body.name, body.settings as Partial<HubSettings>), vpn()),
    'vpn.hub-change': async ({ params, body, note }) => {
      note({ changed: Object.keys(body) });
      return toHub(await vpn().hubs.change(params.hub, body as Partial<HubSettings>), vpn());
    },
    'vpn.hub-delete': async ({ params }) => {
      const name = hubName(params.hub);
      await vpn().hubs.remove(name);
      return { name, deleted: true };
    },
    'vpn.tables': async ({ params }) => tablesOf(vpn().hubs.get(params.hub)),
    'vpn.user-list': async ({ params }) => ({
      users: vpn()
        .members.list(hubName(params.hub))
        .map(member => toMember(member, vpn())),
    }),
    'vpn.user-add': async ({ params, body, note }) => {
      const { user, secret, ...about } = body;
      const proof = proofOf(secret);
      note({ proof: proof.kind, added: deps.directory.find(user) ? undefined : 'user' });
      return toMember(await vpn().members.add(hubName(params.hub), user, { ...changeOf(about), proof }), vpn());
    },
    'vpn.user-change': async ({ params, body, note }) => {
      const { secret, ...about } = body;
      note({ changed: Object.keys(body) });
      const change = { ...changeOf(about), ...(secret ? { proof: proofOf(secret) } : {}) };
      return toMember(await vpn().members.change(hubName(params.hub), params.user, change), vpn());
    },
    'vpn.user-remove': async ({ params }) => {
      const { hub, name } = vpn().members.get(hubName(params.hub), params.user);
      await vpn().members.remove(hub, name);
      return { hub, user: name, removed: true };
    },
    'vpn.group-list': async ({ params }) => ({
      groups: vpn()
        .members.groups(hubName(params.hub))
        .map(group => toGroup(group, vpn())),
    }),
    'vpn.group-change': async ({ params, body, note }) => {
      const { members } = vpn();
      const hub = hubName(params.hub);
      const before = members.groups(hub).find(({ name }) => name === params.group);
      note({ changed: Object.keys(body), added: before ? undefined : 'group' });
      const policy = body.policy === undefined ? before?.policy : (body.policy as Group['policy'] | null);
      const group: Group = {
        ...{ hub, name: params.group, realname: body.realname ?? before?.realname ?? '' },
        note: body.note ?? before?.note ?? '',
        ...(policy ? { policy } : {}),
      };
      await members.saveGroup(group);
      return toGroup(group, vpn());
    },
    'vpn.group-remove': async ({ params }) => {
      const hub = hubName(params.hub);
      await vpn().members.removeGroup(hub, params.group);
      return { hub, group: params.group, removed: true };
    },
    'vpn.session-list': async ({ query }) => {
      const hubs = query.hub === undefined ? vpn().hubs.list() : [vpn().hubs.get(query.hub)];
      return { sessions: hubs.flatMap(({ name }) => vpn().sessions.list(name).map(toSession)) };
    },
    'vpn.session-cut': async ({ params }) => {
      const { name } = await vpn().disconnect(params.hub, params.name);
      return { name, cut: true };
    },
    'vpn.openvpn-show': async ({ params, query }) => {
      const { openvpn, members, hubs } = vpn();
      if (!openvpn) throw new Fault('missing', 'OpenVPN is not spoken here; write openvpn: {} under vpn: in the file');
      const { name: of } = hubs.get(params.hub);
      const user = query.user === undefined ? {} : { user: members.get(of, query.user).name };
      return { hub: of, profile: openvpn.profile({ hub: of, dev: query.dev ?? 'tun', ...user }) };
    },
    'vpn.admin-show': async () => {
      const { isOn, from, since } = vpn().administration;
      return { on: isOn, from: [...from], ...(since ? { since: since.toISOString() } : {}) };
    },
    'vpn.admin-passwd': async ({ body, note }) => {
      note({ administration: body.password === null ? 'off' : 'on' });
      await vpn().administration.setPassword(body.password ?? undefined);
      return { on: vpn().administration.isOn };
    },
  };
}

const toHub = ({ name, origin, settings, created, hub }: HubEntry, vpn: VpnService): VpnHubAnswer => ({
  ...{ name, origin, online: hub !== undefined, created: created.toISOString() },
  members: vpn.members.list(name).length,
  sessions: vpn.sessions.list(name).length,
  macs: hub?.macTable().length ?? 0,
  ips: hub?.ipTable().length ?? 0,
  settings: { ...settings },
});

const toMember = (member: Member, vpn: VpnService): VpnMemberAnswer => ({
  ...{ hub: member.hub, user: member.name, proof: member.proof, group: member.group, logins: member.logins },
  ...{ realname: member.realname, note: member.note, created: member.created.toISOString() },
  hasSecret:
    member.proof === 'gate' ||
    member.proof === 'certificate' ||
    vpn.members.softEtherHash(member) !== undefined ||
    vpn.members.plainHash(member) !== undefined,
  ...(member.policy ? { policy: { ...member.policy } } : {}),
  ...(member.expires ? { expires: member.expires.toISOString() } : {}),
  ...(member.lastLogin ? { lastLogin: member.lastLogin.toISOString() } : {}),
});

const toGroup = ({ hub, name, realname, note, policy }: Group, vpn: VpnService): VpnGroupAnswer => ({
  ...{ hub, name, realname, note },
  members: vpn.members.list(hub).filter(({ group }) => group === name).length,
  ...(policy ? { policy: { ...policy } } : {}),
});

/** Addresses that a list of sessions has of each: a flood of them is for the tables to show. */
const mostListed = 64;
const toSession = (one: LiveMember): VpnSessionAnswer => ({
  hub: one.options.hub.name,
  name: one.name,
  session: one.options.session.id,
  user: one.options.policy.user || 'anonymous',
  from: formatAddress(one.options.from),
  protocol: one.protocol,
  since: one.since.toISOString(),
  lastFrame: one.lastFrame.toISOString(),
  connections: { now: one.connections.all, most: one.options.terms.connections },
  client: [one.options.client.product, one.options.client.os].filter(text => text !== '').join(' on '),
  macs: (one.attached?.macs() ?? []).slice(0, mostListed),
  ips: (one.attached?.ips() ?? []).slice(0, mostListed),
  bytes: { up: one.bytes.up, down: one.bytes.down },
  dropped: one.bytes.dropped,
});

function tablesOf({ name, hub }: HubEntry): VpnTablesAnswer {
  if (!hub) throw new Fault('gone', `the hub ${name} is offline`);
  const times = ({ created, updated }: { created: Date; updated: Date }) => ({
    created: created.toISOString(),
    updated: updated.toISOString(),
  });
  return {
    hub: name,
    macs: hub.macTable().map(({ session, mac, vlan, ...entry }) => ({ session, mac, vlan, ...times(entry) })),
    ips: hub.ipTable().map(({ session, address, dhcp, ...entry }) => ({ session, address, dhcp, ...times(entry) })),
    leases: hub.leases().map(({ mac, address, hostname, leased, expires }) => ({
      ...{ mac, address, hostname, leased: leased.toISOString(), expires: expires.toISOString() },
    })),
    flows: hub.natTable().map(({ protocol, from, to, state, created, used, sent, received }) => ({
      ...{ protocol, from, to, sent, received, created: created.toISOString(), used: used.toISOString() },
      ...(state === undefined ? {} : { state }),
    })),
    ports: hub.ownPorts().map(({ session, kind, device, active }) => ({
      ...{ session, kind, active },
      ...(device === undefined ? {} : { device }),
    })),
  };
}

type Secret = Call<'vpn.user-add'>['body']['secret'];

/** @throws Fault `invalid` */
function proofOf(secret: Secret): NewProof {
  if ('gatePassword' in secret) return { kind: 'gate' };
  if ('password' in secret) return { kind: secret.plainOnly ? 'plain' : 'password', password: secret.password };
  if (secret.certificate === 'gate') return { kind: 'certificate' };
  try {
    return { kind: 'certificate', der: new X509Certificate(secret.certificate).raw };
  } catch (cause) {
    throw new Fault('invalid', 'secret.certificate: this is not a PEM certificate', { cause });
  }
}

function changeOf({ expires, policy, ...texts }: Omit<Call<'vpn.user-change'>['body'], 'secret'>): MemberChange {
  const said = Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== undefined));
  return {
    ...said,
    ...(policy === undefined ? {} : { policy: policy as NonNullable<MemberChange['policy']> | null }),
    ...(expires === undefined ? {} : { expires: expires === null ? null : new Date(expires) }),
  };
}
