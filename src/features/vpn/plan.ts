// The `vpn:` slice → hubs as they are to be set. Pure; what does not fit together is said with its place in the file.
import { Fault, toFault } from '../../core/fault.ts';
import { isInside, parseIpv4, parseIpv4Network } from '../../wire/ipv4.ts';
import type { VpnConfig } from './config.ts';
import { parseForwards } from './forward.ts';
import type { FilterRule, NatOptions } from './hub.ts';
import { type FilterConfig, type NatConfig, policyOf } from './hub-config.ts';
import type { RouterPlan } from './routers.ts';
import type { VpnPlan } from './service.ts';
import { defaultSettings, type HubSettings } from './settings.ts';

export const noVpn: VpnPlan = { hubs: {}, routers: {}, adminFrom: ['127.0.0.0/8', '::1/128'], warnings: [] };

interface Finding {
  readonly path: readonly (string | number)[];
  readonly text: string;
}

/** @throws Fault `invalid` with every mistake in `facts.mistakes` */
export function planVpn(config: VpnConfig | undefined): VpnPlan {
  if (!config) return noVpn;
  const mistakes: Finding[] = [];
  const warnings: string[] = [];
  const hubs: Record<string, HubSettings> = {};
  const seen = new Map<string, string>();
  const bridges = new Map<string, string>();
  for (const [name, hub] of Object.entries(config.hubs)) {
    const at = ['vpn', 'hubs', name];
    const alike = seen.get(name.toLowerCase());
    if (alike !== undefined) mistakes.push({ path: at, text: `SoftEther does not tell ${name} from ${alike}` });
    seen.set(name.toLowerCase(), name);
    const other = hub.bridge === undefined ? undefined : bridges.get(hub.bridge);
    if (other !== undefined)
      mistakes.push({ path: [...at, 'bridge'], text: `${hub.bridge} is the bridge of ${other}` });
    if (hub.bridge !== undefined) bridges.set(hub.bridge, name);
    const settings = settingsOf(hub);
    mistakes.push(...checkHub(settings, at));
    hubs[name] = settings;
    warnings.push(...warningsOf(hub, `vpn.hubs.${name}`));
  }
  const routers: Record<string, RouterPlan> = {};
  for (const [name, { interfaces, routes }] of Object.entries(config.routers)) {
    routers[name] = {
      interfaces: Object.entries(interfaces).map(([hub, address]) => ({ hub, address })),
      routes: routes.map(({ to, via }) => ({ network: to, via })),
    };
    mistakes.push(...checkRouter(routers[name], seen, ['vpn', 'routers', name]));
  }
  if (mistakes.length > 0) {
    const text = mistakes.map(one => `${one.path.join('.')}: ${one.text}`).join('\n');
    throw new Fault('invalid', text, { facts: { mistakes } });
  }
  const { openvpn } = config;
  return {
    ...{ hubs, routers, adminFrom: config.admin.from, warnings },
    ...(openvpn ? { openvpn: { plain: openvpn['tls-crypt'] === 'optional' } } : {}),
  };
}

type HubConfig = VpnConfig['hubs'][string];

const settingsOf = ({ nat, forward = [], filter = [], bridge, policy, ...hub }: HubConfig): HubSettings => ({
  ...defaultSettings,
  anonymous: hub.anonymous,
  listing: hub['anonymous-listing'],
  sstp: hub.sstp,
  maxSessions: hub.sessions ?? 0,
  message: hub.message ?? '',
  secureNat: nat ? { enabled: true, options: natOf(nat) } : defaultSettings.secureNat,
  forward,
  filter: filter.map(filterOf),
  ...(bridge === undefined ? {} : { bridge }),
  ...(policy ? { policy: policyOf(policy) } : {}),
});

function natOf({ address, mac, outward, mtu, dhcp, ...idle }: NatConfig): NatOptions {
  const [router = ''] = address.split('/');
  const base: NatOptions = {
    ...{ address, nat: outward, mtu },
    ...(mac === undefined ? {} : { mac }),
    tcpTimeout: Math.round(idle['tcp-idle'] / 1000),
    udpTimeout: Math.round(idle['udp-idle'] / 1000),
  };
  if (!dhcp) return base;
  const [first = '', last = ''] = dhcp.range.split('-');
  const gateway = dhcp['default-gateway'];
  return {
    ...base,
    dhcp: {
      range: [first, last],
      lease: Math.round(dhcp.lease / 1000),
      routes: dhcp.routes.map(route =>
        typeof route === 'string' ? { network: route } : { network: route.to, gateway: route.via },
      ),
      ...(gateway === false ? {} : { gateway: gateway === true ? router : gateway }),
      // None unless written: a name server of the hub would answer for the member's whole Internet.
      dns: (dhcp.dns ?? []).map(server => (server === 'router' ? router : server)),
      ...(dhcp.domain === undefined ? {} : { domain: dhcp.domain }),
      reservations: Object.entries(dhcp.reservations).map(([mac, address]) => ({ mac, address })),
    },
  };
}

