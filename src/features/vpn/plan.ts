// The `vpn:` slice → hubs as they are to be set. Pure; what does not fit together is said with its place in the file.
import { Fault } from '../../core/fault.ts';
import type { VpnConfig } from './config.ts';
import type { VpnPlan } from './service.ts';
import { defaultSettings, type HubSettings } from './settings.ts';

export const noVpn: VpnPlan = { hubs: {}, adminFrom: ['127.0.0.0/8', '::1/128'] };

/** @throws Fault `invalid` with every mistake in `facts.mistakes` */
export function planVpn(config: VpnConfig | undefined): VpnPlan {
  if (!config) return noVpn;
  const mistakes: { path: readonly (string | number)[]; text: string }[] = [];
  const hubs: Record<string, HubSettings> = {};
  const seen = new Map<string, string>();
  for (const [name, hub] of Object.entries(config.hubs)) {
    const alike = seen.get(name.toLowerCase());
    if (alike !== undefined)
      mistakes.push({ path: ['vpn', 'hubs', name], text: `SoftEther does not tell ${name} from ${alike}` });
    seen.set(name.toLowerCase(), name);
    hubs[name] = {
      ...defaultSettings,
      anonymous: hub.anonymous,
      listing: hub['anonymous-listing'],
      maxSessions: hub.sessions ?? 0,
      message: hub.message ?? '',
    };
  }
  if (mistakes.length > 0) {
    const text = mistakes.map(one => `${one.path.join('.')}: ${one.text}`).join('\n');
    throw new Fault('invalid', text, { facts: { mistakes } });
  }
  return { hubs, adminFrom: config.admin.from };
}
