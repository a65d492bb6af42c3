// group: names for sets of users; policies and approvals speak of them.
import { z } from 'zod';
import { name } from './common.ts';
import { verb } from './verb.ts';

export const group = z.object({ name: z.string(), members: z.array(z.string()) });

const named = z.object({ name });
const membership = z.object({ name, user: name });

export const groupVerbs = {
  'group.list': verb({
    method: 'GET',
    path: '/v1/groups',
    action: 'user.list',
    summary: 'Groups and their members',
    answer: z.object({ groups: z.array(group) }),
    cli: 'group list',
  }),
  'group.add': verb({
    method: 'PUT',
    path: '/v1/groups/:name/members/:user',
    action: 'user.group-add',
    summary: 'Put a user into a group; the group is made when missing',
    params: membership,
    answer: group,
    changes: true,
    resource: 'user/:user',
    cli: 'group add',
  }),
  'group.remove': verb({
    method: 'DELETE',
    path: '/v1/groups/:name/members/:user',
    action: 'user.group-remove',
    summary: 'Take a user out of a group; an empty group is gone',
    params: membership,
    answer: group,
    changes: true,
    resource: 'user/:user',
    cli: 'group remove',
  }),
  'group.show': verb({
    method: 'GET',
    path: '/v1/groups/:name',
    action: 'user.list',
    summary: 'One group',
    params: named,
    answer: group,
    cli: 'group show',
  }),
} as const;
