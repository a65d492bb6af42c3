// OpenVPN as a part of the room: its conns, its datagrams, its static key, and what profiles are made of.
import type { Address, Conn, Upgrade } from '../../../core/parts.ts';
import type { DatagramSocket } from '../../../net/datagrams.ts';
import type { VpnDeps } from '../deps.ts';
import type { Hubs } from '../hubs.ts';
import type { Members } from '../members.ts';
import type { RoutedMacs } from '../routed/routed-macs.ts';
import type { MemberSessions } from '../softether/sessions.ts';
import { formatProfile, type ProfileFacts, type Remote } from './profile.ts';
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
  /** It is served there as well, by whoever accepts. */
  opensTcp(port: number): void;
  /** The socket is its own from then on. */
  serveUdp(socket: DatagramSocket, tls: (peer: Address) => Upgrade): void;
  /** With the static key, which keeps strangers off and is no proof of anything. */
  profile(wish: ProfileWish): string;
}
export interface ProfileWish extends Pick<ProfileFacts, 'hub' | 'dev' | 'user'> {}
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
  const remotes: Remote[] = [];
  return {
    serveTcp: (conn, tls) => serveOpenVpnTcp(conn, tls, deps),
    opensTcp: port => void remotes.push({ proto: 'tcp', port }),
    serveUdp(socket, tls) {
      remotes.push({ proto: 'udp', port: socket.address.port });
      served.push(serveOpenVpnUdp({ socket, tls, deps }));
    },
    profile: wish =>
      formatProfile({
        ...wish,
        host: parts.facts.name(),
        // Datagrams first: TCP within TCP is slow on bad lines. The gate's own port is the one that passes everywhere.
        remotes: [
          ...remotes.filter(({ proto }) => proto === 'udp'),
          ...remotes.filter(({ proto }) => proto === 'tcp'),
          ...parts
            .ports()
            .slice(0, 1)
            .map((port): Remote => ({ proto: 'tcp', port })),
        ],
        certificate: parts.certificate() ?? '',
        root: parts.root(),
        staticKey: formatStaticKey(key),
      }),
    async [Symbol.asyncDispose]() {
      await Promise.all(served.splice(0).map(one => one[Symbol.asyncDispose]()));
    },
  };
}
