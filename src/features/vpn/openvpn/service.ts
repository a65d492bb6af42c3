// OpenVPN as a part of the room: its conns, its datagrams, its static key, and what profiles are made of.
import type { Address, Conn, Upgrade } from '../../../core/parts.ts';
import type { DatagramSocket } from '../../../net/datagrams.ts';
import type { VpnDeps } from '../deps.ts';
import type { Hubs } from '../hubs.ts';
import type { Members } from '../members.ts';
import type { RoutedMacs } from '../routed/routed-macs.ts';
import type { MemberSessions } from '../softether/sessions.ts';
import { type OpenVpnDoorDeps, serveOpenVpnTcp } from './tcp-door.ts';
import { formatStaticKey, staticKeyLength } from './tls-crypt.ts';
import { serveOpenVpnUdp } from './udp-door.ts';

export interface OpenVpnPlan {
  /** Clients without the static key are answered as well. */
  readonly plain: boolean;
}
export interface OpenVpn extends AsyncDisposable {
  /** To its end. `tls`: the gate's, for what is spoken in the control channel. */
  serveTcp(conn: Conn, tls: Upgrade): Promise<void>;
  /** The socket is its own from then on. */
  serveUdp(socket: DatagramSocket, tls: (peer: Address) => Upgrade): void;
  /** As it stands in profiles. It keeps strangers off, and is no proof of anything. */
  readonly staticKey: string;
}
export interface OpenVpnParts extends VpnDeps {
  readonly hubs: Hubs;
  readonly members: Members;
  readonly sessions: MemberSessions;
  readonly macs: RoutedMacs;
}

export function openOpenVpn({ plain }: OpenVpnPlan, parts: OpenVpnParts): OpenVpn {
  const key = parts.sealer.derive('openvpn/tls-crypt', staticKeyLength);
  const deps: OpenVpnDoorDeps = { ...parts, key, plain };
  const served: AsyncDisposable[] = [];
  return {
    serveTcp: (conn, tls) => serveOpenVpnTcp(conn, tls, deps),
    serveUdp(socket, tls) {
      served.push(serveOpenVpnUdp({ socket, tls, deps }));
    },
    staticKey: formatStaticKey(key),
    async [Symbol.asyncDispose]() {
      await Promise.all(served.splice(0).map(one => one[Symbol.asyncDispose]()));
    },
  };
}
