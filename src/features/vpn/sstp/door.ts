// A conn that speaks SSTP, from its request on: which hub and member, by what proof, and the session that follows.
import { timingSafeEqual } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { Fault } from '../../../core/fault.ts';
import type { Conn, Log, Metrics, Principal } from '../../../core/parts.ts';
import { peek } from '../../../net/peek.ts';
import { authenticatorResponse, ntResponse, sessionKeys } from '../../../wire/mschap.ts';
import type { VpnDeps } from '../deps.ts';
import type { Hubs } from '../hubs.ts';
import type { ClientFacts, SessionTerms } from '../live-member.ts';
import type { Member } from '../members.ts';
import type { RoutedMacs } from '../routed/routed-macs.ts';
import { refuse } from '../softether/door.ts';
import { Refusal } from '../softether/errors.ts';
import { type Login, type LoginDeps, proveMember, provePlain } from '../softether/login.ts';
import type { MemberSessions } from '../softether/sessions.ts';
import type { Shown, Verdict } from './authentication.ts';
import { type Admission, SstpCall } from './call.ts';
import { accepted, mostHead, parseSstpRequest, refusedWith } from './request.ts';
import { type Carrier, SstpSession } from './session.ts';
import { hashedName, memberOf } from './user-name.ts';

export interface SstpDeps extends LoginDeps {
  readonly gate: VpnDeps['gate'];
  readonly hubs: Hubs;
  readonly sessions: MemberSessions;
  readonly macs: RoutedMacs;
  /** Ends calls that are not sessions yet. */
  readonly closing: AbortSignal;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Milliseconds for the request. */
const patience = 15_000;
const terms: SessionTerms = { timeout: 120_000, connections: 1, half: false, compress: false, qos: false };

export const speaksSstp = (hubs: Hubs): boolean => hubs.list().some(({ settings }) => settings.sstp);

/** Serves one conn to its end. Throws what the gate's door logs: a `protocol` Fault, weather. */
export async function serveSstp(conn: Conn, deps: SstpDeps): Promise<void> {
  const { stream } = conn;
  const signal = AbortSignal.timeout(patience);
  const { wrong } = await peek(stream, parseSstpRequest, { limit: mostHead, signal, used: ({ used }) => used });
  const certificate = ownCertificate(conn);
  if (wrong !== undefined || !certificate) return void stream.write(refusedWith(wrong ?? '503 Service Unavailable'));
  stream.write(accepted(deps.clock.now()));
  const { clock, log, closing } = deps;
  const call = new SstpCall({
    ...{ conn, certificate, clock, log },
    admit: (shown, carrier) => admit(shown, carrier, conn, deps),
  });
  const close = (): void => void call.finish('drain');
  closing.addEventListener('abort', close, { once: true });
  try {
    await call.run();
  } finally {
    closing.removeEventListener('abort', close);
  }
}

async function admit(shown: Shown, carrier: Carrier, conn: Conn, deps: SstpDeps): Promise<Admission> {
  const { hubs, sessions, macs, log } = deps;
  const from = conn.peer;
  const open = hubs.list().filter(({ settings }) => settings.sstp);
  const said = shown.name.toString('utf8');
  // A hub that cannot be named is one that does not exist: guessing is limited all the same.
  const { hub, user } = memberOf(
    said,
    open.map(({ name }) => name),
  ) ?? { hub: '', user: said };
  const only = { find: (name: string) => open.find(one => one.name.toLowerCase() === name.toLowerCase()) };
  try {
    const found: { key?: Buffer; shown?: string } = {};
    const login = await proveMember({ hub, name: user, from }, { ...deps, hubs: only }, async member => {
      const proof = await prove(shown, user, member, conn, deps);
      Object.assign(found, proof);
      return proof?.who;
    });
    const session = await sessions.enter(
      login,
      { client: clientOf(shown), from, isThere: () => conn.stream.writable },
      place =>
        new SstpSession({
          ...{ ...place, terms, carrier, certificate: undefined },
          mac: macs.take(login.entry.name, userOf(login)),
        }),
    );
    const { key = Buffer.alloc(32), shown: answer } = found;
    return { session, verdict: { ok: true, key, ...(answer === undefined ? {} : { shown: answer }) } };
  } catch (error) {
    if (error instanceof Refusal) refuse(error, from, hub, 'SSTP', deps);
    else if (error instanceof Fault && error.code !== 'bug') log.info({ from, code: error.code }, error.message);
    else log.error({ from, error }, 'an SSTP login failed');
    return { verdict: refused(error) };
  }
}

const userOf = ({ member }: Login): string => member?.name ?? '';
const wrongProof = new Set(['auth-failed', 'no-such-hub', 'old-password-wrong']);
const refused = (error: unknown): Verdict => ({
  ok: false,
  code: error instanceof Refusal && wrongProof.has(error.code) ? 691 : 649,
});

interface Proof {
  readonly who: Principal;
  readonly key: Buffer;
  readonly shown?: string;
}

async function prove(
  shown: Shown,
  name: string,
  member: Member | undefined,
  { peer }: Conn,
  deps: SstpDeps,
): Promise<Proof | undefined> {
  const { members, log } = deps;
  if (shown.method === 'pap') {
    const password = shown.password.toString('utf8');
    const asked = { from: peer, name, member, signal: AbortSignal.timeout(patience) };
    const who = await provePlain(password, asked, deps);
    // PAP makes no key: zeros, as both sides know ([MS-SSTP] §3.2.5.2).
    return who && { who, key: Buffer.alloc(32) };
  }
  const kept = member && members.ntHash(member);
  if (member && !kept)
    log.warn(
      { hub: member.hub, user: member.name },
      `${member.name} cannot prove a password by MS-CHAPv2: its form is not kept; set the password again (sekisho vpn user set ${member.hub}/${member.name} --password-stdin), or let the client use PAP`,
    );
  const exchange = {
    ...{ challenge: shown.challenge, peerChallenge: shown.peerChallenge, name: hashedName(shown.name) },
  };
  // Who has no such form is compared with one that nothing fits.
  const fits = timingSafeEqual(ntResponse(kept ?? noForm, exchange), shown.ntResponse);
  if (!member || !kept || !fits) return undefined;
  const { send, receive } = sessionKeys(kept, shown.ntResponse);
  return {
    who: members.principal(member),
    key: Buffer.concat([send, receive]),
    shown: authenticatorResponse(kept, shown.ntResponse, exchange),
  };
}
const noForm = Buffer.alloc(16, 0xa5);

const clientOf = ({ method }: Shown): ClientFacts => ({
  ...{ product: `SSTP (${method === 'pap' ? 'PAP' : 'MS-CHAPv2'})`, version: 0, build: 0, hostname: '', os: '' },
  ...{ uniqueId: Buffer.alloc(16), bridge: false, monitor: false },
});

/** What this conn was shown: the client binds its proof to it. */
function ownCertificate({ stream }: Conn): Buffer | undefined {
  const own = (stream as Partial<TLSSocket>).getCertificate?.();
  return own && 'raw' in own && own.raw ? own.raw : undefined;
}