function filterOf(line: FilterConfig[number], index: number): FilterRule {
  const range = (written: number | string | undefined): readonly [number, number] | undefined => {
    if (written === undefined) return undefined;
    const [first, last] = String(written).split('-').map(Number);
    return [first ?? 0, last ?? first ?? 0];
  };
  const single = (mac: string | undefined) => (mac === undefined ? undefined : { mac, mask: 'ff:ff:ff:ff:ff:ff' });
  const said = {
    ...{ priority: index + 1, action: line.action, from: line.from, to: line.to, protocol: line.protocol },
    ...{ fromPort: range(line['from-port']), toPort: range(line['to-port']) },
    ...{ fromUser: line['from-user'], toUser: line['to-user'] },
    ...{ fromMac: single(line['from-mac']), toMac: single(line['to-mac']) },
    ...{ established: line.established, note: line.note },
  };
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined)) as unknown as FilterRule;
}

/** What each value cannot say for itself. Also asked of what administrators set at run time. */
export function checkHub({ secureNat, forward }: HubSettings, at: readonly string[] = []): Finding[] {
  const found: Finding[] = [];
  const attempt = (path: readonly string[], step: () => void): void => {
    try {
      step();
    } catch (error) {
      const fault = toFault(error);
      if (fault.code === 'bug') throw error;
      found.push({ path: [...at, ...path], text: fault.message });
    }
  };
  const { options, enabled } = secureNat;
  const network = parseIpv4Network(options.address);
  const { dhcp } = options;
  const inside = (path: readonly string[], address: string): void =>
    attempt(path, () => {
      if (!isInside(network, parseIpv4(address)))
        throw new Fault('invalid', `${address} does not lie within the hub's network ${options.address}`);
    });
  if (enabled && network.bits > 30)
    found.push({ path: [...at, 'nat', 'address'], text: `${options.address} leaves no room for members` });
  if (enabled && dhcp) {
    const range = ['nat', 'dhcp', 'range'];
    for (const address of dhcp.range) inside(range, address);
    if (parseIpv4(dhcp.range[0]) > parseIpv4(dhcp.range[1]))
      found.push({ path: [...at, ...range], text: 'it ends before it begins' });
    for (const { address } of dhcp.reservations ?? []) inside(['nat', 'dhcp', 'reservations'], address);
    for (const { gateway } of dhcp.routes ?? []) if (gateway !== undefined) inside(['nat', 'dhcp', 'routes'], gateway);
    if (dhcp.gateway !== undefined) inside(['nat', 'dhcp', 'default-gateway'], dhcp.gateway);
  }
  attempt(['forward'], () => void parseForwards(forward, enabled ? network : undefined));
  return found;
}

/** Every hub of the file, no network twice, every neighbour within reach. */
function checkRouter({ interfaces, routes }: RouterPlan, hubs: ReadonlyMap<string, string>, at: string[]): Finding[] {
  const networks = interfaces.map(({ address }) => parseIpv4Network(address));
  const found: Finding[] = [];
  interfaces.forEach(({ hub, address }, index) => {
    const path = [...at, 'interfaces', hub];
    const own = networks[index];
    if (!hubs.has(hub.toLowerCase())) found.push({ path, text: `there is no hub ${hub} in this file` });
    if (!own || own.bits < 1 || own.bits > 30) found.push({ path, text: `${address} leaves no room for neighbours` });
    else if (networks.slice(0, index).some(other => isInside(other, own.address) || isInside(own, other.address)))
      found.push({ path, text: `another interface stands in the network of ${address}` });
  });
  routes.forEach(({ via }, index) => {
    if (!networks.some(network => isInside(network, parseIpv4(via))))
      found.push({ path: [...at, 'routes', index, 'via'], text: `no interface of this router reaches ${via}` });
  });
  return found;
}

function* warningsOf({ anonymous, nat, bridge, sstp }: HubConfig, at: string): Iterable<string> {
  if (sstp && !nat?.dhcp && bridge === undefined)
    yield `${at}.sstp: nobody on this hub hands out addresses (nat.dhcp), and who comes by SSTP cannot do without`;
  if (anonymous) yield `${at}.anonymous: whoever knows the hub's name is let in`;
  if (nat?.outward && nat.dhcp && nat.dhcp.routes.length === 0)
    yield `${at}.nat.dhcp.routes: none is written, so the NAT reaches nothing`;
  if (nat?.dhcp?.routes.some(route => String(typeof route === 'string' ? route : route.to).endsWith('/0')))
    yield `${at}.nat.dhcp.routes: a route to everything lets members reach whatever this machine reaches`;
  if (nat && bridge !== undefined)
    yield `${at}.bridge: the hub has a router of its own as well; see that the bridged network has no second DHCP server`;
}
