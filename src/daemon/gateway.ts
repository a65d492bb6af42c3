// A configuration becomes a running gate: every room is opened in order, introduced to the others, and closed in reverse.
import { join } from 'node:path';
import { createApprovals, createGate, createSessions } from '../access/index.ts';
import { createApi, cutWeak, type House, type HttpDoor } from '../api/index.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Address, Log, Principal } from '../core/parts.ts';
import { formatAccessLine } from '../features/proxy/index.ts';
import type { VpnService } from '../features/vpn/index.ts';
import { formatWebLine, type SitesService, type WebService } from '../features/web/index.ts';
import { listenUnix } from '../net/unix.ts';
import { createAuthenticator, createLimiter, openEnrolments, openPasskeys } from '../trust/index.ts';
import { openAppendFile } from './append-file.ts';
import { backupOf } from './backup-files.ts';
import { type CertificateReading, openCertificates } from './certificate-source.ts';
import { alsoWeak, type CheckReport } from './check.ts';
import { checkConfig } from './check-config.ts';
import type { Config } from './config.ts';
import type { ConfigFile } from './config-file.ts';
import { consoleDoor } from './console-files.ts';
import { openDataDir } from './data-dir.ts';
import { type DevicePlane, openDevicePlane } from './device-plane.ts';
import { type EndpointPlane, endpointDevices, openEndpointPlane } from './endpoint-plane.ts';
import { expiryWarnings, watchExpiry } from './expiry.ts';
import { type GateDoor, openGateDoor, type Tenant } from './gate-door.ts';
import { gateHttp, metricsHttp } from './gate-http.ts';
import { firstLink, openFloor } from './gateway-floor.ts';
import {
  aborted,
  after,
  caWarnings,
  closeTunnelsOf,
  gateTls,
  inOrder,
  knowingUsers,
  latestChecker,
  lifeEvent,
  once,
} from './gateway-parts.ts';
import { createLiveCertificates } from './live-certificates.ts';
import { createLog } from './log.ts';
import { createMetrics } from './metrics.ts';
import { openNotifyPlane } from './notify-plane.ts';
import { oidcPlane } from './oidc-plane.ts';
import { type OpenVpnPorts, openOpenVpnPorts, openVpnRaw } from './openvpn-plane.ts';
import { createOwnListeners, type OwnListeners } from './own-listeners.ts';
import { accessPlace, logPlace, namesOf, originOf, version } from './places.ts';
import { type Answerer, servePlainHttp } from './plain-http.ts';
import { type Plan, planConfig } from './plan.ts';
import { openProxyPlane, type ProxyPlane } from './proxy-plane.ts';
import { createRead } from './read.ts';
import type { ReloadReport } from './reload.ts';
import { createReloader } from './reloader.ts';
import { keepRetention } from './retention.ts';
import { openSignInPlane, type SignInPlane } from './sign-in-plane.ts';
import { openSitesPlane } from './sites-plane.ts';
import { inheritedSockets, listenAt } from './sockets.ts';
import type { PassedSocket } from './systemd.ts';
import { openTunnelPlane, type TunnelPlane } from './tunnel-plane.ts';
import { openVpnPlane, serveVpnPorts, vpnTenant } from './vpn-plane.ts';
import { openWebPlane, routeAddresses } from './web-plane.ts';
import { workerCount } from './workers.ts';

export interface GatewayOptions {
  readonly file: ConfigFile;
  /** The data folder, absolute. */
  readonly data: string;
  /** Reads the file anew; without it a reload has nothing to read. */
  readonly readAgain?: () => Promise<ConfigFile>;
  /** Called with every file that the configuration names, as it is read. */
  readonly seen?: (path: string) => void;
  /** Sockets that systemd opened. */
  readonly passed?: readonly PassedSocket[];
  readonly clock?: Clock;
  /** Instead of `gate.workers`; 0 = everything in this process. */
  readonly workers?: number;
  /** Receives log lines instead of stderr or `log.file`, for tests. */
  readonly write?: (line: string) => void;
}

export interface Gateway extends AsyncDisposable {
  readonly log: Log;
  /** What is open, as `status` shows it. */
  listeners(): ReturnType<House['listeners']>;
  routes(): ReturnType<ProxyPlane['states']>;
  warnings(): readonly string[];
  /** By difference; a bad file changes nothing. @throws Fault `invalid` saying why */
  reload(): Promise<ReloadReport>;
  check(): Promise<CheckReport>;
  /**
   * A one-time link into the console for the first administrator, while no administrator can sign in otherwise; made anew
   * at each call, valid once and for 15 minutes.
   */
  firstLink(): Promise<string | undefined>;
  /** Log files anew (SIGUSR1). */
  reopenLogs(): Promise<void>;
  /** Process ids of workers. */
  workers(): readonly number[];
  /** Stops accepting and waits for what is carried; what is left at the deadline is cut. */
  drain(deadline: AbortSignal): Promise<void>;
}

