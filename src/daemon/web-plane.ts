// The web gate within this process: what it is handed, from the configuration of now.
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Address, Gate, Identify, Listener, Log, Metrics } from '../core/parts.ts';
import { type IdentitySigner, openWeb, type SignIns, type WebLine, type WebService } from '../features/web/index.ts';
import { type Authority, anonymous, type Directory } from '../trust/index.ts';
import type { ConfigFile } from './config-file.ts';
import { latestChecker } from './gateway-parts.ts';
import { namesOf } from './places.ts';
import type { Plan } from './plan.ts';

export interface WebPlaneOptions {
  readonly current: () => { readonly file: ConfigFile; readonly plan: Plan };
  /** The data folder. */
  readonly data: string;
  readonly gate: Gate;
  readonly authority: Pick<Authority, 'root'>;
  readonly directory: Pick<Directory, 'standing'>;
  readonly signIns: SignIns;
  readonly signer: IdentitySigner;
  /** The gate's own port, and every other listener that is open. */
  readonly ports: readonly Listener[];
  readonly opened: () => readonly Address[];
  readonly own: NonNullable<Parameters<typeof openWeb>[1]['own']>;
  readonly accessLog?: (line: WebLine) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Undefined where the configuration has no `web.forward`. */
export function openWebPlane(options: WebPlaneOptions): WebService | undefined {
  const { current, data, gate, authority, directory, ports, opened, own, accessLog, clock, log, metrics } = options;
  const { signIns, signer } = options;
  const plan = current().plan.web.forward;
  if (!plan) return undefined;
  const port = (): number => ports.flatMap(({ address }) => ('port' in address ? [address.port] : []))[0] ?? 443;
  const name = (): string => current().file.config.gate?.name ?? 'localhost';
  const publicPort = (): number => current().plan.web.forward?.port ?? port();
  const checker = latestChecker(() => current().plan.trust);
  const identify: Identify = async ({ tls }) =>
    tls?.leaf ? directory.standing(checker().check(tls.leaf, tls.chain)) : anonymous;
  const origin = (): string => `https://${name()}${publicPort() === 443 ? '' : `:${publicPort()}`}`;
  return openWeb(plan, {
    ...{ gate, identify, own, clock, log, metrics },
    decide: (who, resource, from) =>
      current().plan.policy.decide({ who, action: 'web.request', resource, from }, clock.now()),
    proxy: () => ({ host: current().plan.web.forward?.name ?? name(), port: publicPort() }),
    origin,
    signIns,
    signer,
    names: () => namesOf(current().file.config),
    listeners: () => [...opened(), ...routeAddresses(current().file)],
    pacToken: pacToken(data),
    issuers: () => issuersOf(current().plan),
    ca: () => (current().file.config.gate?.certificate === 'auto' ? authority.root().cert : undefined),
    ...(accessLog ? { accessLog } : {}),
  });
}

/** Where routes listen; those of workers are known from the file alone. */
export const routeAddresses = ({ config }: ConfigFile): Address[] =>
  Object.values(config.proxy).flatMap(({ listen }) =>
    listen.flatMap(address =>
      'port' in address && address.port !== 0 ? [{ host: address.host, port: address.port }] : [],
    ),
  );

/** Common names of the CAs whose client certificates count. */
export function issuersOf({ trust }: Plan): string[] {
  const names = trust.cas.flatMap(pem => /^CN=(.*)$/m.exec(new X509Certificate(pem).subject)?.[1] ?? []);
  return [...new Set(names)];
}

/** The part of a PAC file's path that is hard to guess: the same at each start, since browsers are told it once. */
function pacToken(data: string): string {
  const file = join(data, 'web-pac.token');
  try {
    const known = readFileSync(file, 'utf8').trim();
    if (/^[A-Za-z0-9_-]{20,}$/.test(known)) return known;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const token = randomBytes(18).toString('base64url');
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return token;
}
