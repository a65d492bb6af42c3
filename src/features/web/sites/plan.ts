// `web.sites` → everything that can be known before it runs: plain data, every mistake at its key.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { Fault } from '../../../core/fault.ts';
import { parseCidr } from '../../../wire/cidr.ts';
import type { Read } from '../../../wire/config-value.ts';
import type { WebConfig } from '../config.ts';
import { canonicalHost } from '../site.ts';
import type { WebSiteConfig } from './config.ts';
import type { Scheme, SitePlan } from './map.ts';
import { parsePattern } from './pattern.ts';

export interface SitesPlan {
  readonly domain?: string;
  readonly sites: readonly SitePlan[];
  readonly port?: number;
  readonly resolver?: readonly string[];
  readonly addresses: readonly string[];
  readonly help?: string;
  /** Milliseconds. */
  readonly idle: number;
  readonly limits: { readonly connections: number; readonly streams: number; readonly header: number };
  /** Which certificate each name is shown; `of`: the key in the file that it comes from. */
  readonly certificates: readonly {
    readonly path: readonly string[];
    readonly certificate: NonNullable<WebConfig['certificate']>;
    /** Public names, those with a hole as wildcards. */
    readonly names: readonly string[];
    readonly keys: readonly string[];
  }[];
  readonly warnings: readonly string[];
}

interface Finding {
  readonly path: readonly (string | number)[];
  readonly text: string;
}

/** Names that are somebody else's on the gate's port. */
export interface Taken {
  /** Of the gate and of the forward proxy. */
  readonly own: readonly string[];
  /** Of proxy routes on the gate's port. */
  readonly routes: readonly string[];
}

/** Undefined without `web.sites`. @throws Fault `invalid` with every mistake in its facts */
export async function planSites(
  config: WebConfig | undefined,
  read: Read,
  taken: Taken,
): Promise<SitesPlan | undefined> {
  if (!config) return undefined;
  const { sites: written, domain: domainAsWritten, certificate } = config;
  const domain = domainAsWritten?.toLowerCase();
  const mistakes: Finding[] = [];
  const wrong = (path: readonly string[], text: string): void => void mistakes.push({ path: ['web', ...path], text });
  if (written === undefined) {
    for (const key of ['domain', 'certificate', 'port', 'resolver', 'addresses', 'help'] as const) {
      if (config[key] !== undefined) wrong([key], 'means nothing without sites; web.forward has keys of its own');
    }
    if (mistakes.length > 0) throw mistaken(mistakes);
    return undefined;
  }
  const sites: SitePlan[] = [];
  const warnings: string[] = [];
  for (const [key, site] of Object.entries(written)) {
    const at = ['sites', key];
    try {
      const plan = await planSite(
        key,
        site,
        domain,
        read,
        (path, text) => wrong([...at, ...path], text),
        text => warnings.push(`web.sites.${key}${text}`),
      );
      if (!plan) continue;
      const other = sites.find(({ name }) => name.text === plan.name.text);
      if (other) wrong(at, `"${other.key}" and "${key}" are the same name, ${plan.name.text}`);
      if (taken.own.some(name => name.toLowerCase() === plan.name.text)) {
        wrong(at, `${plan.name.text} is the gate’s own name (gate.name, web.forward.name); give the site another`);
      }
      if (taken.routes.some(name => name.toLowerCase() === plan.name.text)) {
        wrong(at, `${plan.name.text} is also the name of a proxy route on the gate’s port`);
      }
      sites.push(plan);
    } catch (error) {
      if (!(error instanceof Fault) || error.code === 'bug') throw error;
      wrong(at, error.message);
    }
  }
  if (Object.keys(written).length === 0) wrong(['sites'], 'name at least one site');
  for (const [index, network] of (config.addresses ?? []).entries()) {
    try {
      parseCidr(network);
    } catch (error) {
      wrong(['addresses', String(index)], (error as Error).message);
    }
  }
  const certificates = certificatesFor(sites, written, certificate, wrong);
  if (mistakes.length > 0) throw mistaken(mistakes);
  const { port, resolver, addresses = [], help, idle, limits } = config;
  return {
    ...(domain === undefined ? {} : { domain }),
    ...(port === undefined ? {} : { port }),
    ...(resolver === undefined ? {} : { resolver }),
    ...(help === undefined ? {} : { help }),
    ...{ sites, addresses, idle, limits, certificates, warnings },
  };
}

