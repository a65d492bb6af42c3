// OpenVPN over UDP: one socket, its clients told apart by address and by the id in their packets. Nothing is remembered of
// anybody who has not answered from where he says he is.
import { formatAddress } from '../../../core/address.ts';
import { Fault } from '../../../core/fault.ts';
import type { Address, Upgrade } from '../../../core/parts.ts';
import type { DatagramPeer, DatagramSocket } from '../../../net/datagrams.ts';
import { addressKey, normalizeHost } from '../../../wire/cidr.ts';
import {
  type ControlPacket,
  decodeControl,
  encodeControl,
  isControl,
  opcodeOf,
  opcodes,
  packetLimits,
  sessionOf,
} from '../../../wire/openvpn.ts';
import { Bucket } from '../switch/limits.ts';
import { OpenVpnClient } from './client.ts';
import { createCookies } from './cookie.ts';
import type { Link } from './member.ts';
import type { OpenVpnDoorDeps } from './tcp-door.ts';
import { type Protection, tlsCrypt, unprotected } from './tls-crypt.ts';

export interface OpenVpnUdpOptions {
  readonly socket: DatagramSocket;
  readonly tls: (peer: Address) => Upgrade;
  readonly deps: OpenVpnDoorDeps;
}

/** Clients in all, those that have not proven who they are, and of these from one address (of IPv6: one /64). */
const most = { clients: 16_384, halfOpen: 512, perHost: 16 } as const;
/** Stateless answers, in a second and at once: a flood of resets must not become one of ours. */
const answers = [256, 64] as const;

interface Place {
  /** The client's own. */
  readonly session: Buffer;
  client: OpenVpnClient;
  peer: DatagramPeer;
  key: string;
  /** An address that it is about to move to. */
  moving: string | undefined;
}

