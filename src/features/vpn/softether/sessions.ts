// Who is on which hub: makes sessions out of proven logins, finds them by key for further connections, ends them.
import { createHash } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../../core/clock.ts';
import { type Fault, toFault } from '../../../core/fault.ts';
import type { Address, Conn, Gate, Log, Metrics, Session } from '../../../core/parts.ts';
import { type Pack, packBool, packData, packInt, packText } from '../../../wire/softether-pack.ts';
import type { Hub, PortPolicy, SecurityPolicy } from '../hub.ts';
import type { HubEntry, Hubs } from '../hubs.ts';
import type { ClientFacts, LiveMember, Place, SessionTerms } from '../live-member.ts';
import type { Member, Members } from '../members.ts';
import { Refusal } from './errors.ts';
import type { Login } from './login.ts';
import { completeSecurity } from './policy.ts';
import { MemberSession } from './session.ts';

/** Of one member, where the policy sets no limit: each may have much waiting for it. */
const mostSessions = 256;

export interface MemberSessions extends AsyncDisposable {
  /** @throws Refusal */
  open(login: Login, pack: Pack, conn: Conn): Promise<MemberSession>;
  /** A member by whatever protocol: admitted, in the register until it ends. @throws Refusal, what `make` throws */
  enter<Live extends LiveMember>(login: Login, asked: Asked, make: (place: Place) => Live): Promise<Live>;
  byKey(key: Uint8Array): MemberSession | undefined;
  /** Of one hub, oldest first. */
  list(hub: string): readonly LiveMember[];
  find(hub: string, name: string): LiveMember | undefined;
  readonly size: number;
  /** The certificate that live sessions from this address began with, as a fingerprint. */
  certificateOf(peer: Address): string | undefined;
}

interface Present {
  readonly hub: Hub;
  readonly member: Member | undefined;
  readonly security: SecurityPolicy;
}

/** Who asks to join, by which conn. */
export interface Asked {
  readonly client: ClientFacts;
  readonly from: Address;
  /** False: it has left meanwhile. */
  readonly isThere: () => boolean;
}

