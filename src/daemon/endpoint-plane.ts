// Timed endpoints within this process: what they are handed, from the configuration of now.
import { isIP } from 'node:net';
import type { Approvals, Audit, LiveGate } from '../access/index.ts';
import type { EndpointHouse } from '../api/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Address, Authenticator, Dialer, Identify, Listener, Log, Metrics, Principal } from '../core/parts.ts';
import { Secret } from '../core/secret.ts';
import type { DeviceService } from '../features/device/index.ts';
import {
  type DeviceFacts,
  type Door,
  type Endpoint,
  type EndpointService,
  type EvidenceRow,
  endpointStore,
  evidenceDocument,
  type Notice,
  napterDoor,
  type Owner,
  openEndpoints,
  signInDoor,
} from '../features/endpoint/index.ts';
import { addressFault, isOwnListener } from '../features/web/index.ts';
import { createResolver } from '../net/resolve.ts';
import { createWebhook, type Webhook } from '../net/webhook.ts';
import type { Store } from '../store/index.ts';
import { type Authority, anonymous, type Directory, localAdministrator } from '../trust/index.ts';
import type { Config } from './config.ts';
import {
  createEndpointCertificates,
  type EndpointCertificates,
  type EndpointCertificatesOptions,
} from './endpoint-certificates.ts';
import type { GatePort, RouteBranch } from './gate-port.ts';
import { latestChecker } from './gateway-parts.ts';
import { namesOf } from './places.ts';
import { createRead } from './read.ts';
import { routeAddresses } from './web-plane.ts';

