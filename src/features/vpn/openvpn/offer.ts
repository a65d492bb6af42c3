// What a client can and wants, of its options and of what it tells of itself; and what is not spoken here, in a sentence.
import { type KeyExchange, parseOptions } from '../../../wire/openvpn-keys.ts';
import type { ClientFacts } from '../live-member.ts';
import { Refusal } from '../softether/errors.ts';
import { chooseCipher, type DataCipher } from './data-key.ts';
import type { Link } from './member.ts';
import { abilities } from './push.ts';

export interface Offer {
  readonly kind: 'tun' | 'tap';
  readonly cipher: DataCipher;
  readonly keyExport: boolean;
  /** The settings are sent without being asked for. */
  readonly asksAtOnce: boolean;
  /** What we name the client by in packets; absent = it does not know V2. */
  readonly peerId: number | undefined;
  /** The largest MTU that it can be told; 0 = none. */
  readonly mtu: number;
  readonly client: ClientFacts;
}

/** @throws Refusal `not-supported` with what to take out of the profile */
export function readOffer({ options: text, peer }: KeyExchange, link: Link): Offer {
  const options = parseOptions(text);
  const kind = options.get('dev-type') ?? 'tun';
  const no = (what: string): never => {
    throw new Refusal('not-supported', what);
  };
  if (kind !== 'tun' && kind !== 'tap') no('only dev tun and dev tap are spoken here');
  if (options.has('comp-lzo')) no('compression is not spoken here; take comp-lzo and compress out of the profile');
  if (options.has('mtu-dynamic')) no('fragments are not spoken here; take fragment out of the profile');
  const cipher = chooseCipher(ciphersOf(peer, options));
  if (!cipher) no('no cipher in common; the gate has AES-256-GCM and AES-128-GCM and CHACHA20-POLY1305');
  const proto = Number.parseInt(peer.get('IV_PROTO') ?? '', 10) || 0;
  const can = (ability: number): boolean => (proto & ability) !== 0;
  return {
    ...{ kind: kind as Offer['kind'], cipher: cipher as DataCipher },
    keyExport: can(abilities.keyExport),
    asksAtOnce: can(abilities.wantsPush),
    peerId: can(abilities.dataV2) ? (link.peerId ?? 0) : undefined,
    mtu: Number.parseInt(peer.get('IV_MTU') ?? '', 10) || 0,
    client: clientOf(peer),
  };
}

/** 2.5 and later name them; 2.4 says that it knows GCM; before that there is the one of its configuration. */
function ciphersOf(peer: ReadonlyMap<string, string>, options: ReadonlyMap<string, string>): readonly string[] {
  const named = peer.get('IV_CIPHERS');
  if (named !== undefined) return named.split(':');
  if (peer.get('IV_NCP') === '2') return ['AES-256-GCM', 'AES-128-GCM'];
  return [options.get('cipher') ?? ''];
}

function clientOf(peer: ReadonlyMap<string, string>): ClientFacts {
  const version = peer.get('IV_VER') ?? '';
  const [, major = '0', minor = '0', patch = '0'] = /^(\d{1,3})\.(\d{1,3})(?:[._](\d{1,4}))?/.exec(version) ?? [];
  return {
    product: `OpenVPN ${peer.get('IV_GUI_VER') ?? ''}`.trim(),
    version: Number(major) * 100 + Number(minor),
    build: Number(patch),
    hostname: (peer.get('UV_HOSTNAME') ?? '').slice(0, 200),
    os: `${peer.get('IV_PLAT') ?? ''} ${peer.get('IV_PLAT_VER') ?? ''}`.trim().slice(0, 200),
    uniqueId: Buffer.alloc(16),
    bridge: false,
    monitor: false,
  };
}
