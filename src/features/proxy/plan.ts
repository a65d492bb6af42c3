// From `proxy:` as written to plans that can be opened: reads every file, decrypts keys, checks everything, opens nothing.
import { createPrivateKey } from 'node:crypto';
import { compileRules, parseCidr } from '../../wire/cidr.ts';
import type { Read } from '../../wire/config-value.ts';
import type { ProxyConfig, RouteConfig } from './config.ts';
import { defined } from './defined.ts';
import { createFindings, type Findings, faultOf, type KeyPath } from './findings.ts';
import { judgeIdentity, loadIdentity, tryTls } from './identities.ts';
import { checkShared, isLocal, planListens } from './plan-listens.ts';
import { planOutward } from './plan-outward.ts';
import type { Identity, RouteLimits, RoutePlan, RouteTrust, ServerTlsPlan } from './route-plan.ts';

/** Where certificates come from that are not files. */
export interface CertificateSource {
  /** From the gate's own CA, for these names besides the gate's own. */
  auto(names: readonly string[]): Promise<readonly Identity[]>;
  /** From an ACME directory; what is stored already is given at once. */
  acme(route: string, options: AcmeOptions, names: readonly string[]): Promise<readonly Identity[]>;
  /** Calls back when a certificate was renewed: plan and reload anew. The answer ends the calls. */
  onChange(call: () => void): () => void;
}

/** `acme: { … }` as written; every key may be missing. */
export interface AcmeOptions {
  readonly directory?: string | undefined;
  readonly names?: readonly string[] | undefined;
  readonly email?: string | undefined;
  readonly challenge?: 'http-01' | 'tls-alpn-01' | undefined;
  readonly ca?: string | undefined;
  /** Milliseconds. */
  readonly 'renew-before'?: number | undefined;
  /** `key` is a reference. */
  readonly eab?: { readonly kid: string; readonly key: string } | undefined;
}

export interface TrustSource {
  /**
   * What `clients:` means. `ca` and `crl` absent = as `trust:` says; in `ca`, `builtin` is the gate's own CA and
   * everything else a reference to read. @throws Fault `invalid`
   */
  clients(wanted: WantedClients, read: Read): Promise<RouteTrust>;
}
export interface WantedClients {
  readonly mode: 'optional' | 'required';
  readonly ca?: readonly string[];
  readonly depth: number;
  readonly crl?: readonly string[];
}

export interface PlanDeps {
  readonly read: Read;
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  /** Whether a Dialer for `device://` will be handed to openRoutes. */
  readonly devices?: boolean;
  /** The path of the slice, for the texts of mistakes; default `proxy`. */
  readonly at?: KeyPath;
  readonly now?: Date;
}

const defaultDepth = 3;

/**
 * Loads and checks every route. Files are read once each, so a passphrase may come out of a FIFO.
 * @throws Fault `invalid` with every mistake on a line that starts with its key path; `facts.mistakes` has the paths.
 */
export async function planRoutes(config: ProxyConfig, deps: PlanDeps): Promise<RoutePlan[]> {
  const findings = createFindings(deps.at ?? ['proxy']);
  const once = { ...deps, read: readOnce(deps.read) };
  const plans: RoutePlan[] = [];
  for (const [name, route] of Object.entries(config)) plans.push(await planRoute(name, route, once, findings.at(name)));
  checkShared(plans, route => findings.at(route));
  if (findings.mistakes.length > 0) throw faultOf(findings.mistakes);
  return plans;
}

async function planRoute(name: string, config: RouteConfig, deps: PlanDeps, findings: Findings): Promise<RoutePlan> {
  const now = deps.now ?? new Date();
  const warnedBefore = findings.warnings.length;
  const listens = planListens(config, findings);
  const ends = listens.some(listen => listen.mode === 'tls');
  const tls = ends ? await planServerTls(name, config, deps, now, findings) : undefined;
  const clients = ends ? await planClients(config, deps, findings) : undefined;
  const outward = await planOutward(config, { read: deps.read, devices: deps.devices ?? false, now }, findings);
  await checkAddresses(config, findings);
  warnOfTheWorld(config, clients, findings);
  return {
    name,
    listens,
    names: config.names ?? [],
    alpn: config.alpn ?? [],
    default: config.default ?? false,
    plain: config.plain ?? false,
    ...defined({ tls, clients, rules: config.rules, proxyFrom: config['proxy-protocol']?.from }),
    outward,
    limits: planLimits(config),
    halfClose: config['half-close'],
    ...(config.datagrams ? { datagrams: defined(config.datagrams) } : {}),
    warnings: findings.warnings.slice(warnedBefore).map(({ text }) => text),
  };
}

