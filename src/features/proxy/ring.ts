// The ring of the consistent hash (ketama): point for point what nginx's `hash … consistent` builds, so that a moved
// configuration sends every client to the server it had before.
import { crc32 } from 'node:zlib';
import { formatAddress } from '../../core/address.ts';
import type { Target } from '../../core/parts.ts';
import type { Peer } from './balance.ts';

const pointsPerWeight = 160;

export interface Ring {
  /** Number of points. */
  readonly size: number;
  /** Index of the first point at or after the key's hash. */
  find(key: string): number;
  /** The peers (addresses of one server) that own the point at this index; the index wraps around. */
  peersAt(index: number): readonly Peer[];
}

export function createRing(peers: readonly Peer[]): Ring {
  const servers = new Map<string, Peer[]>();
  for (const peer of peers) {
    const name = serverName(peer.plan.target);
    const same = servers.get(name);
    if (same) same.push(peer);
    else servers.set(name, [peer]);
  }
  const points = [...servers].flatMap(([name, owners]) => {
    const weight = Math.max(...owners.map(peer => peer.plan.weight)); // addresses of one name share its points
    return pointsOf(name, weight * pointsPerWeight).map(hash => ({ hash, owners }));
  });
  points.sort((a, b) => a.hash - b.hash);
  const ring = points.filter((point, index) => index === 0 || point.hash !== points[index - 1]?.hash);

  return {
    size: ring.length,
    find(key) {
      const hash = crc32(key);
      let low = 0;
      let high = ring.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((ring[middle]?.hash ?? 0) < hash) low = middle + 1;
        else high = middle;
      }
      return low;
    },
    peersAt: index => ring[index % ring.length]?.owners ?? [],
  };
}

// point[i] = crc32(HOST \0 PORT point[i-1]), the previous point as four bytes, little endian (Cache::Memcached::Fast).
function pointsOf(server: string, count: number): number[] {
  const [host, port] = hostAndPort(server);
  const base = crc32(`${host}\0${port}`);
  const previous = Buffer.alloc(4);
  const points: number[] = [];
  for (let index = 0; index < count; index++) {
    const hash = crc32(previous, base);
    points.push(hash);
    previous.writeUInt32LE(hash);
  }
  return points;
}

/** As nginx has it in `server …;`. */
function serverName(target: Target): string {
  if (target.kind === 'device') return `device:${target.device}/${target.service}`;
  return target.kind === 'unix' ? `unix:${target.path}` : formatAddress(target);
}

function hostAndPort(server: string): [host: string, port: string] {
  if (server.startsWith('unix:')) return [server.slice(5), ''];
  const parts = /^(.*):(\d+)$/.exec(server);
  return parts ? [parts[1] ?? '', parts[2] ?? ''] : [server, ''];
}
