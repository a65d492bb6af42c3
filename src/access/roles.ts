// What each role may ask the API for. Roles travel as groups, `role:admin`; but for the terminal they never open a way for bytes.
import type { Action } from '../core/parts.ts';
import { isStream } from './events.ts';
import { glob } from './glob.ts';

export type Role = 'admin' | 'operator' | 'approver' | 'auditor' | 'member';

/** Actions that change nothing and show nothing private. */
const looking = [
  'api.status',
  'session.list',
  'proxy.list',
  'tunnel.list',
  'endpoint.list',
  'device.list',
  'web.list',
  'vpn.list',
];

/**
 * `endpoint.open` is missing on purpose: who may open which device to whom, and for how long, is for the rules of
 * `access` to say. Approvers still need to be in the group that a rule names.
 */
const grants: Readonly<Record<Role, readonly string[]>> = {
  admin: ['*'],
  operator: [
    ...looking,
    'api.check',
    'api.approvals',
    'session.cut',
    'cert.list',
    'user.list',
    'tunnel.*',
    'device.*',
    'endpoint.show',
    'endpoint.extend',
    'endpoint.close',
    'web.check',
  ],
  approver: [...looking, 'api.approvals', 'api.approve', 'endpoint.approve'],
  auditor: [...looking, 'api.check', 'api.approvals', 'audit.*', 'cert.list', 'user.list'],
  member: [],
};

const compiled = new Map(
  Object.entries(grants).map(([role, patterns]) => [`role:${role}`, patterns.map(pattern => glob(pattern))]),
);

/** The one way for bytes that a role opens: the device's SSH server still asks who it is. */
const shell = 'device.terminal';

/** The role that grants this action to somebody of these groups, as the rule's name (`role:operator`); or none. */
export function roleFor(groups: readonly string[], action: Action): string | undefined {
  if (isStream(action) && action !== shell) return undefined;
  return groups.find(group => compiled.get(group)?.some(matches => matches(action)));
}

/** Every pattern that a role grants: for the documentation and the console. */
export const roleGrants: typeof grants = grants;