const mistaken = (mistakes: readonly Finding[]): Fault =>
  new Fault('invalid', mistakes.map(({ path, text }) => `${path.join('.')}: ${text}`).join('\n'), {
    facts: { mistakes },
  });

async function planSite(
  key: string,
  config: WebSiteConfig,
  domain: string | undefined,
  read: Read,
  wrong: (path: readonly string[], text: string) => void,
  warn: (text: string) => void,
): Promise<SitePlan | undefined> {
  const isWhole = key.includes('.');
  if (!isWhole && domain === undefined) {
    wrong([], `"${key}" needs web.domain, which stands behind it; or write the whole name`);
    return undefined;
  }
  const name = parsePattern(isWhole ? key : `${key}.${domain}`);
  const label = parsePattern(isWhole ? key : key);
  if (/\*./.test(key.replace('*', '')) || (isWhole && /\*/.test(key) && !key.startsWith('*.'))) {
    wrong([], 'a * stands at the beginning of a whole name, or anywhere in a short one');
  }
  if (canonicalHost(name.text.replace('*', 'a').replace('{port}', '80')) === undefined) {
    wrong([], `${name.text} is no host name`);
  }
  const target = readTo(config.to, wrong);
  if (!target) return undefined;
  const { scheme, host, port, path } = target;
  const holes = (text: string): string => `${text.includes('*') ? '*' : ''}${text.includes('{port}') ? '{port}' : ''}`;
  const [outside, inside] = [holes(name.text), `${holes(host.text)}${port === 'hole' ? '{port}' : ''}`];
  for (const hole of ['*', '{port}']) {
    if (inside.includes(hole) && !outside.includes(hole))
      wrong(['to'], `${hole} stands in the address but not in the name "${key}"`);
  }
  if (config.at && inside !== '') wrong(['at'], 'one address cannot be that of many services');
  const told =
    config.host === undefined ? undefined : config.host === 'keep' ? ('keep' as const) : parsePattern(config.host);
  if (typeof told === 'object' && told.text.includes('*') && !outside.includes('*')) {
    wrong(['host'], `* stands in the Host but not in the name "${key}"`);
  }
  const tls = scheme === 'https' ? await planTls(config, read, wrong) : undefined;
  if (scheme === 'http') {
    for (const option of ['verify', 'sni', 'identify'] as const) {
      if (config[option] !== undefined) wrong([option], 'means nothing without an https:// service');
    }
  } else if (config.verify === 'off') {
    warn('.verify: off: whoever stands between can pose as the service; give its CA with verify: { ca: file:… }');
  }
  if (config.clients === 'none') {
    warn('.clients: none: everybody who reaches the gate reaches this service, without a certificate');
  }
  for (const [index, network] of (config.from ?? []).entries()) {
    try {
      parseCidr(network);
    } catch (error) {
      wrong(['from', String(index)], (error as Error).message);
    }
  }
  if (config.at && config.at.kind !== 'tcp') wrong(['at'], 'write tcp://host:port');
  const { protocol, websocket, clients, from, rewrite, cookies, hsts, identity, forwarded, timeouts, limits, health } =
    config;
  return {
    ...{ key, name, label, scheme, host, port, path, told, protocol, websocket, clients, rewrite, identity, forwarded },
    ...{ timeouts, hsts: hsts === 'off' ? 0 : hsts },
    cookies: { secure: cookies.secure, ...(cookies.samesite ? { samesite: cookies.samesite } : {}) },
    limits: { upstream: limits.upstream, ...(limits.body === undefined ? {} : { body: limits.body }) },
    ...(config.at?.kind === 'tcp' ? { at: { host: config.at.host, port: config.at.port } } : {}),
    ...(tls ? { tls } : {}),
    ...(from ? { from } : {}),
    ...(health ? { health } : {}),
  };
}

