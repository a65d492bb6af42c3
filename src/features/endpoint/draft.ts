// A request for an endpoint becomes a draft of one: what is not said is filled in, what contradicts itself is refused.
import { randomInt } from 'node:crypto';
import { formatAddress } from '../../core/address.ts';
import { Fault } from '../../core/fault.ts';
import type { Address, Principal } from '../../core/parts.ts';
import { parseCidr } from '../../wire/cidr.ts';
import type { EndpointConfig } from './config.ts';
import type { Asker, EndpointDeps, OpenRequest } from './deps.ts';
import type { Endpoint, EndpointLimits, EndpointTls as EndpointTlsKind, Owner } from './endpoint.ts';
import { wantedLife } from './lifetime.ts';
import { insideOf } from './sources.ts';
import { parseEndpointTarget, resourcesOf } from './target.ts';

export interface DraftDeps extends Pick<EndpointDeps, 'findDevice' | 'branch' | 'domain' | 'decide' | 'tls'> {
  readonly config: EndpointConfig;
  /** Unix milliseconds. */
  readonly now: number;
}

const usualLimits = {
  latch: false,
  once: false,
  idle: 0,
  rate: 0,
  perMinute: 0,
  certificate: false,
  users: [],
  signIn: false,
  drain: false,
} as const satisfies Partial<EndpointLimits>;

/** What is asked for, checked as far as it can be without the policy. @throws Fault `invalid` */
export function draftEndpoint(request: OpenRequest, { who, from }: Asker, deps: DraftDeps): Endpoint {
  const { config, now } = deps;
  const target = parseEndpointTarget(request.target);
  const found = target.kind === 'device' ? deps.findDevice(target.device) : undefined;
  const service = target.kind === 'device' ? found?.service(target.service) : undefined;
  // An alias or a port number becomes the name that rules and records speak of.
  const named =
    target.kind === 'device' && found ? { ...target, device: found.name, service: service ?? target.service } : target;
  const url = named.kind === 'device' ? `device://${named.device}/${named.service}` : request.target;
  const sources = [...new Set(request.from ?? ownAddress(from))].map(checkedNetwork);
  checkSources(sources, config.sources);
  const domain = deps.branch ? deps.domain() : undefined;
  const wantsPort = request.port ?? true;
  const asked = request.tls ?? 'none';
  const wantsName = request.name ?? (asked !== 'none' && domain !== undefined);
  // A name alone is told by SNI, so there is TLS in any case.
  const tls = asked === 'none' && wantsName && !wantsPort ? 'end' : asked;
  const limits: EndpointLimits = {
    ...usualLimits,
    connections: config.limits.connections,
    ...withoutUndefined(request.limits ?? {}),
    sources,
  };
  const canEndTls = deps.tls.own().length > 0;
  checkTogether({ tls, wantsName, wantsPort, domain, canEndTls, limits });
  const id = newId();
  const resources = resourcesOf(named);
  const base = {
    id,
    created: now,
    wanted: wantedLife(request.for, { usual: config.lifetime.default, most: config.lifetime.max }),
    owner: ownerOf(who, from),
    reason: (request.reason ?? '').slice(0, 500),
    target: url,
  };
  const asks = { for: base.wanted, from: sources, ...(base.reason === '' ? {} : { reason: base.reason }) };
  // A rule may speak of the device or of one of its services.
  const resource =
    resources.find(each => deps.decide({ who, action: 'endpoint.open', resource: each, from, asks }).allow !== false) ??
    resources[0];
  return {
    ...base,
    state: 'waiting',
    opened: undefined,
    until: now,
    ended: undefined,
    cause: undefined,
    resource,
    tls,
    port: wantsPort ? 'wanted' : undefined,
    name: wantsName ? `${id}.${domain}` : undefined,
    limits,
    latched: undefined,
    used: false,
    approval: undefined,
    session: undefined,
    napter: request.napter,
  };
}

function checkSources(sources: readonly string[], widest: readonly string[] | undefined): void {
  if (!widest) return;
  const outside = sources.find(source => !widest.some(network => insideOf(parseCidr(source), parseCidr(network))));
  if (outside !== undefined) {
    throw new Fault('invalid', `${outside} is wider than endpoint.sources allows: ${widest.join(', ')}`);
  }
}

/** Without letters and digits that look alike; a DNS label, and nobody guesses 59 bits. */
const letters = '23456789abcdefghjkmnpqrstuvwxyz';
const newId = (): string => Array.from({ length: 12 }, () => letters[randomInt(letters.length)]).join('');

const ownerOf = ({ kind, id, credential, groups }: Principal, from: Address): Owner => ({
  kind,
  id,
  credential,
  groups: id === '' ? groups : [],
  from: formatAddress(from),
});

/** The asker's own; whoever asks on the gate's own machine is on the gate's own machine. */
function ownAddress(from: Address): readonly string[] {
  if (!('host' in from)) return ['127.0.0.1/32', '::1/128'];
  return [from.host.replace(/%.*$/, '')];
}

/** With its prefix, so that everybody reads it alike. @throws Fault `invalid` */
function checkedNetwork(text: string): string {
  const { family, bits } = parseCidr(text);
  return text.includes('/') ? text : `${text}/${family === 4 ? Math.min(bits, 32) : bits}`;
}

interface Wishes {
  readonly tls: EndpointTlsKind;
  readonly wantsName: boolean;
  readonly wantsPort: boolean;
  readonly domain: string | undefined;
  readonly canEndTls: boolean;
  readonly limits: EndpointLimits;
}

/** @throws Fault `invalid` for wishes that contradict each other */
function checkTogether({ tls, wantsName, wantsPort, domain, canEndTls, limits }: Wishes): void {
  const against: readonly (readonly [boolean, string])[] = [
    [limits.sources.length === 0, 'from: an endpoint needs at least one address or network that may come'],
    [limits.sources.length > 64, 'from: 64 networks at most'],
    [!wantsName && !wantsPort, 'an endpoint needs a way in: a port, a name, or both'],
    [wantsName && domain === undefined, 'a host name needs a gate port; this gate has none'],
    [
      tls === 'end' && wantsPort && !canEndTls,
      'TLS on a port shows the gate’s own certificate; this file has no gate: block',
    ],
    [
      limits.certificate && tls === 'pass',
      'a client certificate is asked for where TLS ends; it cannot be passed through as well',
    ],
    [limits.certificate && tls === 'none' && wantsPort, 'a client certificate needs TLS on the port as well'],
    [
      limits.users.length > 0 && !limits.certificate && !limits.signIn,
      'users: how would they show who they are? Ask for a certificate or a sign-in',
    ],
  ];
  for (const [isSo, text] of against) if (isSo) throw new Fault('invalid', text);
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never;
}
