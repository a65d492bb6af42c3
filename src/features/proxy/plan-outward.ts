// The half of a route that looks towards its targets: upstreams, how they are verified, how they are tried.
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { formatUrl } from '../../core/address.ts';
import { Fault } from '../../core/fault.ts';
import type { Read } from '../../wire/config-value.ts';
import type { RouteConfig } from './config.ts';
import { defined } from './defined.ts';
import type { Findings } from './findings.ts';
import { judgeIdentity, loadIdentity, parseCertificates, pemBlocks, tryTls } from './identities.ts';
import type { ClientTlsPlan, Identity, OutwardPlan, UpstreamPlan } from './route-plan.ts';

export interface OutwardDeps {
  readonly read: Read;
  /** Whether `device://` targets can be reached. */
  readonly devices: boolean;
  readonly now: Date;
}

export async function planOutward(config: RouteConfig, deps: OutwardDeps, findings: Findings): Promise<OutwardPlan> {
  checkTargets(config, deps, findings);
  const tls = await planClientTls(config, deps, findings);
  const upstreams = config.to.map((one): UpstreamPlan => {
    const target = one.url;
    return {
      url: formatUrl(target),
      target,
      ...(target.kind === 'tls' ? { tls: forHost(tls, config, target.host) } : {}),
      weight: one.weight,
      backup: one.backup,
      down: one.down,
      maxConnections: one['max-connections'],
      maxFails: one['max-fails'],
      failTimeout: one['fail-timeout'],
    };
  });
  checkTries(config, findings);
  const { health, limits } = config;
  const send = config['proxy-protocol']?.send;
  return {
    upstreams,
    balance: config.balance,
    nextUpstream: config['next-upstream'],
    ...(health ? { health: defined(health) } : {}),
    ...(config.resolve === undefined ? {} : { resolve: config.resolve }),
    ...(send ? { proxyHeader: send } : {}),
    ...(config.bind === undefined ? {} : { bind: config.bind }),
    keepalive: typeof config.keepalive === 'number' ? config.keepalive : config.keepalive && 0,
    connect: limits.connect,
    handshake: limits.handshake,
  };
}

function checkTargets(config: RouteConfig, { devices }: OutwardDeps, findings: Findings): void {
  const datagrams = config.listen.some(listen => listen.kind === 'udp');
  config.to.forEach(({ url }, index) => {
    const here = config.to.length > 1 ? findings.at('to', index) : findings.at('to');
    if (datagrams !== (url.kind === 'udp')) {
      here.mistake(
        datagrams ? 'a udp:// listener forwards datagrams; its target is udp:// too' : 'udp:// needs a udp:// listener',
      );
    }
    if (url.kind === 'device' && !devices) {
      here.mistake('devices cannot be reached without a port for them; add gate:');
    }
    if (
      config.listen.some(listen => formatUrl(listen).replace(/^tls/, 'tcp') === formatUrl(url).replace(/^tls/, 'tcp'))
    ) {
      here.mistake('the route leads to its own listener');
    }
  });
  if (!config.to.some(({ url }) => url.kind === 'tls')) {
    const written = (['verify', 'sni', 'upstream'] as const).filter(key => config[key] !== undefined);
    for (const key of written) findings.at(key).mistake('means nothing without a tls:// target; write to: tls://…');
  }
  if (config.bind !== undefined && isIP(config.bind) === 0) {
    findings.at('bind').mistake(`"${config.bind}" is not an IP address; write the local address to connect from`);
  }
  if (!datagrams && config.datagrams) findings.at('datagrams').mistake('means nothing without a udp:// listener');
  if (datagrams && config['proxy-protocol']) {
    findings.at('proxy-protocol').mistake('the PROXY header is for streams; datagrams are forwarded as they are');
  }
}

