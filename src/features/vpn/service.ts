// The room as one part: hubs, members, sessions, administration; and SoftEther's protocol on any conn it is handed.
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Address, Conn, Service } from '../../core/parts.ts';
import { peek } from '../../net/peek.ts';
import { type Administration, openAdministration } from './admin.ts';
import type { VpnDeps } from './deps.ts';
import { type Hubs, openHubs } from './hubs.ts';
import type { LiveMember } from './live-member.ts';
import { type Members, openMembers } from './members.ts';
import { type OpenVpn, type OpenVpnPlan, openOpenVpn } from './openvpn/service.ts';
import { RoutedMacs } from './routed/routed-macs.ts';
import { openRouters, type RouterPlans } from './routers.ts';
import { admitAdministrator } from './rpc/session.ts';
import type { HubSettings } from './settings.ts';
import { serveSoftEther } from './softether/door.ts';
import { createMemberSessions, type MemberSessions } from './softether/sessions.ts';
import { claimsSoftEther } from './softether/signature.ts';
import { serveSstp, speaksSstp } from './sstp/door.ts';
import { claimsSstp } from './sstp/request.ts';
import { openVpnStore } from './store.ts';

/** What the file says of the room, checked. */
export interface VpnPlan {
  readonly hubs: Readonly<Record<string, HubSettings>>;
  readonly routers: RouterPlans;
  readonly adminFrom: readonly string[];
  /** Absent: OpenVPN is not spoken. */
  readonly openvpn?: OpenVpnPlan;
  /** What works and is weak, with the key's path before it. */
  readonly warnings: readonly string[];
}

export interface VpnService extends Service {
  readonly hubs: Hubs;
  readonly members: Members;
  readonly sessions: MemberSessions;
  readonly administration: Administration;
  /** Where it is spoken. */
  readonly openvpn: OpenVpn | undefined;
  /** Whether a conn that speaks SoftEther is worth listening to: there is a hub, or an administrator. */
  readonly isOpen: boolean;
  /** Whether the first bytes within TLS are those of a protocol by which members join. */
  claims(bytes: Uint8Array): boolean | 'more';
  /** Speaks SoftEther, or SSTP, on a conn whose TLS stands, to its end. */
  serve(conn: Conn): Promise<void>;
  /** Hubs and administration of the file as they are now. */
  replace(plan: VpnPlan): Promise<void>;
  /** Ends one session by name. @throws Fault `missing` */
  disconnect(hub: string, name: string): Promise<LiveMember>;
  certificateOf(peer: Address): string | undefined;
  /** Puts all members out, properly: they never leave by themselves, and come back to the next gate in a few seconds. */
  drain(): Promise<void>;
  /** What is weak, in sentences. */
  warnings(): readonly string[];
}

export async function openVpn(plan: VpnPlan, deps: VpnDeps): Promise<VpnService> {
  const { gate, log, metrics } = deps;
  const clock: Clock = deps.clock;
  const since = clock.now();
  const store = await openVpnStore(deps.store);
  const members: Members = openMembers(store, deps, name => hubs.find(name)?.settings.sstp === true);
  const hubs: Hubs = await openHubs(store, plan.hubs, deps);
  const routers = openRouters(plan.routers, hubs, { clock, log });
  const sessions = createMemberSessions({ gate, hubs, members, clock, log, metrics });
  const administration = openAdministration(store, plan.adminFrom, deps);
  const macs = new RoutedMacs();
  const openvpn = plan.openvpn && openOpenVpn(plan.openvpn, { ...deps, hubs, members, sessions, macs });
  const closing = new AbortController();
  const isSstp = async ({ stream }: Conn): Promise<boolean> =>
    speaksSstp(hubs) && (await peek(stream, claimsSstp, { limit: 64, signal: AbortSignal.timeout(15_000) }));
  const speakSoftEther = (conn: Conn): Promise<void> =>
    serveSoftEther(conn, {
      ...deps,
      ...{ hubs, members, sessions },
      listed: () =>
        hubs
          .list()
          .filter(({ settings }) => settings.listing && settings.online)
          .map(({ name }) => name),
      admin: async ({ random }, pack, admin) =>
        admitAdministrator(await administration.prove(pack, random, admin.peer), admin, { ...deps, service, since }),
      facts: { product: `Sekisho ${deps.facts.version}` },
    });
  const service: VpnService = {
    name: 'vpn',
    ...{ hubs, members, sessions, administration, openvpn },
    health: () => 'ok',
    get isOpen() {
      return hubs.list().length > 0 || administration.isOn;
    },
    claims(bytes) {
      const asSstp = speaksSstp(hubs) && claimsSstp(bytes);
      return asSstp === true ? true : claimsSoftEther(bytes) || asSstp;
    },
    async serve(conn) {
      if (!(await isSstp(conn))) return speakSoftEther(conn);
      await serveSstp(conn, { ...deps, hubs, members, sessions, macs, closing: closing.signal });
    },
    async replace(next) {
      administration.setFrom(next.adminFrom);
      await hubs.adopt(next.hubs);
      routers.replace(next.routers);
    },
    async disconnect(hub, name) {
      const session = sessions.find(hubs.get(hub).name, name);
      if (!session) throw new Fault('missing', `there is no session "${name}" on the hub ${hub}`);
      await session.end('closed');
      return session;
    },
    certificateOf: peer => sessions.certificateOf(peer),
    async drain() {
      closing.abort();
      await openvpn?.[Symbol.asyncDispose]();
      await sessions[Symbol.asyncDispose]();
    },
    warnings() {
      const forms = members.countSoftEtherForms();
      const ntForms = members.countNtForms();
      return [
        ...(forms === 0
          ? []
          : [
              `vpn: ${forms} member${forms === 1 ? ' has' : 's have'} the password form that SoftEther's client asks for: it is kept encrypted, and whoever reads it with secrets.key can join; --plain-only keeps a modern hash instead`,
            ]),
        ...(ntForms === 0
          ? []
          : [
              `vpn: of ${ntForms} member${ntForms === 1 ? '' : 's'} the NT hash is kept as well, encrypted, for Windows' client (sstp): it is as good as the password, there and wherever else Windows takes it`,
            ]),
        ...hubs
          .list()
          .filter(({ settings }) => settings.anonymous)
          .map(({ name }) => `vpn: the hub ${name} lets anybody in who knows its name (anonymous)`),
        ...(administration.isOn && administration.from.some(network => /\/0$/.test(network))
          ? ['vpn: administration by vpncmd is open to every address (vpn.admin.from)']
          : []),
      ];
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await openvpn?.[Symbol.asyncDispose]();
      await sessions[Symbol.asyncDispose]();
      await routers[Symbol.asyncDispose]();
      await hubs[Symbol.asyncDispose]();
    },
  };
  return service;
}
