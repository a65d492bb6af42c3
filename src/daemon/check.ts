// What a configuration would open, and what works in it and is weak.
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatUrl, type ListenAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { ConfigFile } from './config-file.ts';
import type { Plan } from './plan.ts';
import { formatMistake, type Mistake } from './yaml-source.ts';

export interface CheckFinding {
  readonly level: 'error' | 'weak' | 'note';
  /** File, line, column and key. */
  readonly where?: string;
  readonly text: string;
}
export interface CheckReport {
  readonly ok: boolean;
  readonly opens: string[];
  readonly findings: CheckFinding[];
}

/** What only a running gate knows: what its database holds. */
export const alsoWeak = (report: CheckReport, texts: readonly string[]): CheckReport => ({
  ...report,
  findings: [...report.findings, ...texts.map(text => ({ level: 'weak' as const, text }))],
});

/** A configuration that cannot run. Anything but a Fault is a bug and goes on. */
export function failedCheck(error: unknown): CheckReport {
  if (!(error instanceof Fault) || error.code === 'bug') throw error;
  const mistakes = error.facts['mistakes'] as readonly Mistake[] | undefined;
  const findings = mistakes?.map(mistake => ({ level: 'error' as const, ...placed(mistake) }));
  return { ok: false, opens: [], findings: findings ?? [{ level: 'error', text: error.message }] };
}

export async function checkReport(file: ConfigFile, plan: Plan): Promise<CheckReport> {
  const findings = [
    ...plan.routes.flatMap(({ warnings }) => warnings.map(text => weak(file, text))),
    ...(plan.gate?.warnings ?? []).map(text => weak(file, text)),
    ...(plan.web.forward?.warnings ?? []).map(text => weak(file, text)),
    ...plan.vpn.warnings.map(text => weak(file, text)),
    ...(plan.sites?.warnings ?? []).map(text => weak(file, text)),
    ...mqttFindings(file),
    ...gateFindings(file),
    ...(await portFindings(file)),
    ...(await endpointFindings(file)),
    ...(await fileFindings(file)),
  ];
  return { ok: true, opens: opensOf(file), findings };
}

/** Notices carry tokens: whoever reads one on the way can join the tunnel before the device does. */
function mqttFindings(file: ConfigFile): CheckFinding[] {
  const { mqtt } = file.config.tunnel;
  const broker = typeof mqtt === 'object' ? mqtt.broker : mqtt;
  if (!broker?.startsWith('mqtt://')) return [];
  return [
    weak(file, 'tunnel.mqtt: mqtt:// carries tokens in the clear; use mqtts:// unless the broker is on this machine'),
  ];
}

/** `proxy db  tls://0.0.0.0:6432 → tcp://10.0.0.5:5432`, a line each. */
export function opensOf({ config }: ConfigFile): string[] {
  const { gate } = config;
  return [
    ...(gate?.listen ?? []).map(address => `gate  ${formatUrl(address)}  (${gate?.name})`),
    ...(gate?.http ? [`gate.http  ${formatUrl(gate.http)}`] : []),
    ...(gate?.metrics ? [`gate.metrics  ${formatUrl(gate.metrics)}`] : []),
    ...(gate && config.web?.forward
      ? [
          `web.forward  on the gate port (${config.web.forward.name ?? gate.name}): ${Object.keys(config.web.forward.hosts).join(', ')}`,
        ]
      : []),
    ...(gate && config.access.some(({ allow }) => allow.some(action => action.startsWith('endpoint.')))
      ? [
          `endpoint  ports ${config.endpoint.ports.from}-${config.endpoint.ports.to}, names under ${config.endpoint.domain ?? `ep.${gate.name}`}, when somebody opens one`,
        ]
      : []),
    ...(config.vpn?.listen ?? []).map(address => `vpn.listen  ${formatUrl(address)}`),
    ...(config.vpn?.openvpn ? [`vpn.openvpn  on the gate port (${gate?.name})`] : []),
    ...(config.vpn?.openvpn?.listen ?? []).map(address => `vpn.openvpn.listen  ${formatUrl(address)}`),
    ...Object.entries(config.vpn?.hubs ?? {}).map(
      ([name, { sstp }]) => `vpn hub ${name}  on the gate port (${gate?.name})${sstp ? ', by SSTP as well' : ''}`,
    ),
    ...(gate && config.web?.sites
      ? Object.entries(config.web.sites).map(
          ([key, { to }]) => `web.sites  https://${key.includes('.') ? key : `${key}.${config.web?.domain}`}/ → ${to}`,
        )
      : []),
    ...(typeof config.tunnel.mqtt === 'object' && config.tunnel.mqtt.listen
      ? [`tunnel.mqtt  ${formatUrl(config.tunnel.mqtt.listen)}`]
      : []),
    ...Object.entries(config.proxy).map(([name, { listen, names, to }]) => {
      const at = listen.map(formatUrl).join(', ');
      const called = names ? ` [${names.join(', ')}]` : '';
      return `proxy ${name}  ${at}${called} → ${to.map(({ url }) => formatUrl(url)).join(', ')}`;
    }),
  ];
}

