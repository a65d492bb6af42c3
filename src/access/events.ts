// How an action is called in the audit: proxy.connect → proxy.opened, proxy.denied, proxy.closed. One table.
import type { Action } from '../core/parts.ts';

export interface EventNames {
  readonly opened: string;
  readonly closed: string;
  readonly denied: string;
}

/** Actions that open a way for bytes and last (HOUSE §3); every other action is one act of the API. */
const streams: Readonly<Record<string, readonly [opened: string, closed: string]>> = {
  'proxy.connect': ['opened', 'closed'],
  'tunnel.join': ['joined', 'left'],
  'tunnel.use': ['connected', 'disconnected'],
  'tunnel.subscribe': ['subscribed', 'unsubscribed'],
  'device.link': ['online', 'offline'],
  'device.stream': ['connected', 'disconnected'],
  'device.terminal': ['terminal-opened', 'terminal-closed'],
  'endpoint.connect': ['connected', 'disconnected'],
  'web.request': ['opened', 'closed'],
  'vpn.join': ['joined', 'left'],
  'vpn.nat': ['connected', 'disconnected'],
};

/** Past tenses that no rule gives. */
const irregular: Readonly<Record<string, string>> = {
  cut: 'cut',
  read: 'read',
  set: 'set',
  show: 'shown',
  get: 'got',
  passwd: 'password-changed',
  backup: 'backed-up',
  enroll: 'enrolled',
  apply: 'applied',
  verify: 'verified',
  notify: 'notified',
  events: 'watched',
  tag: 'tagged',
  untag: 'untagged',
  login: 'signed-in',
  'sign-in': 'signed-in',
  logout: 'signed-out',
  prove: 'proven',
};

const known = new Map<string, EventNames>();

/** An act is `cert.allowed` when it begins and `cert.issued` when it is done. */
export function eventNames(action: Action): EventNames {
  const names = known.get(action) ?? makeNames(action);
  if (known.size < 1000) known.set(action, names);
  return names;
}

/** The end that belongs to an opening, where only the opening's name is known, and an act's action. */
export function closedEvent(opened: string, action: string | null): string {
  const [word = 'api', what = ''] = opened.split('.', 2);
  if (what === 'allowed') return action === null ? `${word}.ended` : eventNames(action as Action).closed;
  const stream = Object.entries(streams).find(([name, [first]]) => first === what && name.startsWith(`${word}.`));
  return `${word}.${stream?.[1][1] ?? 'closed'}`;
}

/** Whether the action opens a way for bytes, which no role ever grants. */
export const isStream = (action: Action): boolean => Object.hasOwn(streams, action);

function makeNames(action: Action): EventNames {
  const [word = 'api', verb = ''] = action.split('.', 2);
  const [opened, closed] = (isStream(action) ? streams[action] : undefined) ?? ['allowed', pastOf(verb)];
  return { opened: `${word}.${opened}`, closed: `${word}.${closed}`, denied: `${word}.denied` };
}

function pastOf(verb: string): string {
  if (Object.hasOwn(irregular, verb)) return irregular[verb] ?? verb;
  return verb.endsWith('e') ? `${verb}d` : `${verb}ed`;
}
