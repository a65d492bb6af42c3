// A site as a plan has it, for tests that need no configuration.
import type { SitePlan } from './map.ts';
import { parsePattern } from './pattern.ts';

export function sitePlanFor(key: string, to: string, more: Partial<SitePlan> = {}): SitePlan {
  const [, scheme = 'http', host = '', port, path = '/'] = /^(https?):\/\/([^:/]+)(?::(\d+))?(\/.*)?$/.exec(to) ?? [];
  return {
    key,
    name: parsePattern(key.includes('.') ? key : `${key}.example.com`),
    label: parsePattern(key),
    scheme: scheme as SitePlan['scheme'],
    host: parsePattern(host),
    port: port === undefined ? (scheme === 'https' ? 443 : 80) : Number(port),
    path,
    told: undefined,
    protocol: 'http/1.1',
    websocket: true,
    clients: 'required',
    rewrite: 'headers',
    cookies: { secure: false },
    hsts: 0,
    identity: false,
    forwarded: false,
    timeouts: { connect: 2000, send: 60_000, read: 180_000, websocket: 3_600_000 },
    limits: { upstream: 32 },
    ...more,
  };
}