function readTo(
  text: string,
  wrong: (path: readonly string[], text: string) => void,
): Pick<SitePlan, 'scheme' | 'host' | 'port' | 'path'> | undefined {
  const [, scheme = '', name = '', port, path = '/'] =
    /^(https?):\/\/(\[[^\]]*\]|[^:/]*)(?::(\d+|\{port\}))?(\/.*)?$/i.exec(text) ?? [];
  const lower = scheme.toLowerCase() as Scheme;
  const bare = name.replace(/^\[|\]$/g, '').toLowerCase();
  if (bare === '*' || bare === '') {
    wrong(['to'], `"${text}" would lead anywhere; write the names that are meant, like http://*.corp.example/`);
    return undefined;
  }
  if (!name.startsWith('[') && canonicalHost(bare.replace('*', 'a')) === undefined) {
    wrong(['to'], `"${name}" is no host name`);
    return undefined;
  }
  const number = port === undefined ? (lower === 'https' ? 443 : 80) : port === '{port}' ? 'hole' : Number(port);
  if (typeof number === 'number' && (number < 1 || number > 65535)) {
    wrong(['to'], `${port} is no port`);
    return undefined;
  }
  return { scheme: lower, host: parsePattern(bare), port: number, path: path.endsWith('/') ? path : `${path}/` };
}

async function planTls(
  { verify, sni, identify }: WebSiteConfig,
  read: Read,
  wrong: (path: readonly string[], text: string) => void,
): Promise<NonNullable<SitePlan['tls']>> {
  const attempt = async <T>(path: readonly string[], step: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await step();
    } catch (error) {
      wrong(path, error instanceof Fault ? error.message : (error as Error).message);
      return undefined;
    }
  };
  const options = verify === undefined || verify === 'off' ? {} : verify;
  const ca =
    options.ca === undefined
      ? undefined
      : await attempt(['verify', 'ca'], async () =>
          (await Promise.all(options.ca?.map(read) ?? [])).flatMap(text => certificatesOf(text.toString())),
        );
  const identity = identify
    ? await attempt(['identify'], async () => {
        const cert = (await read(identify.cert)).toString();
        const passphrase =
          identify.passphrase === undefined
            ? undefined
            : (await read(identify.passphrase)).toString().split(/\r?\n/)[0];
        const key = createPrivateKey({
          key: await read(identify.key),
          ...(passphrase === undefined ? {} : { passphrase }),
        });
        if (!new X509Certificate(cert).checkPrivateKey(key))
          throw new Fault('invalid', 'the key does not belong to the certificate');
        return { cert, key: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
      })
    : undefined;
  return {
    verify: verify !== 'off',
    ...(ca ? { ca } : {}),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(identity ? { identity } : {}),
    sni: sni === undefined ? 'name' : sni === 'off' ? 'off' : { name: sni },
  };
}

function certificatesOf(text: string): string[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (!blocks) throw new Fault('invalid', 'the file holds no PEM block "BEGIN CERTIFICATE"');
  return blocks.map(block => new X509Certificate(block).toString());
}

/** Sites of the domain share one certificate; others bring their own, or the shared one must cover them. */
function certificatesFor(
  sites: readonly SitePlan[],
  written: NonNullable<WebConfig['sites']>,
  shared: WebConfig['certificate'],
  wrong: (path: readonly string[], text: string) => void,
): SitesPlan['certificates'] {
  const groups: SitesPlan['certificates'][number][] = [];
  const common = sites.filter(({ key }) => written[key]?.certificate === undefined);
  if (common.length > 0) {
    groups.push({
      path: ['web', 'certificate'],
      certificate: shared ?? 'auto',
      names: common.map(nameOf),
      keys: common.map(({ key }) => key),
    });
  }
  for (const site of sites) {
    const certificate = written[site.key]?.certificate;
    if (certificate === undefined) continue;
    groups.push({
      path: ['web', 'sites', site.key, 'certificate'],
      certificate,
      names: [nameOf(site)],
      keys: [site.key],
    });
  }
  for (const { certificate, names, path } of groups) {
    if (certificate === 'acme' && names.some(name => name.includes('*'))) {
      wrong(
        path.slice(1),
        'ACME gives no certificate for names with a * unless by DNS, which this gate does not speak; write files, or name every site',
      );
    }
  }
  return groups;
}

/** As a certificate says it: `server1.example.com`, `*.example.com`. */
const nameOf = ({ name }: SitePlan): string =>
  /[*{]/.test(name.text) ? `*.${name.text.slice(name.text.indexOf('.') + 1)}` : name.text;
