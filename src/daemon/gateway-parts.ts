// Small pieces that the composition in gateway.ts is held together with.
import type { ListenAddress } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Listener, Log } from '../core/parts.ts';
import type { TunnelService } from '../features/tunnel/index.ts';
import {
  type Authority,
  type Bound,
  type CertificateChecker,
  type ClientTrust,
  certificateChecker,
  type Directory,
  type Gone,
} from '../trust/index.ts';
import type { GateTls } from './gate-door.ts';
import type { Plan } from './plan.ts';
import { sitesTls } from './sites-plan.ts';

/** The root comes along, for who pins it. */
export function gateTls({ gate, trust, web, webIdentities, sites }: Plan, root: string): GateTls {
  const identities = (gate?.identities ?? []).map(({ cert, key }) => ({
    key,
    cert: cert.includes(root.trim()) ? cert : `${cert}${root}`,
  }));
  const proxy = web.forward ? { proxy: { name: web.forward.name, identities: webIdentities } } : {};
  const ciphers = gate?.ciphers;
  return { identities, trust, ciphers, ...proxy, ...(sites ? { sites: sitesTls(sites, trust, ciphers) } : {}) };
}

/** A certificate is of use only to somebody who exists: `cert issue staff01` on a new gate makes the user as well. */
export function knowingUsers(authority: Authority, directory: Pick<Directory, 'ensure'>): Authority {
  // The certificate first: an order that is refused must not leave a user behind. Until the user is there it opens nothing.
  const forUser = async <T extends { readonly serial: string }>(user: string | undefined, made: T): Promise<T> => {
    try {
      if (user !== undefined) await directory.ensure({ name: user });
      return made;
    } catch (error) {
      await authority.revoke(made.serial); // whoever gets this name later must not have it
      throw error;
    }
  };
  return {
    ...authority,
    issueClient: async request => forUser(newcomer(request), await authority.issueClient(request)),
    signCsr: async request => forUser(newcomer(request), await authority.signCsr(request)),
  };
}

/** A renewal is for somebody who is there: whoever was removed meanwhile is not brought back by it. */
const newcomer = ({ user, replaces }: Bound): string | undefined => (replaces === undefined ? user : undefined);

/** The checker of the trust that counts now, made once a trust. */
export function latestChecker(trust: () => ClientTrust): () => CertificateChecker {
  let made: { readonly of: ClientTrust; readonly checker: CertificateChecker } | undefined;
  return () => {
    const of = trust();
    if (made?.of !== of) made = { of, checker: certificateChecker(of) };
    return made.checker;
  };
}

const year = 365 * 86_400_000;

/** While there is time to act without haste; a year later it would be an outage. */
export function caWarnings(authority: Pick<Authority, 'rotation'>, now: Date): string[] {
  const { stage, ends, former } = authority.rotation();
  const soon = (end: Date, within: number): boolean => end.getTime() - now.getTime() < within;
  const day = (date: Date): string => date.toISOString().slice(0, 10);
  return [
    ...(soon(ends.root, 1.5 * year) && stage === 'steady'
      ? [`the gate's root CA ends on ${day(ends.root)}; roll the next one out with: sekisho cert rotate`]
      : []),
    ...(soon(ends.issuing, year / 2) && !soon(ends.root, 1.5 * year)
      ? [
          `the issuing CA ends on ${day(ends.issuing)}; restart the gate, with ca/root.key in place, so that it makes the next`,
        ]
      : []),
    ...(stage === 'prepared' ? ['the next root CA is prepared and does not issue yet; see: sekisho cert rotate'] : []),
    ...(stage === 'switched'
      ? [`the former root CA still counts, for ${former.length} certificates; see: sekisho cert rotate`]
      : []),
  ];
}

/** A tunnel's tokens are its own, so who opened it, and the device that it leads to, end it here. */
export async function closeTunnelsOf({ kind, names }: Gone, service: TunnelService, log: Log): Promise<void> {
  for (const { id, state, opener, thing } of service.list()) {
    const of = kind === 'user' ? opener : thing;
    if (state !== 'open' || of === undefined || !names.includes(of)) continue;
    await service.close(id).catch((error: unknown) => log.error({ error, tunnel: id }, 'a tunnel could not be closed'));
  }
}

export const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise(done => signal.addEventListener('abort', () => done(), { once: true }));

/** Aborts some time after the other. */
export function after(signal: AbortSignal, ms: number, clock: Clock): AbortSignal {
  const later = new AbortController();
  const arm = (): void => void clock.after(ms, () => later.abort('drain'));
  if (signal.aborted) arm();
  else signal.addEventListener('abort', arm, { once: true });
  return later.signal;
}

/** Where port 0 was asked for, the one that it became is what people need. */
export function reallyAt(address: ListenAddress, { address: real }: Listener): ListenAddress {
  return 'port' in address && 'port' in real ? { ...address, port: real.port } : address;
}

export async function inOrder<T, R>(items: readonly T[], step: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await step(item));
  return results;
}

/** What nobody asked for, in the audit. */
export const lifeEvent = (event: string, facts: Record<string, unknown>) =>
  ({ event, who: { kind: 'node', id: 'gate', credential: '' }, resource: 'api/gate', outcome: 'done', facts }) as const;

/** Gives each descriptor once: a listener that is closed takes it along. */
export function once(socketFor: (address: ListenAddress) => number | undefined): typeof socketFor {
  const taken = new Set<number>();
  return address => {
    const fd = socketFor(address);
    if (fd === undefined || taken.has(fd)) return undefined;
    taken.add(fd);
    return fd;
  };
}