async function planServerTls(
  route: string,
  config: RouteConfig,
  deps: PlanDeps,
  now: Date,
  findings: Findings,
): Promise<ServerTlsPlan> {
  const here = findings.at('certificate');
  const identities = await loadCertificates(route, config, deps, here);
  for (const identity of identities) judgeIdentity(identity, config.names ?? [], now, here);
  const kinds = identities.map(({ key }) => createPrivateKey(key).asymmetricKeyType);
  const twice = kinds.find((kind, index) => kinds.indexOf(kind) !== index);
  if (twice) here.mistake(`two ${twice} keys; side by side can stand one RSA and one ECDSA certificate`);
  const { protocols, ciphers, curves, session } = config;
  const choice = defined({ protocols, ciphers, curves });
  tryTls(choice, identities, findings);
  return {
    ...choice,
    identities,
    ...defined({ preferServerCiphers: config['prefer-server-ciphers'], closeNotify: closeNotify(config) }),
    session: session ?? { tickets: true, cache: 0, timeout: 300_000, rotate: 12 * 3_600_000 },
  };
}

const closeNotify = (config: RouteConfig): 'required' | undefined =>
  config['close-notify'] === 'required' ? 'required' : undefined;

async function loadCertificates(
  route: string,
  { certificate = 'auto', names }: RouteConfig,
  { read, certificates }: PlanDeps,
  findings: Findings,
): Promise<readonly Identity[]> {
  if (certificate === 'auto') return (await findings.attempt(() => certificates.auto(names ?? []))) ?? [];
  if (certificate === 'acme' || 'acme' in certificate) {
    const options: AcmeOptions = certificate === 'acme' ? {} : certificate.acme;
    const wanted = options.names ?? names ?? [];
    if (wanted.length === 0) findings.mistake('acme needs names; write names: [db.example.com] beside it');
    if (wanted.some(name => name.startsWith('*'))) {
      findings.mistake(
        'acme by http-01 or tls-alpn-01 cannot prove a wildcard; list the names, or give certificate files',
      );
    }
    return (await findings.attempt(() => certificates.acme(route, options, wanted))) ?? [];
  }
  if (!Array.isArray(certificate)) {
    const one = await loadIdentity(certificate, read, findings);
    return one ? [one] : [];
  }
  const loaded: Identity[] = [];
  for (const [index, files] of certificate.entries()) {
    const one = await loadIdentity(files, read, findings.at(index));
    if (one) loaded.push(one);
  }
  return loaded;
}

async function planClients(
  { clients }: RouteConfig,
  deps: PlanDeps,
  findings: Findings,
): Promise<RouteTrust | undefined> {
  if (clients === undefined || clients === 'off') return undefined;
  const wanted = typeof clients === 'string' ? { mode: clients, depth: defaultDepth } : defined(clients);
  const here = findings.at('clients');
  const trust = await here.attempt(() => deps.trust.clients(wanted, deps.read));
  if (trust && trust.cas.length === 0)
    here.mistake('no CA whose client certificates would count; give ca: [builtin] or files');
  return trust;
}

async function checkAddresses(config: RouteConfig, findings: Findings): Promise<void> {
  await findings.at('rules').attempt(() => compileRules(config.rules ?? []));
  for (const [index, cidr] of (config['proxy-protocol']?.from ?? []).entries()) {
    await findings.at('proxy-protocol', 'from', index).attempt(() => parseCidr(cidr));
  }
}

function warnOfTheWorld(config: RouteConfig, clients: RouteTrust | undefined, findings: Findings): void {
  if (clients?.mode === 'required' || (config.rules?.length ?? 0) > 0) return;
  const open = config.listen.filter(address => !isLocal(address));
  if (open.length > 0) {
    findings
      .at('listen')
      .warn('everybody who reaches this address may connect; add rules: or clients: required to say who');
  }
}

function planLimits({ limits }: RouteConfig): RouteLimits {
  const { connections, lifetime, upload, download, queue, wait, handshake, idle } = limits;
  return {
    queue,
    wait,
    handshake,
    idle,
    halfClose: limits['half-close'] ?? idle,
    ...defined({ connections, perAddress: limits['per-address'], lifetime, upload, download }),
  };
}

function readOnce(read: Read): Read {
  const known = new Map<string, Promise<Buffer>>();
  return reference => {
    const reading = known.get(reference) ?? read(reference);
    known.set(reference, reading);
    return reading;
  };
}