export interface EndpointPlaneOptions extends EndpointCertificatesOptions {
  readonly store: Store;
  readonly gate: LiveGate;
  readonly audit: Audit;
  readonly approvals: Approvals;
  readonly directory: Directory;
  readonly authenticator: Authenticator;
  /** Whether a password alone is not enough for somebody. */
  readonly wantsMore: (who: Principal) => Promise<boolean>;
  /** The gate's own port, where there is one, and where it listens. */
  readonly port: Pick<GatePort, 'branch'> | undefined;
  readonly addresses: readonly Address[];
  /** Every listener that is open. */
  readonly opened: () => readonly Address[];
  readonly devices?: Devices | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What the device room gives: its link as a Dialer, and who is known. */
export interface Devices {
  readonly dialer: Dialer;
  readonly find: (nameOrAlias: string) => DeviceFacts | undefined;
}

/** The device room as endpoints see it: names, aliases, and services by name or by their local port. */
export function endpointDevices(service: DeviceService | undefined): Devices | undefined {
  if (!service) return undefined;
  const portOf = (address: string): string | undefined => /:(\d+)$/.exec(address)?.[1];
  return {
    dialer: service.dialer,
    find(nameOrAlias) {
      const device = service.find(nameOrAlias);
      if (!device || device.revoked) return undefined;
      const { name, services, aliases } = device;
      const alias = (kind: 'imsi' | 'simId'): string | undefined => aliases.find(one => one.kind === kind)?.name;
      return {
        name,
        imsi: alias('imsi'),
        simId: alias('simId'),
        addressOf: wanted => (Object.hasOwn(services, wanted) ? services[wanted] : undefined),
        service: wanted =>
          Object.hasOwn(services, wanted)
            ? wanted
            : Object.entries(services).find(([, address]) => portOf(address) === wanted)?.[0],
      };
    },
  };
}

export interface EndpointPlane extends AsyncDisposable {
  readonly service: EndpointService;
  readonly house: EndpointHouse;
  /** The Napter-shaped API, and the page where one signs in. */
  readonly doors: readonly Door[];
  /** Where a port is lent to an endpoint now. */
  addressesAt(port: number): readonly Address[];
  /** What is open, for `status`. */
  listeners(): { readonly name: string; readonly listen: string; readonly note: string }[];
  /** After a reload. */
  replace(config: Config): Promise<void>;
  drain(deadline: AbortSignal): Promise<void>;
}

/** What a Napter-shaped sign-in is good for. */
const napterScope = ['endpoint.*', 'audit.read'];
/** Endpoints that `status` shows. */
const mostListed = 100;
/** Rows of the audit that one document of evidence holds, at most. */
const mostRows = 10_000;

export async function openEndpointPlane(options: EndpointPlaneOptions): Promise<EndpointPlane> {
  const { current, store, gate, audit, approvals, directory, port, clock, log, metrics } = options;
  const config = (): Config => current().file.config;
  const name = (): string => config().gate?.name ?? 'localhost';
  const gatePort =
    (port ? options.addresses : []).flatMap(address => ('port' in address ? [address.port] : []))[0] ?? 443;
  const domain = (): string => config().endpoint.domain ?? `ep.${name()}`;
  const checker = latestChecker(() => current().plan.trust);
  const identify: Identify = async ({ tls }) =>
    tls?.leaf ? directory.standing(checker().check(tls.leaf, tls.chain)) : anonymous;
  const webhook = await openWebhook(options);
  const certificates = createEndpointCertificates(options);
  const hosts = (): readonly string[] => config().endpoint.listen ?? gateHosts(config());
  let service: EndpointService | undefined;
  const addressesAt = (at: number): readonly Address[] =>
    service?.isLent(at) ? hosts().map(each => ({ host: each, port: at })) : [];
  const isOwn = (host: string, at: number): boolean =>
    isOwnListener(host, at, [...options.opened(), ...routeAddresses(current().file), ...addressesAt(at)]);

  service = await openEndpoints(config().endpoint, {
    ...{ gate, identify, clock, log, metrics, hosts, domain: () => (port ? domain() : undefined) },
    store: endpointStore(store),
    decide: request => current().plan.policy.decide(withStanding(request, directory), clock.now()),
    owner: owner => ownerNow(owner, directory),
    approval: id => approvals.get(id),
    ...(port ? { branch: branch => nameListener(branch, port, certificates) } : {}),
    tls: {
      own: () => current().plan.gate?.identities ?? [],
      named: name => certificates.named(name),
      ciphers: () => current().plan.gate?.ciphers,
      clients: () => current().plan.trust,
      staple: options.authority.staple,
    },
    reach: { device: options.devices?.dialer, resolver: createResolver(), isOwn, addressFault },
    findDevice: nameOrAlias => options.devices?.find(nameOrAlias),
    record: async event => void (await audit.append({ ...event })),
    ...(webhook ? { notify: notice => webhook.send(tellOf(notice, name())) } : {}),
  });
  const endpoints = service;
  const recheck = (): void => {
    endpoints.recheck().catch(error => log.error({ error }, 'the endpoints could not be looked at again'));
  };
  const stops = [
    approvals.onChange(view => endpoints.decided(view)),
    directory.onRevoked(recheck),
    directory.onLess(recheck),
  ];
  const origin = (): string => `https://${name()}${gatePort === 443 ? '' : `:${gatePort}`}`;
  const close = async (): Promise<void> => {
    for (const stop of stops) stop();
    await endpoints[Symbol.asyncDispose]();
    await webhook?.[Symbol.asyncDispose]();
  };
  return {
    service: endpoints,
    addressesAt,
    house: {
      service: endpoints,
      host: name,
      namePort: () => gatePort,
      page: id => `${origin()}/endpoint/${id}`,
      async link(id, user) {
        const { code, expires } = await directory.addCode({ purpose: `endpoint:${id}`, name: user });
        return { link: `${origin()}/endpoint/${id}#${code}`, until: expires };
      },
      evidence: async id =>
        evidenceDocument(await evidenceOf(await endpoints.get(id), options, name()), audit.seal.bind(audit)),
    },
    doors: [
      napterDoor({
        ...{
          service: endpoints,
          authenticator: options.authenticator,
          log,
          findDevice: name => options.devices?.find(name),
        },
        standing: who => directory.standing(who),
        makeToken: async (user, life) =>
          (await directory.addToken({ user, kind: 'login', note: 'Napter', scope: [...napterScope], for: life })).token,
        place: () => ({ address: publicAddress(config()), host: name(), operatorId: operatorOf(options.authority) }),
        maySee: ({ who, from }, action) =>
          current().plan.policy.decide({ who, action, resource: 'endpoint/*', from }, clock.now()).allow === true,
        close: async ({ who, from }, { id, owner, target }) => {
          const resource = `endpoint/${id}`;
          const opened = who.id === owner.id ? { opened: resource } : {};
          await using session = await gate.admit({ who, action: 'endpoint.close', resource, from, ...opened });
          session.note('target', target);
          await endpoints.close(id);
        },
        rows: filter => audit.search({ ...filter, event: 'endpoint.*' }),
        now: () => clock.now().getTime(),
      }),
      signInDoor({
        ...{ service: endpoints, gate, log, authenticator: options.authenticator, wantsMore: options.wantsMore },
      }),
    ],
    listeners: () =>
      endpoints
        .now()
        .slice(0, mostListed)
        .map(each => listed(each, name())),
    async replace(next) {
      endpoints.config = next.endpoint;
      await endpoints.recheck();
    },
    drain: deadline => endpoints.drain(deadline),
    [Symbol.asyncDispose]: close,
  };
}

/** `OP` and ten digits, always the same for one gate. */
const operatorOf = (authority: Authority): string =>
  `OP${String(BigInt(`0x${authority.root().fingerprint.slice(0, 16)}`) % 10_000_000_000n).padStart(10, '0')}`;

function listed({ id, target, port, name, tls, until, limits }: Endpoint, host: string) {
  const at = typeof port === 'number' ? `${tls === 'end' ? 'tls' : 'tcp'}://${host}:${port}` : `tls://${name}`;
  const note = `→ ${target}, from ${limits.sources.join(', ')}, until ${new Date(until).toISOString()}`;
  return { name: `endpoint/${id}`, listen: at, note };
}

/** A name's own listener: its certificate is on its way from here on, and ACME's probes for it are the gate's. */
function nameListener(
  branch: RouteBranch,
  port: Pick<GatePort, 'branch'>,
  certificates: EndpointCertificates,
): Listener {
  const listener = port.branch({ ...branch, probes: 'gate' });
  for (const name of branch.names) certificates.expect(name);
  return {
    address: listener.address,
    [Symbol.asyncIterator]: () => listener[Symbol.asyncIterator](),
    async [Symbol.asyncDispose]() {
      for (const name of branch.names) certificates.forget(name);
      await listener[Symbol.asyncDispose]();
    },
  };
}

/** Ports stand where the gate stands. */
function gateHosts({ gate }: Config): readonly string[] {
  const hosts = (gate?.listen ?? []).flatMap(address =>
    'host' in address ? [address.host === '' ? '::' : address.host] : [],
  );
  return hosts.length > 0 ? [...new Set(hosts)] : ['127.0.0.1'];
}

/** Who they are now, whatever credential they used then. */
function ownerNow(owner: Owner, directory: Directory): Principal | undefined {
  if (owner.id === '') return owner.credential === localAdministrator.credential ? localAdministrator : undefined;
  const user = directory.find(owner.id);
  if (user?.state !== 'active') return undefined;
  const groups = [...user.groups, ...user.roles.map(role => `role:${role}`)];
  return { kind: 'user', id: user.name, groups, attributes: new Map(), credential: owner.credential };
}

/** Groups and roles as they are now; the gate says whether the credential still counts. */
function withStanding<R extends { readonly who: Principal }>(request: R, directory: Directory): R {
  try {
    return { ...request, who: directory.standing(request.who) };
  } catch {
    return request;
  }
}

async function openWebhook({ current, clock, log, metrics }: EndpointPlaneOptions): Promise<Webhook | undefined> {
  const { file } = current();
  const wanted = file.config.endpoint.webhook;
  if (!wanted) return undefined;
  const read = createRead({ folder: file.folder });
  const secret = new Secret((await read(wanted.secret)).toString('utf8').trim());
  const ca = wanted.ca === undefined ? {} : { ca: (await read(wanted.ca)).toString('latin1') };
  return createWebhook({ url: wanted.url, secret, ...ca, clock, log, metrics });
}

/** What a receiver is told: who wants what from where for how long and why. Never a secret. */
function tellOf({ event, at, endpoint, approval }: Notice, gate: string): Record<string, unknown> {
  const { id, state, target, tls, port, name, until, owner, limits, reason, wanted, cause } = endpoint;
  return {
    event,
    at: at.toISOString(),
    gate,
    endpoint: {
      ...{ id, state, target, tls, name, reason, cause },
      ...(typeof port === 'number' ? { port } : {}),
      by: owner.id === '' ? 'local administrator' : owner.id,
      from: limits.sources,
      for: wanted / 1000,
      until: new Date(until).toISOString(),
    },
    ...(approval ? { approval } : {}),
  };
}

async function evidenceOf(endpoint: Endpoint, { audit, approvals, clock }: EndpointPlaneOptions, gate: string) {
  const { id, approval, session } = endpoint;
  const found = new Map<number, EvidenceRow>();
  let cut = false;
  const gather = async (filter: Parameters<Audit['search']>[0], fits: (row: EvidenceRow) => boolean = () => true) => {
    let before: number | undefined;
    do {
      const page = await audit.search({ ...filter, limit: 1000, before });
      for (const row of page.rows) if (fits(row)) found.set(row.seq, row);
      before = page.next;
      cut ||= before !== undefined && found.size >= mostRows;
    } while (before !== undefined && found.size < mostRows);
  };
  const since = new Date(endpoint.created);
  await gather({ resource: `endpoint/${id}`, since });
  if (session !== undefined) await gather({ session, since });
  if (approval !== undefined) {
    await gather(
      { event: 'endpoint.approval-*', resource: endpoint.resource },
      row => row.facts['approval'] === approval,
    );
  }
  const rows = [...found.values()].sort((a, b) => a.seq - b.seq).slice(0, mostRows);
  const view = approval === undefined ? undefined : await approvals.get(approval).catch(() => undefined);
  return { gate, now: clock.now(), endpoint, approval: view, rows, cut };
}

/** The address that Napter's replies name: the gate's own, as far as it is known. */
export function publicAddress(config: Config): string {
  const listed = [...gateHosts(config), ...namesOf(config)].filter(host => isIP(host) === 4 && host !== '0.0.0.0');
  return listed.find(host => host !== '127.0.0.1') ?? '127.0.0.1';
}