/** A room's warning starts with its key path, `proxy.db.to[1]: …`; the file knows the line. */
function weak(file: ConfigFile, text: string): CheckFinding {
  const [, head = '', rest = text] = /^([\w.[\]-]+): ([\s\S]*)$/.exec(text) ?? [];
  if (head === '') return { level: 'weak', text };
  const path = [...head.matchAll(/\[(\d+)\]|[^.[\]]+/g)].map(([word, index]) =>
    index === undefined ? word : Number(index),
  );
  return { level: 'weak', ...placed(file.at(path, rest)) };
}

function gateFindings(file: ConfigFile): CheckFinding[] {
  const { gate, store } = file.config;
  const found: CheckFinding[] = [];
  if (gate?.metrics && !isLoopback(gate.metrics)) {
    const text = 'whoever reaches this address reads the metrics, which name routes and upstreams; listen on 127.0.0.1';
    found.push({ level: 'weak', ...placed(file.at(['gate', 'metrics'], text)) });
  }
  if (gate && gate.certificate === 'auto' && gate.name === 'localhost' && gate.listen.some(one => !isLoopback(one))) {
    const text =
      'the gate is reached from elsewhere, but its certificate says only localhost; set gate.name or gate.addresses';
    found.push({ level: 'weak', ...placed(file.at(['gate'], text)) });
  }
  if (store && /^postgres(ql)?:\/\/[^/@]*:[^/@]+@/.test(store)) {
    const text = 'the password of the database stands in this file; store: env:NAME keeps it out';
    found.push({ level: 'weak', ...placed(file.at(['store'], text)) });
  }
  return found;
}

async function portFindings(file: ConfigFile): Promise<CheckFinding[]> {
  const { gate, proxy } = file.config;
  const range = await ephemeralPorts();
  const listens: [path: (string | number)[], address: ListenAddress][] = [
    ...(gate?.listen ?? []).map((one): [string[], ListenAddress] => [['gate', 'listen'], one]),
    ...(['http', 'metrics'] as const).flatMap((key): [string[], ListenAddress][] => {
      const address = gate?.[key];
      return address ? [[['gate', key], address]] : [];
    }),
    ...Object.entries(proxy).flatMap(([name, { listen }]) =>
      listen.map((one): [string[], ListenAddress] => [['proxy', name, 'listen'], one]),
    ),
  ];
  return listens.flatMap(([path, address]): CheckFinding[] => {
    if (!('port' in address) || address.port === 0) return [];
    if (range && address.port >= range.from && address.port <= range.to) {
      const text = `port ${address.port} is one that the system hands to outgoing connections (${range.from}–${range.to}); at a restart it may be taken. Choose another, or reserve it: net.ipv4.ip_local_reserved_ports`;
      return [{ level: 'note', ...placed(file.at(path, text)) }];
    }
    if (address.port < 1024 && process.getuid?.() !== 0) {
      const text = `port ${address.port} needs a privilege; systemd's unit grants CAP_NET_BIND_SERVICE, or a socket unit opens it`;
      return [{ level: 'note', ...placed(file.at(path, text)) }];
    }
    return [];
  });
}

