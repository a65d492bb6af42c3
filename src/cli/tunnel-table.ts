// Tunnels as `tunnel list` and `status` show them.
import type { TunnelAnswer } from '../api/contract/tunnel.ts';
import { left, minute } from './format.ts';
import type { Screen } from './screen.ts';

/** `now` is the gate's, where it is known. */
export function showTunnels(screen: Screen, tunnels: readonly TunnelAnswer[], now?: string): void {
  const at = now === undefined ? Date.now() : Date.parse(now);
  screen.table(
    [
      { title: 'id', shrinks: true },
      ...['device', 'services', 'state', 'until', 'source', 'destination', 'opened by'],
      { title: 'why', shrinks: true },
    ],
    tunnels.map(tunnel => [
      tunnel.id,
      tunnel.thing ?? '–',
      tunnel.services.join(', ') || '–',
      { text: tunnel.state, tone: tunnel.state === 'open' ? 'green' : 'dim' },
      tunnel.state === 'open' ? left(tunnel.until, at) : minute(tunnel.closed ?? tunnel.until),
      tunnel.source.state,
      tunnel.destination.state,
      tunnel.opener,
      tunnel.description ?? '–',
    ]),
    'no tunnels; try: sekisho tunnel open DEVICE --service ssh',
  );
}