export interface SessionsDeps {
  readonly gate: Gate;
  readonly hubs: Pick<Hubs, 'find' | 'onChange'>;
  readonly members: Members;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export function createMemberSessions({ gate, hubs, members, clock, log, metrics }: SessionsDeps): MemberSessions {
  const live = new Set<LiveMember>();
  const byKey = new Map<string, MemberSession>();
  /** Logins that are on their way in count as well, or two at once would slip past a limit of one. */
  const entering = new Map<string, number>();
  let serial = 0;
  let connections = 0;

  const all = (): LiveMember[] => [...live];
  const list = (hub: string): LiveMember[] => all().filter(({ options }) => options.hub.name === hub);

  const securityOf = (entry: HubEntry, member: Member | undefined): SecurityPolicy => {
    const group = member && members.groups(entry.name).find(({ name }) => name === member.group);
    // A member's own policy stands for the group's, and that for the hub's: whole ones, as with SoftEther.
    return completeSecurity(member?.policy ?? group?.policy ?? entry.settings.policy ?? {});
  };

  /** The policy that a live session has by now, or why it has to end. */
  const standing = ({ options, policy }: LiveMember): PortPolicy | 'hub closed' | 'revoked' => {
    const { client, hub } = options;
    const entry = hubs.find(hub.name);
    if (!entry?.hub || entry.hub !== hub) return 'hub closed';
    const { user } = options.policy;
    const member = user === '' ? undefined : members.find(entry.name, user);
    if (user === '' ? !entry.settings.anonymous : !member || hasEnded(member)) return 'revoked';
    const security = effective(securityOf(entry, member), client);
    if (policy.monitor && !security.monitorPort) return 'revoked';
    return { ...policy, groups: member?.group ? [member.group] : [], security };
  };
  const hasEnded = ({ expires }: Member): boolean => expires !== undefined && expires <= clock.now();
  // A changed policy is the live one from the next frame on.
  const renew = (hub: string, name: string | undefined): void => {
    for (const session of list(hub)) {
      if (name !== undefined && session.options.policy.user !== name) continue;
      const now = standing(session);
      if (typeof now === 'string') void session.end(now);
      else session.setPolicy(now);
    }
  };
  const stops = [members.onChange(renew), hubs.onChange(name => renew(name, undefined))];

  const admit = async (login: Login, from: Address): Promise<Session> => {
    const { entry, who } = login;
    const { maxSessions } = entry.settings;
    try {
      return await gate.admit({
        ...{ who, action: 'vpn.join', resource: `hub/${entry.name}`, from, opened: `hub/${entry.name}` },
        ...(maxSessions > 0 ? { limits: { connections: maxSessions } } : {}),
      });
    } catch (error) {
      const fault: Fault = toFault(error);
      if (fault.code === 'limit') throw new Refusal('hub-busy', 'the hub has no free place');
      if (fault.code === 'unknown-caller' || fault.code === 'denied') throw new Refusal('denied', fault.message);
      throw error;
    }
  };

  const liveOf = (hub: string, user: string): LiveMember[] =>
    list(hub).filter(session => session.isOpen && session.options.policy.user === user);
  const isFull = (hub: string, user: string, most: number): boolean =>
    most > 0 && liveOf(hub, user).length + (entering.get(`${hub}/${user}`) ?? 0) >= most;
  /** One whose connections are all gone is most likely the same person, who comes back: it makes room. */
  const replaceIdle = async (hub: string, user: string, most: number): Promise<void> => {
    if (!isFull(hub, user, most)) return;
    await liveOf(hub, user)
      .find(({ connections }) => connections.all === 0)
      ?.end('replaced');
  };
  /** Checked and taken in one step. @throws Refusal when as many of this member are live as the policy allows */
  const takePlace = (hub: string, user: string, most: number): (() => void) => {
    if (isFull(hub, user, most))
      throw new Refusal('too-many-sessions', 'as many sessions as the policy allows are live');
    const place = `${hub}/${user}`;
    entering.set(place, (entering.get(place) ?? 0) + 1);
    return () => {
      const left = (entering.get(place) ?? 1) - 1;
      if (left > 0) entering.set(place, left);
      else entering.delete(place);
    };
  };

  /** In the register until it ends; then its closing record is written, once all its connections have said goodbye. */
  const keep = (one: LiveMember, session: Session): void => {
    const labels = { hub: one.options.hub.name };
    live.add(one);
    session.note('session', one.name);
    session.note('protocol', one.protocol);
    session.note('client', `${one.options.client.product} ${one.options.client.build}`.slice(0, 120));
    metrics.gauge('vpn_members', labels, 1);
    void one.ended.then(async why => {
      live.delete(one);
      metrics.gauge('vpn_members', labels, -1);
      session.note('cause', why);
      session.note('dropped', one.bytes.dropped);
      await one.closed();
      await session[Symbol.asyncDispose]();
    });
  };

  /**
   * The hub, the member and the policy as they are by now: who changed them while the admission was written down did not
   * find this session to change. @throws Refusal
   */
  const present = ({ entry: { name }, member: before }: Login): Present => {
    const entry = hubs.find(name);
    if (!entry?.hub) throw new Refusal('hub-stopping', 'the hub went offline');
    const member = before && members.find(name, before.name);
    if (before && (member?.id !== before.id || hasEnded(member)))
      throw new Refusal('denied', `the membership of ${before.name} has changed meanwhile`);
    if (!before && !entry.settings.anonymous) throw new Refusal('auth-failed', 'the hub lets nobody in without proof');
    return { hub: entry.hub, member, security: securityOf(entry, member) };
  };
  const place = <Live extends LiveMember>(
    { hub, member, security }: Present,
    { who }: Login,
    client: ClientFacts,
    from: Address,
    session: Session,
    make: (place: Place) => Live,
  ): Live => {
    judge(security, client);
    const user = member?.name ?? '';
    const name = `SID-${(user || 'anonymous').toUpperCase()}-${++serial}`;
    const policy: PortPolicy = {
      ...{ kind: 'member', session: name, user, who, from },
      groups: member?.group ? [member.group] : [],
      ...(client.monitor ? { monitor: true } : {}),
      security: effective(security, client),
    };
    const one = make({ ...{ name, hub, policy, session, client, clock, from }, connection: `CID-${++connections}` });
    keep(one, session);
    if (member?.expires) {
      const left = member.expires.getTime() - clock.now().getTime();
      void one.ended.then(clock.after(left, () => void one.end('expired')));
    }
    if (member) void members.loggedIn(member).catch(error => log.warn({ error }, 'a login could not be counted'));
    return one;
  };

  const enter: MemberSessions['enter'] = async (login, { client, from, isThere }, make) => {
    const { entry, member } = login;
    const security = securityOf(entry, member);
    judge(security, client);
    const user = member?.name ?? '';
    const most = member ? security.multiLogins || mostSessions : 0;
    await replaceIdle(entry.name, user, most);
    const leave = takePlace(entry.name, user, most);
    try {
      const session = await admit(login, from);
      try {
        if (!isThere()) throw new Refusal('hub-stopping', 'the client has gone');
        return place(present(login), login, client, from, session, make);
      } catch (error) {
        await session[Symbol.asyncDispose]();
        throw error;
      }
    } finally {
      leave();
    }
  };

  return {
    byKey: key => byKey.get(Buffer.from(key).toString('hex')),
    list,
    find: (hub, name) => list(hub).find(session => session.name.toLowerCase() === name.toLowerCase()),
    enter,
    get size() {
      return live.size;
    },
    certificateOf(peer) {
      if (!('host' in peer)) return undefined;
      for (const { options } of live)
        if (options.certificate && 'host' in options.from && options.from.host === peer.host)
          return options.certificate;
      return undefined;
    },

    async open(login, pack, conn) {
      const security = securityOf(login.entry, login.member);
      const asked = { client: clientOf(pack), from: conn.peer, isThere: () => conn.stream.writable };
      const session = await enter(
        login,
        asked,
        place => new MemberSession({ ...place, terms: termsOf(pack, security), certificate: shownCertificate(conn) }),
      );
      const key = session.key.toString('hex');
      byKey.set(key, session);
      void session.ended.then(() => byKey.delete(key));
      return session;
    },

    async [Symbol.asyncDispose]() {
      for (const stop of stops) stop();
      const left = all();
      await Promise.all(left.map(session => session.end('drain')));
      await Promise.all(left.map(session => session.closed()));
    },
  };
}

/** @throws Refusal for what the policy keeps from this client */
function judge(security: SecurityPolicy, { monitor, bridge }: ClientFacts): void {
  if (!security.access) throw new Refusal('denied', 'the policy does not let this member in');
  if (monitor && !security.monitorPort) throw new Refusal('monitor-denied', 'monitoring is not allowed');
  if (bridge && security.noBridge && security.noRouting) throw new Refusal('bridge-denied', 'bridging is not allowed');
}

/** Who does not ask for bridging gets one computer's worth of it, as with SoftEther. */
const effective = (security: SecurityPolicy, { bridge }: ClientFacts): SecurityPolicy =>
  bridge ? security : { ...security, noBridge: true, noRouting: true };

/** What the client wishes, within what the policy and we allow. */
function termsOf(pack: Pack, security: SecurityPolicy): SessionTerms {
  const half = packBool(pack, 'half_connection');
  const wished = Math.max(1, Math.min(packInt(pack, 'max_connection'), security.maxConnection, 32));
  const qos = packBool(pack, 'qos') && !security.noQos;
  const least = qos ? (half ? 4 : 2) : half ? 2 : 1;
  return {
    timeout: security.timeOut * 1000,
    connections: Math.max(wished, least),
    ...{ half, qos, compress: packBool(pack, 'use_compress') },
  };
}

function clientOf(pack: Pack): ClientFacts {
  const product = packText(pack, 'client_str').slice(0, 200);
  const uniqueId = packData(pack, 'UniqueId');
  return {
    product,
    version: packInt(pack, 'client_ver'),
    build: packInt(pack, 'client_build'),
    hostname: packText(pack, 'ClientHostname').slice(0, 200),
    os: `${packText(pack, 'ClientOsName')} ${packText(pack, 'ClientOsVer')}`.slice(0, 200).trim(),
    uniqueId: uniqueId?.length === 16 ? Buffer.from(uniqueId) : Buffer.alloc(16),
    // A server or bridge that cascades always bridges.
    bridge: packBool(pack, 'require_bridge_routing_mode') || /server|bridge/i.test(product),
    monitor: packBool(pack, 'require_monitor_mode'),
  };
}

/** Of the certificate that this conn was shown. */
export function shownCertificate({ stream }: Conn): string | undefined {
  const own = (stream as Partial<TLSSocket>).getCertificate?.();
  if (!own || !('raw' in own) || !own.raw) return undefined;
  return createHash('sha256').update(own.raw).digest('hex');
}