const isTunnelToken = ({ kind, credential }: Principal): boolean =>
  kind === 'token' && credential.startsWith('tunnel:');

/** How long what is carried may go on after SIGTERM, where the file says nothing. */
const defaultDrain = 30_000;
/** How long sessions may take to end after that. */
const farewell = 3000;
export const drainTime = (config: Config): number => config.gate?.drain ?? defaultDrain;

/**
 * Opens everything, or nothing: when one part cannot be opened those before it are closed again.
 * @throws Fault saying what and where
 */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const { file, data, passed = [], clock = systemClock } = options;
  const { config } = file;
  const since = clock.now();
  await using stack = new AsyncDisposableStack();
  stack.use(openDataDir(data));
  const log = createLog({ ...logPlace(file), ...(options.write ? { write: options.write } : {}) });
  stack.defer(() => log.close());
  const room = (name: string): Log => log.child({ room: name });
  const metrics = createMetrics({ process: true });

  // What is kept, and who counts.
  const floor = stack.use(await openFloor({ file, data, clock, metrics, room }));
  const { store, audit, authority, registry, directory } = floor;

  // What is decided.
  const live = createLiveCertificates();
  const sessions = createSessions();
  const approvals = createApprovals({ store, audit, clock, log: room('access') });
  let current: { file: ConfigFile; plan: Plan };
  let tunnels: TunnelPlane | undefined;
  const gate = createGate({
    ...{ audit, sessions, approvals, clock, metrics, log: room('access') },
    policy: () => current.plan.policy,
    standing: who => (isTunnelToken(who) && tunnels ? tunnels.service.standing(who) : directory.standing(who)),
  });
  stack.defer(directory.onRevoked(credential => void sessions.cutBy(({ who }) => who.credential === credential)));
  stack.defer(directory.onLess(user => gate.recheck(user)));
  stack.defer(
    directory.onGone(gone => {
      sessions.cutBy(({ who }) => who.kind === gone.kind && gone.names.includes(who.id));
      if (tunnels) void closeTunnelsOf(gone, tunnels.service, room('tunnel'));
    }),
  );

  // What is to be opened.
  let plane: ProxyPlane | undefined;
  const certificates = stack.use(
    openCertificates({
      ...{ authority, clock, dir: data, log: room('trust') },
      challenge: (host, identity) => plane?.challenge(host, identity),
    }),
  );
  const readings = new WeakMap<Plan, CertificateReading>();
  const plan = async (from: ConfigFile): Promise<Plan> => {
    const read = createRead({ folder: from.folder, ...(options.seen ? { seen: options.seen } : {}) });
    const source = certificates.source(namesOf(from.config), read);
    const made = await planConfig(from, { authority, read, now: clock.now(), certificates: source });
    readings.set(made, source);
    return made;
  };
  current = { file, plan: await plan(file) };
  live.learn(current.plan.routes);
  const limiter = createLimiter(config.trust['rate-limit']);
  const enrolments = openEnrolments({ store, clock, limiter, find: directory.find });
  let signIn: SignInPlane | undefined;
  const passkeys = await openPasskeys({
    ...{ store, directory, clock, log: room('trust') },
    site: () => ({
      id: current.file.config.gate?.name ?? 'localhost',
      origins: [origin(), ...(signIn ? [signIn.origin()] : [])],
    }),
  });
  const authenticator = createAuthenticator({
    ...{ directory, passkeys },
    limiter,
    certificates: latestChecker(() => current.plan.trust),
    log: room('trust'),
  });

  // Ports, the gate's own first: routes may stand on it.
  const socketFor = inheritedSockets(config, passed, room('gate'));
  const takeSocket = once(socketFor);
  let door: GateDoor | undefined;
  const own: OwnListeners = stack.use(
    createOwnListeners({
      listen: (key, address) => listenAt(key, address, { fd: takeSocket(address), log: room('gate'), metrics }),
      serve: {
        'gate.listen': listener => {
          door?.attach(listener);
          return listener;
        },
        'gate.http': listener => servePlainHttp(listener, plainAnswers.http),
        'gate.metrics': listener => servePlainHttp(listener, plainAnswers.metrics),
      },
    }),
  );
  const { open, all: ports } = own;
  let api: Awaited<ReturnType<typeof createApi>> | undefined;
  let web: WebService | undefined;
  const gatePort = (): number => ports.flatMap(({ address }) => ('port' in address ? [address.port] : []))[0] ?? 443;
  const origin = (): string => originOf(current.file.config, gatePort());
  const devices: DevicePlane | undefined = config.gate
    ? stack.use(
        await openDevicePlane({
          ...{ registry, store, data, gate, authority, directory, clock, metrics, log: room('device') },
          config: () => current.file.config.device,
          identities: () =>
            certificates.source(namesOf(current.file.config), createRead({ folder: current.file.folder })).auto([]),
          onIdentities: certificates.onChange,
          shown: () => current.plan.gate?.identities ?? [],
          name: () => namesOf(current.file.config)[0] ?? 'localhost',
          origin,
          api: async conn => api?.handle(conn),
        }),
      )
    : undefined;
  let vpn: VpnService | undefined;
  let lent: Pick<EndpointPlane, 'addressesAt'> | undefined;
  let openVpnPorts: OpenVpnPorts | undefined;
  const opened = (): Address[] => [...ports.map(({ address }) => address), ...(openVpnPorts?.addresses ?? [])];
  const tenants: Tenant[] = [...(devices?.tenants ?? []), vpnTenant(() => vpn)];
  let sites: SitesService | undefined;
  door = config.gate
    ? stack.use(
        openGateDoor({
          ...{ config: config.gate, board: certificates.board, metrics, log: room('gate') },
          listeners: await inOrder(config.gate.listen, address => open('gate.listen', address, 'gate')),
          tls: gateTls(current.plan, authority.anchor()),
          staple: authority.staple,
          api: () => api ?? { handle: async conn => void conn.stream.destroy() },
          web: () => web,
          tenants,
          ...(config.vpn?.openvpn
            ? { raw: openVpnRaw({ vpn: () => vpn, door: () => door, log: room('vpn'), metrics }) }
            : {}),
          sites: () => sites,
        }),
      )
    : undefined;
  tunnels = stack.use(
    await openTunnelPlane({
      ...{ current: () => current, store, gate, audit, authority, directory, limiter, clock, metrics, open },
      read: createRead({ folder: file.folder, ...(options.seen ? { seen: options.seen } : {}) }),
      ...(devices ? { devices: () => devices.service } : {}),
      log: room('tunnel'),
    }),
  );
  tenants.push(...tunnels.tenants);
  const vpnPorts = await inOrder(config.vpn?.listen ?? [], address => open('vpn.listen', address, 'vpn'));
  vpn = stack.use(
    await openVpnPlane({
      ...{ plan: () => current.plan, data, store, gate, authenticator, limiter, directory, clock, metrics },
      log: room('vpn'),
      ended: credential => void sessions.cutBy(({ who }) => who.credential === credential),
      name: () => namesOf(current.file.config)[0] ?? 'localhost',
      root: () => authority.root().cert,
      opened: port => [...opened(), ...routeAddresses(current.file), ...(lent?.addressesAt(port) ?? [])],
      ports,
    }),
  );
  const hubs = vpn;
  serveVpnPorts(vpnPorts, { door, vpn, gate: config.gate, metrics, log: room('vpn') });
  openVpnPorts = stack.use(
    await openOpenVpnPorts({
      ...{ addresses: config.vpn?.openvpn?.listen ?? [], open, door, vpn, metrics, log: room('vpn') },
    }),
  );
  const accessFile = accessPlace(file);
  const access = accessFile ? stack.use(await openAppendFile({ path: accessFile, log: room('log') })) : undefined;
  const stepUp = stack.use(
    await openSignInPlane({
      ...{ current: () => current, data, store, gate, authenticator, limiter, directory, clock, log: room('web') },
      ...{ web: () => web, sites: () => sites, port: gatePort, passkeys },
      cut: credential =>
        void sessions.cutBy(({ who, action }) => who.credential === credential && action === 'web.request'),
    }),
  );
  signIn = stepUp;
  web = openWebPlane({
    ...{ signIns: stepUp.signIns, signer: stepUp.signer },
    ...{ current: () => current, data, gate, authority, directory, clock, metrics, log: room('web') },
    ports,
    opened,
    own: async conn => api?.handle(conn),
    ...(access ? { accessLog: line => access.line(formatWebLine(line)) } : {}),
  });
  if (web) stack.use(web);
  sites = openSitesPlane({
    ...{ current: () => current, gate, directory, clock, metrics, log: room('web') },
    before: stepUp.before,
    signer: stepUp.signer,
    opened,
    ...(access ? { accessLog: line => access.line(formatWebLine(line)) } : {}),
  });
  if (sites) stack.use(sites);
  plane = stack.use(
    await openProxyPlane(current.plan.routes, {
      ...{ gate, clock, metrics, log },
      workers: options.workers ?? workerCount(config.gate?.workers ?? 'auto'),
      workerLog: () => ({ place: logPlace(current.file), accessFile: accessPlace(current.file) }),
      identify: trust => live.identify(trust),
      inherited: socketFor,
      ...(door ? { gateListener: branch => door.branch(branch) } : {}),
      ...(devices ? { dialers: { device: devices.service.dialer } } : {}),
      ...(access ? { accessLog: line => access.line(formatAccessLine(line)) } : {}),
    }),
  );
  const proxies = plane;
  const endpoints: EndpointPlane = stack.use(
    await openEndpointPlane({
      ...{ current: () => current, store, gate, audit, approvals, authority, directory, authenticator, clock, metrics },
      ...{ port: door, data, board: certificates.board },
      wantsMore: async ({ id, groups }) =>
        passkeys.has(id) ||
        current.file.config.trust['second-factor'].some(role => groups.includes(`role:${role}`)) ||
        stepUp.totp.has(id),
      devices: endpointDevices(devices?.service),
      addresses: ports.map(({ address }) => address),
      opened,
      log: room('endpoint'),
    }),
  );
  lent = endpoints;
  const plainAnswers: Record<'http' | 'metrics', Answerer> = {
    http: gateHttp({
      origin,
      challenge: path => certificates.board.http(path),
      site: host => sites?.secureUrl(host),
      crl: number => authority.crl(number),
      ocsp: request => authority.ocsp(request),
      root: () =>
        authority
          .roots()
          .map(({ cert }) => cert)
          .join(''),
    }),
    metrics: metricsHttp({
      text: async () => metrics.text((await proxies.workers()?.metrics()) ?? []),
      contentType: metrics.contentType,
      names: () => namesOf(current.file.config),
    }),
  };
  if (config.gate) (await own.change(config.gate)).commit();

  const warnings = (): string[] => [
    ...audit.warnings,
    ...current.plan.routes.flatMap(route => route.warnings),
    ...(current.plan.gate?.warnings ?? []),
    ...(current.plan.web.forward?.warnings ?? []),
    ...hubs.warnings(),
    ...(current.plan.sites?.warnings ?? []),
    ...certificates
      .acmeState()
      .filter(({ standIn }) => standIn)
      .map(({ names }) => `${names.join(', ')}: the ACME certificate has not come yet; a self-signed one stands in`),
    ...caWarnings(authority, clock.now()),
    ...expiryWarnings(authority, clock.now()),
    ...(gate.unwritten > 0 ? [`${gate.unwritten} audit records wait for the disk; is it full?`] : []),
  ];
  // With a CA of its own: to check must neither issue anything nor ask an ACME directory for it.
  const check = async (): Promise<CheckReport> => alsoWeak(await checkConfig(file.path), hubs.warnings());
  const reloader = createReloader({
    ...{
      file,
      plan,
      door,
      listeners: own,
      access,
      web: () => web,
      sites: () => sites,
      endpoints,
      vpn: hubs,
      live,
      sessions,
      gate,
      clock,
      log,
    },
    warnings,
    cutWeak: () => void cutWeak({ sessions, directory, wanted: current.file.config.trust['second-factor'] }),
    anchor: () => authority.anchor(),
    proxies,
    read: async () => (await options.readAgain?.()) ?? file,
    current: () => current,
    adopt: next => {
      current = next;
      devices?.refresh();
    },
    settled: () => readings.get(current.plan)?.adopt(),
  });
  const { reload } = reloader;
  stack.defer(
    certificates.onChange(() => {
      reloader.refresh().then(
        () => log.info({}, 'a renewed certificate is in use'),
        error => log.error({ error }, 'a renewed certificate could not be put to use'),
      );
    }),
  );

  const oidc = oidcPlane({ file: () => current.file, store, directory, origin, clock, log: room('trust') });
  await oidc(); // a secret that cannot be read is said now, not when somebody comes
  stack.defer(
    authority.onRotated(step => {
      reloader.refresh().catch((error: unknown) => log.error({ error, step }, 'the new roots could not be put to use'));
    }),
  );

  // Who may look after it.
  const doors: HttpDoor[] = [
    consoleDoor({ log: room('console') }),
    ...(devices ? [devices.door] : []),
    ...endpoints.doors,
    ...tunnels.doors,
    ...stepUp.doors,
  ];
  const socket = join(data, 'sekisho.sock');
  const listeners = (): ReturnType<House['listeners']> => [
    ...own.shown(),
    ...endpoints.listeners(),
    ...(openVpnPorts?.opened ?? []),
    { name: 'api', listen: `unix:${socket}`, note: 'whoever owns the data folder' },
  ];
  api = stack.use(
    await createApi({
      ...{
        gate,
        authenticator,
        directory,
        enrolments,
        totp: stepUp.totp,
        passkeys,
        oidc,
        audit,
        sessions,
        approvals,
        clock,
        metrics,
        log: room('api'),
      },
      authority: knowingUsers(authority, directory),
      signIn: () => current.file.config.trust,
      est: () => current.file.config.trust.est,
      policy: () => current.plan.policy,
      standing: who => directory.standing(who),
      doors: () => doors,
      house: {
        ...{ version, since, warnings, check, reload, listeners },
        names: () => namesOf(current.file.config),
        origin,
        health: () => (gate.isOpen ? (gate.unwritten > 0 ? 'degraded' : proxies.health()) : 'down'),
        routes: () => proxies.states(),
        web: () => web,
        ...(devices ? { devices: () => ({ ...devices, registry }) } : {}),
        endpoints: () => endpoints.house,
        tunnels: () => tunnels?.service,
        vpn: () => hubs,
        sites: () => sites,
        backup: passphrase => backupOf(store, data, passphrase),
      },
    }),
  );
  const served = api;
  const local = stack.use(await listenUnix({ path: socket, mode: 0o600, log: room('api'), metrics }));
  void (async () => {
    for await (const conn of local) void served.handle(conn, 'local');
  })();
  stack.use(keepRetention({ audit, clock, log: room('audit'), keep: () => current.file.config.audit.retention }));
  stack.use(await openNotifyPlane({ file, audit, origin, clock, metrics, log: room('notify') }));
  stack.use(watchExpiry({ authority, audit, clock, log: room('trust') })); // after those that listen for it
  await audit.append(lifeEvent('api.started', { version, config: file.path ?? file.name }));

  let state: 'open' | 'draining' | 'closed' = 'open';
  const parts = stack.move();
  const close = async (): Promise<void> => {
    if (state === 'closed') return;
    state = 'closed';
    await parts[Symbol.asyncDispose]();
  };
  return {
    log,
    listeners,
    warnings,
    reload,
    check,
    routes: () => proxies.states(),
    workers: () => proxies.workers()?.pids() ?? [],
    firstLink: async () =>
      door
        ? firstLink({ directory, audit, origin, hasWayIn: user => directory.hasPassword(user) || passkeys.has(user) })
        : undefined,
    async reopenLogs() {
      log.reopen();
      await access?.reopen();
      await proxies.workers()?.reopen();
      log.info({}, 'log files opened anew');
    },
    async drain(deadline) {
      if (state !== 'open') return;
      state = 'draining';
      await reloader.settled();
      await local[Symbol.asyncDispose]();
      await door?.[Symbol.asyncDispose]();
      for (const listener of vpnPorts) await listener[Symbol.asyncDispose]();
      await openVpnPorts?.drain();
      // The gate last: who was accepted before the listeners closed is still let in. At the deadline it ends the
      // sessions, and the audit says why; what still hangs after the farewell is destroyed by the proxy.
      const carried = Promise.all([
        proxies.drain(after(deadline, farewell, clock)),
        served.drain(deadline),
        web?.drain(after(deadline, farewell, clock)),
        devices?.service.drain(after(deadline, farewell, clock)),
        endpoints.drain(after(deadline, farewell, clock)),
        tunnels?.service.drain(deadline),
        hubs.drain(),
        sites?.drain(after(deadline, farewell, clock)),
      ]);
      await Promise.race([carried, aborted(deadline)]);
      await Promise.all([carried, gate.drain(deadline)]);
      await audit.append(lifeEvent('api.stopped', {})).catch(() => {});
      await close();
    },
    [Symbol.asyncDispose]: close,
  };
}
