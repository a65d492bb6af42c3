// vpn: hubs, their members, who is on them, what their tables hold, and the password of administrators by vpncmd.
import { z } from 'zod';
import { hubChange, securityPolicy } from '../../features/vpn/config.ts';
import { name, time } from './common.ts';
import { password } from './user.ts';
import { verb } from './verb.ts';

const hubName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/,
    'a hub’s name starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most',
  )
  .meta({ example: 'mikalab' });

export const vpnHub = z.object({
  name: z.string(),
  origin: z.enum(['file', 'store']).meta({ description: 'where it was made; those of the file are changed there' }),
  online: z.boolean(),
  created: time,
  members: z.number(),
  sessions: z.number(),
  macs: z.number(),
  ips: z.number(),
  settings: z.record(z.string(), z.unknown()),
});
export type VpnHubAnswer = z.output<typeof vpnHub>;

export const vpnProof = z.enum(['password', 'plain', 'gate', 'certificate']).meta({
  description:
    'password: the form that SoftEther’s client asks for, kept encrypted; plain: a modern hash; gate: the gate’s own password; certificate: only that',
});

export const vpnMember = z.object({
  hub: z.string(),
  user: z.string(),
  proof: vpnProof,
  hasSecret: z.boolean().meta({ description: 'whether there is a password or certificate to join with' }),
  group: z.string(),
  realname: z.string(),
  note: z.string(),
  policy: z.record(z.string(), z.unknown()).optional(),
  expires: time.optional(),
  created: time,
  logins: z.number(),
  lastLogin: time.optional(),
});
export type VpnMemberAnswer = z.output<typeof vpnMember>;

export const vpnGroup = z.object({
  hub: z.string(),
  name: z.string(),
  realname: z.string(),
  note: z.string(),
  members: z.number(),
  policy: z.record(z.string(), z.unknown()).optional(),
});
export type VpnGroupAnswer = z.output<typeof vpnGroup>;

export const vpnSession = z.object({
  hub: z.string(),
  name: z.string(),
  session: z.string().meta({ description: 'the gate’s own session, as session list shows it' }),
  user: z.string(),
  from: z.string(),
  protocol: z.enum(['softether', 'sstp', 'openvpn']).meta({ description: 'by which the member came' }),
  since: time,
  lastFrame: time,
  connections: z.object({ now: z.number(), most: z.number() }),
  client: z.string(),
  macs: z.array(z.string()),
  ips: z.array(z.string()),
  bytes: z.object({ up: z.number(), down: z.number() }),
  dropped: z.number(),
});
export type VpnSessionAnswer = z.output<typeof vpnSession>;

const traffic = z.object({
  from: z.object({ host: z.string(), port: z.number() }),
  to: z.object({ host: z.string(), port: z.number() }),
});
export const vpnTables = z.object({
  hub: z.string(),
  macs: z.array(z.object({ session: z.string(), mac: z.string(), vlan: z.number(), created: time, updated: time })),
  ips: z.array(z.object({ session: z.string(), address: z.string(), dhcp: z.boolean(), created: time, updated: time })),
  leases: z.array(
    z.object({ mac: z.string(), address: z.string(), hostname: z.string(), leased: time, expires: time }),
  ),
  flows: z.array(
    traffic.extend({
      protocol: z.enum(['tcp', 'udp', 'dns', 'icmp']),
      state: z.string().optional(),
      created: time,
      used: time,
      sent: z.number(),
      received: z.number(),
    }),
  ),
  ports: z.array(
    z.object({ session: z.string(), kind: z.string(), device: z.string().optional(), active: z.boolean() }),
  ),
});
export type VpnTablesAnswer = z.output<typeof vpnTables>;

const hub = z.object({ hub: hubName });
const member = z.object({ hub: hubName, user: name });
const group = z.object({ hub: hubName, group: name });
const secret = z.union([
  z.strictObject({ password, plainOnly: z.boolean().default(false) }),
  z.strictObject({ gatePassword: z.literal(true) }),
  z.strictObject({
    certificate: z.union([
      z.literal('gate'),
      z.string().max(20_000).meta({ description: 'PEM of the one certificate that counts besides the gate’s own' }),
    ]),
  }),
]);
const about = {
  group: z.union([z.literal(''), name]).optional(),
  realname: z.string().max(255).optional(),
  note: z.string().max(255).optional(),
  policy: securityPolicy.nullable().optional(),
  expires: time.nullable().optional(),
};