/** What is weak about endpoints: ports that the system lends to others, and a domain that cookies of the console reach. */
async function endpointFindings(file: ConfigFile): Promise<CheckFinding[]> {
  const { gate, endpoint, access, proxy } = file.config;
  if (!gate) return [];
  const { from, to } = endpoint.ports;
  const range = await ephemeralPorts();
  const inside = (port: number): boolean => port >= from && port <= to;
  const listens = [...gate.listen, ...Object.values(proxy).flatMap(({ listen }) => listen)];
  const own = listens.find(address => 'port' in address && address.port !== 0 && inside(address.port));
  const isShared = endpoint.domain === gate.name || endpoint.domain?.split('.').slice(1).join('.') === gate.name;
  const { url = '' } = endpoint.webhook ?? {};
  const found: readonly (readonly [isSo: boolean, level: 'weak' | 'note', key: string, text: string])[] = [
    [
      range !== undefined && from <= range.to && to >= range.from,
      'weak',
      'ports',
      `${from}-${to} overlaps the ports that the system hands to outgoing connections (${range?.from}–${range?.to}): an endpoint may find its port taken at a restart. Choose a range outside, or reserve it: net.ipv4.ip_local_reserved_ports`,
    ],
    [own !== undefined, 'weak', 'ports', `${own ? formatUrl(own) : ''} lies in the range; that port is never lent`],
    [
      isShared && endpoint.domain !== undefined,
      'note',
      'domain',
      'names of endpoints are below the gate’s own name, and a page of an endpoint could set cookies for it; another registrable domain keeps them apart',
    ],
    [
      url.startsWith('http:') && !/^http:\/\/(127\.|localhost[:/]|\[::1\])/.test(url),
      'weak',
      'webhook',
      'what is told goes over the network unencrypted; write https://',
    ],
  ];
  const findings = found
    .filter(([isSo]) => isSo)
    .map(([, level, key, text]): CheckFinding => ({ level, ...placed(file.at(['endpoint', key], text)) }));
  const wide = access.flatMap((rule, index): CheckFinding[] => {
    const opens = rule.allow.some(action => action === 'endpoint.open' || action === 'endpoint.*');
    const anywhere = rule.to === undefined || rule.to.some(to => /^(\*|tcp\/\*)$/.test(to));
    if (!opens || !anywhere) return [];
    const text = 'endpoints may lead to any tcp:// address, loopback of this machine too; name targets in `to:`';
    return [{ level: 'weak', ...placed(file.at(['access', index], text)) }];
  });
  return [...findings, ...wide];
}

async function ephemeralPorts(): Promise<{ from: number; to: number } | undefined> {
  const text = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '');
  const [from, to] = text.trim().split(/\s+/).map(Number);
  return from && to ? { from, to } : undefined;
}

/** Private keys and passphrases that other users of the machine can read. */
async function fileFindings(file: ConfigFile): Promise<CheckFinding[]> {
  const found: CheckFinding[] = [];
  for (const { path, reference } of secretsIn(file.config)) {
    if (!reference.startsWith('file:')) continue;
    const facts = await stat(resolve(file.folder, reference.slice(5))).catch(() => undefined);
    if (!facts?.isFile() || (facts.mode & 0o004) === 0) continue;
    const text = `${reference.slice(5)} can be read by every user of this machine; chmod o-r`;
    found.push({ level: 'weak', ...placed(file.at(path, text)) });
  }
  return found;
}

function* secretsIn(
  value: unknown,
  path: readonly (string | number)[] = [],
): Iterable<{ path: readonly (string | number)[]; reference: string }> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    const at = [...path, Array.isArray(value) ? Number(key) : key];
    if ((key === 'key' || key === 'passphrase') && typeof inner === 'string') yield { path: at, reference: inner };
    else yield* secretsIn(inner, at);
  }
}

const isLoopback = (address: ListenAddress): boolean =>
  !('host' in address) || /^(127\.|::1$|localhost$)/.test(address.host);

function placed(mistake: Mistake): { where: string; text: string } {
  const whole = formatMistake(mistake);
  return { where: whole.slice(0, whole.length - mistake.text.length).replace(/:? $/, ''), text: mistake.text };
}