function checkTries(config: RouteConfig, findings: Findings): void {
  const { balance, to, health } = config;
  if (to.some(one => one.backup) && (typeof balance === 'object' || balance === 'random-two')) {
    findings.at('balance').mistake('backup targets work with round-robin and least-connections only');
  }
  if (to.every(one => one.backup)) findings.at('to').mistake('every target is a backup; at least one must be primary');
  if (to.every(one => one.down)) findings.at('to').warn('every target is marked down; nobody can connect');
  if (typeof balance === 'object' && balance.hash === 'server-name' && config.listen.every(one => one.kind === 'udp')) {
    findings.at('balance', 'hash').mistake('datagrams carry no server name; use source-address');
  }
  if (!health) return;
  if (health.port !== undefined && to.some(one => one.url.kind === 'unix' || one.url.kind === 'device')) {
    findings.at('health', 'port').mistake('only tcp://, tls:// and udp:// targets have ports');
  }
  if (to.some(one => one.url.kind === 'udp') && health.expect === undefined) {
    findings.at('health').mistake('a udp:// target shows its health only by an answer; give send: and expect:');
  }
}

/** What all tls:// targets of the route share. */
interface SharedTls extends Omit<ClientTlsPlan, 'verify' | 'servername'> {
  readonly ca?: readonly string[];
  readonly crls?: readonly string[];
}

async function planClientTls(config: RouteConfig, { read, now }: OutwardDeps, findings: Findings): Promise<SharedTls> {
  const { verify, upstream } = config;
  const options = verify === 'off' || verify === undefined ? {} : verify;
  const ca = options.ca && (await readAll(options.ca, read, findings.at('verify', 'ca'), certificatesOf));
  const crls = options.crl && (await readAll(options.crl, read, findings.at('verify', 'crl'), crlsOf));
  if (verify === 'off') {
    findings
      .at('verify')
      .warn('off: whoever stands between can pose as the target; give its CA with verify: { ca: file:… }');
  }
  const side = findings.at('upstream');
  let identity: Identity | undefined;
  if (upstream?.certificate) {
    identity = await loadIdentity(upstream.certificate, read, side.at('certificate'));
    if (identity) judgeIdentity(identity, [], now, side.at('certificate'));
  }
  const { protocols, ciphers, curves, alpn } = upstream ?? {};
  const choice = defined({ protocols, ciphers, curves });
  tryTls(choice, identity ? [identity] : [], side);
  return {
    ...choice,
    ...defined({ ca, crls, identity, alpn }),
    ...(config['close-notify'] === 'required' ? { closeNotify: 'required' } : {}),
    sessionReuse: upstream?.['session-reuse'] ?? true,
  };
}

function forHost({ ca, crls, ...shared }: SharedTls, config: RouteConfig, host: string): ClientTlsPlan {
  const { verify, sni } = config;
  const options = verify === 'off' || verify === undefined ? {} : verify;
  const name = options.name ?? host;
  const pins = options.pin?.map(pin => pin.replace(/^sha256\//, ''));
  const servername = sni === 'off' ? undefined : (sni ?? (isIP(name) ? undefined : name));
  return {
    ...shared,
    verify: verify === 'off' ? false : { name, ...defined({ ca, pins, depth: options.depth, crls }) },
    ...defined({ servername }), // RFC 6066 §3: an IP address is never sent as a server name
  };
}

async function readAll<T>(
  references: readonly string[],
  read: Read,
  findings: Findings,
  parse: (text: string) => T[],
): Promise<T[]> {
  const all: T[] = [];
  for (const [index, reference] of references.entries()) {
    const here = references.length > 1 ? findings.at(index) : findings;
    all.push(...((await here.attempt(async () => parse((await read(reference)).toString()))) ?? []));
  }
  return all;
}

const certificatesOf = (text: string): string[] => parseCertificates(text).map(certificate => certificate.toString());

function crlsOf(text: string): string[] {
  const crls = pemBlocks(text, 'X509 CRL');
  try {
    createSecureContext({ crl: crls });
  } catch (cause) {
    throw new Fault('invalid', 'the CRL cannot be read; is it damaged?', { cause });
  }
  return crls;
}