export const vpnVerbs = {
  'vpn.hub-list': verb({
    method: 'GET',
    path: '/v1/vpn/hubs',
    action: 'vpn.list',
    summary: 'Hubs',
    answer: z.object({ hubs: z.array(vpnHub) }),
    cli: 'vpn hub list',
  }),
  'vpn.hub-show': verb({
    method: 'GET',
    path: '/v1/vpn/hubs/:hub',
    action: 'vpn.list',
    summary: 'One hub',
    params: hub,
    answer: vpnHub,
    cli: 'vpn hub show',
  }),
  'vpn.hub-create': verb({
    method: 'POST',
    path: '/v1/vpn/hubs',
    action: 'vpn.hub-create',
    summary: 'Make a hub',
    body: z.strictObject({ name: hubName, settings: hubChange.default({}) }),
    answer: vpnHub,
    changes: true,
    resource: 'hub/:name',
    cli: 'vpn hub create',
  }),
  'vpn.hub-change': verb({
    method: 'PUT',
    path: '/v1/vpn/hubs/:hub',
    action: 'vpn.hub-change',
    summary: 'Change a hub that was made at run time; what is not said stays',
    params: hub,
    body: hubChange,
    answer: vpnHub,
    changes: true,
    resource: 'hub/:hub',
    cli: 'vpn hub set',
  }),
  'vpn.hub-delete': verb({
    method: 'DELETE',
    path: '/v1/vpn/hubs/:hub',
    action: 'vpn.hub-delete',
    summary: 'Delete a hub with its memberships; the users stay',
    params: hub,
    answer: z.object({ name: z.string(), deleted: z.literal(true) }),
    changes: true,
    resource: 'hub/:hub',
    cli: 'vpn hub delete',
  }),
  'vpn.tables': verb({
    method: 'GET',
    path: '/v1/vpn/hubs/:hub/tables',
    action: 'vpn.list',
    summary: 'MAC and IP addresses, leases, NAT flows and own ports of a hub',
    params: hub,
    answer: vpnTables,
    cli: 'vpn table',
  }),
  'vpn.user-list': verb({
    method: 'GET',
    path: '/v1/vpn/hubs/:hub/users',
    action: 'vpn.list',
    summary: 'Members of a hub',
    params: hub,
    answer: z.object({ users: z.array(vpnMember) }),
    cli: 'vpn user list',
  }),
  'vpn.user-add': verb({
    method: 'POST',
    path: '/v1/vpn/hubs/:hub/users',
    action: 'vpn.user-add',
    summary: 'Let a user of the gate join a hub (the user is added when missing)',
    params: hub,
    body: z.strictObject({ user: name, secret, ...about }),
    answer: vpnMember,
    changes: true,
    resource: 'hub/:hub/:user',
    cli: 'vpn user add',
  }),
  'vpn.user-change': verb({
    method: 'PUT',
    path: '/v1/vpn/hubs/:hub/users/:user',
    action: 'vpn.user-change',
    summary: 'Change a membership; a new policy counts at once, a new secret ends live sessions',
    params: member,
    body: z.strictObject({ secret: secret.optional(), ...about }),
    answer: vpnMember,
    changes: true,
    resource: 'hub/:hub/:user',
    cli: 'vpn user set',
  }),
  'vpn.user-remove': verb({
    method: 'DELETE',
    path: '/v1/vpn/hubs/:hub/users/:user',
    action: 'vpn.user-remove',
    summary: 'End a membership and its live sessions; the user stays',
    params: member,
    answer: z.object({ hub: z.string(), user: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'hub/:hub/:user',
    cli: 'vpn user remove',
  }),
  'vpn.group-list': verb({
    method: 'GET',
    path: '/v1/vpn/hubs/:hub/groups',
    action: 'vpn.list',
    summary: 'Groups of a hub: members who share a policy',
    params: hub,
    answer: z.object({ groups: z.array(vpnGroup) }),
    cli: 'vpn group list',
  }),
  'vpn.group-change': verb({
    method: 'PUT',
    path: '/v1/vpn/hubs/:hub/groups/:group',
    action: 'vpn.group-change',
    summary: 'Make a group, or change it; what is not said stays, a new policy counts at once',
    params: group,
    body: z.strictObject({ realname: about.realname, note: about.note, policy: about.policy }),
    answer: vpnGroup,
    changes: true,
    resource: 'hub/:hub/:group',
    cli: 'vpn group set',
  }),
  'vpn.group-remove': verb({
    method: 'DELETE',
    path: '/v1/vpn/hubs/:hub/groups/:group',
    action: 'vpn.group-remove',
    summary: 'Remove a group; its members stay, by the hub’s policy',
    params: group,
    answer: z.object({ hub: z.string(), group: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'hub/:hub/:group',
    cli: 'vpn group remove',
  }),
  'vpn.session-list': verb({
    method: 'GET',
    path: '/v1/vpn/sessions',
    action: 'vpn.list',
    summary: 'Who is on which hub',
    query: z.object({ hub: hubName.optional() }),
    answer: z.object({ sessions: z.array(vpnSession) }),
    cli: 'vpn session list',
  }),
  'vpn.session-cut': verb({
    method: 'DELETE',
    path: '/v1/vpn/hubs/:hub/sessions/:name',
    action: 'session.cut',
    summary: 'End a member’s session',
    params: z.object({ hub: hubName, name: z.string().min(1).max(300) }),
    answer: z.object({ name: z.string(), cut: z.literal(true) }),
    changes: true,
    resource: 'hub/:hub/:name',
    cli: 'vpn session cut',
  }),
  'vpn.openvpn-show': verb({
    method: 'GET',
    path: '/v1/vpn/hubs/:hub/openvpn',
    action: 'vpn.openvpn-show',
    summary: 'A profile for OpenVPN’s clients, without anything secret of a member',
    params: hub,
    query: z.object({ user: name.optional(), dev: z.enum(['tun', 'tap']).optional() }),
    answer: z.object({ hub: hubName, profile: z.string() }),
    cli: 'vpn openvpn',
  }),
  'vpn.admin-show': verb({
    method: 'GET',
    path: '/v1/vpn/admin',
    action: 'vpn.list',
    summary: 'Whether vpncmd may administer, and from where',
    answer: z.object({ on: z.boolean(), from: z.array(z.string()), since: time.optional() }),
    cli: 'vpn admin show',
  }),
  'vpn.admin-passwd': verb({
    method: 'PUT',
    path: '/v1/vpn/admin',
    action: 'vpn.admin-password-change',
    summary: 'Set the password of administrators by vpncmd, or turn them off',
    body: z.strictObject({
      password: z.union([z.null(), z.string().min(12, 'at least 12 characters').max(1024)]),
    }),
    answer: z.object({ on: z.boolean() }),
    changes: true,
    resource: 'vpn/admin',
    cli: 'vpn admin passwd',
  }),
} as const;