export function serveOpenVpnUdp({ socket, tls, deps }: OpenVpnUdpOptions): AsyncDisposable {
  const { clock, gate, log, metrics } = deps;
  const cookies = createCookies(clock);
  const byAddress = new Map<string, Place>();
  const byId = new Map<number, Place>();
  const now = (): number => clock.now().getTime();
  const answerRate = new Bucket(...answers, now());
  let lastId = 0;
  let state: 'open' | 'closed' = 'open';

  const drop = (reason: string): void => metrics.count('datagrams_dropped_total', { reason });
  const halfOpen = (network?: string): number => {
    let count = 0;
    for (const { client, peer } of byId.values())
      if (!client.isIn && (network === undefined || addressKey(peer.host) === network)) count++;
    return count;
  };

  const serve = (packet: Buffer, peer: DatagramPeer): void => {
    if (packet.length < 2 || packet.length > packetLimits.most) return;
    const key = `${peer.host} ${peer.port}`;
    const known = byAddress.get(key);
    if (!isControl(packet)) {
      if (known?.client.take([packet]) || opcodeOf(packet) !== opcodes.dataV2 || packet.length < 4) return;
      const place = byId.get(packet.readUIntBE(1, 3));
      // Whoever has the keys is who he was, wherever he is now (RFC 9146 calls it a connection id).
      if (place && place !== known && place.moving === undefined && place.client.take([packet])) move(place, peer, key);
      return;
    }
    if (opcodeOf(packet) === opcodes.hardResetClient) {
      reset(packet, peer, key);
      return;
    }
    // A restarted client has its old port at times: who answers our stateless packet is a new one.
    if (known && isOf(known, packet)) known.client.take([packet]);
    else confirm(packet, peer, key, known);
  };

  /** Either under the static key or, where that is not demanded, as it is. */
  const unwrap = (
    packet: Buffer,
    sent: number,
  ): { readonly packet: ControlPacket; readonly protection: Protection } | undefined => {
    const crypt = tlsCrypt(deps.key, clock, 'server', sent);
    const opened = crypt.unwrap(packet);
    if (!opened && !deps.plain) return undefined;
    try {
      return { packet: decodeControl(opened ?? packet), protection: opened ? crypt : unprotected };
    } catch (error) {
      if (error instanceof Fault) return undefined;
      throw error;
    }
  };
  const reset = (bytes: Buffer, peer: DatagramPeer, key: string): void => {
    const read = unwrap(bytes, 0);
    if (read?.packet.id === 0 && read.packet.keyId === 0) answer(read, peer, key);
    else drop('openvpn');
  };
  /** 26 bytes for 14, and the first packet of both sides counts as said. */
  const answer = (
    { packet, protection }: NonNullable<ReturnType<typeof unwrap>>,
    peer: DatagramPeer,
    key: string,
  ): void => {
    if (state === 'closed' || !answerRate.take(1, now())) {
      drop('openvpn');
      return;
    }
    const session = cookies.make(key, packet.session);
    const reply = { opcode: opcodes.hardResetServer, keyId: 0, acks: [0], id: 0, payload: new Uint8Array(0) };
    socket.send(protection.wrap(encodeControl({ ...reply, session, far: packet.session })), peer);
  };
  const confirm = (bytes: Buffer, peer: DatagramPeer, key: string, known: Place | undefined): void => {
    const read = unwrap(bytes, 1);
    if (read?.packet.keyId !== 0) {
      drop('openvpn');
      return;
    }
    const { packet, protection } = read;
    if (!packet.far || !cookies.fits(packet.far, key, packet.session)) {
      // Its acknowledgement got lost, or is older than us: said again, it is acknowledged again.
      if (!known && packet.opcode === opcodes.control && packet.id === 1) answer(read, peer, key);
      return;
    }
    if (
      state === 'closed' ||
      byId.size >= most.clients ||
      halfOpen() >= most.halfOpen ||
      halfOpen(addressKey(peer.host)) >= most.perHost
    ) {
      drop('sessions');
      return;
    }
    if (known) void known.client.end('replaced');
    open({ bytes, peer, key, protection, own: Buffer.from(packet.far), far: Buffer.from(packet.session) });
  };
  const isOf = ({ session }: Place, packet: Buffer): boolean => sessionOf(packet)?.equals(session) ?? false;

  interface Opening {
    readonly bytes: Buffer;
    readonly peer: DatagramPeer;
    readonly key: string;
    readonly protection: Protection;
    readonly own: Buffer;
    readonly far: Buffer;
  }
  const open = ({ bytes, peer, key, protection, own, far }: Opening): void => {
    const peerId = freeId();
    let isOpen = true;
    const link: Link = {
      kind: 'udp',
      peerId,
      get peer() {
        return { host: normalizeHost(place.peer.host), port: place.peer.port };
      },
      get isOpen() {
        return isOpen;
      },
      send(packets) {
        let sent = 0;
        for (const packet of packets) if (isOpen && socket.send(packet, place.peer)) sent++;
        return sent;
      },
      async close() {
        isOpen = false;
        if (byAddress.get(place.key) === place) byAddress.delete(place.key);
        byId.delete(peerId);
      },
    };
    const place = { session: far, peer, key, moving: undefined } as Omit<Place, 'client'> as Place;
    byId.set(peerId, place);
    byAddress.set(key, place);
    const at = { host: normalizeHost(peer.host), port: peer.port };
    place.client = new OpenVpnClient({
      ...{ link, tls: tls(at), protection, ownSession: own, farSession: far, from: 1, deps },
    });
    place.client.take([bytes]);
  };
  const freeId = (): number => {
    do lastId = (lastId % 0xfffffe) + 1;
    while (byId.has(lastId));
    return lastId;
  };

  /** Another port is another mapping of the same NAT; another host has to be admitted there. */
  const move = (place: Place, peer: DatagramPeer, key: string): void => {
    const { member } = place.client;
    if (!member) return;
    const to = { host: normalizeHost(peer.host), port: peer.port };
    const settle = (): void => {
      place.moving = undefined;
      if (!member.isOpen) return;
      if (byAddress.get(place.key) === place) byAddress.delete(place.key);
      place.peer = peer;
      place.key = key;
      byAddress.set(key, place);
      member.options.session.note('moved', formatAddress(to));
      log.info({ from: to, session: member.name }, 'an OpenVPN client has moved to another address');
    };
    if (peer.host === place.peer.host) {
      settle();
      return;
    }
    place.moving = key;
    const { limits: _, ...request } = member.options.session.request;
    gate.admit({ ...request, from: to }).then(
      async session => {
        await session[Symbol.asyncDispose]();
        settle();
      },
      error => {
        log.info({ from: to, session: member.name, error }, 'an OpenVPN client may not be where it has moved to');
        void place.client.end('revoked');
      },
    );
  };

  socket.receive((packet, peer) => {
    try {
      serve(packet, peer);
    } catch (error) {
      // An edge: one client's packet never ends the others.
      log.error({ from: peer, error }, 'an OpenVPN packet could not be handled');
    }
  });
  return {
    async [Symbol.asyncDispose]() {
      if (state === 'closed') return;
      state = 'closed';
      await Promise.all([...byId.values()].map(({ client }) => client.end('drain')));
      await socket[Symbol.asyncDispose]();
    },
  };
}
