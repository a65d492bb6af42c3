// One entry of `web.sites` → its plan; what is wrong is said at its key.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { Fault } from '../../../core/fault.ts';
import { parseCidr } from '../../../wire/cidr.ts';
import type { Read } from '../../../wire/config-value.ts';
import { canonicalHost } from '../site.ts';
import type { WebSiteConfig } from './config.ts';
import type { Scheme, SitePlan } from './map.ts';
import { type Pattern, parsePattern } from './pattern.ts';

export interface Findings {
  readonly wrong: (path: readonly string[], text: string) => void;
  /** A text that goes on after the key of the site. */
  readonly warn: (text: string) => void;
}

export async function planSite(
  key: string,
  config: WebSiteConfig,
  domain: string | undefined,
  read: Read,
  findings: Findings,
): Promise<SitePlan | undefined> {
  const { wrong } = findings;
  const name = readName(key, domain, wrong);
  const target = readTo(config.to, wrong);
  if (!target || !name) return undefined;
  const { scheme, host } = target;
  const told =
    config.host === undefined ? undefined : config.host === 'keep' ? ('keep' as const) : parsePattern(config.host);
  checkHoles(name, target, told, config, wrong);
  const tls = scheme === 'https' ? await planTls(config, read, wrong) : undefined;
  judge(scheme, config, findings);
  checkNetworks(['from'], config.from, wrong);
  if (config['sign-in'] && config.clients === 'none')
    wrong(['sign-in'], 'a sign-in stands on a client certificate; write clients: required');
  if (config.identity && config.clients === 'none')
    wrong(['identity'], 'nobody is known without a client certificate; write clients: required');
  const { protocol, websocket, clients, from, rewrite, cookies, hsts, identity, forwarded, timeouts, limits, health } =
    config;
  return {
    ...{ key, name, host, scheme, told, protocol, websocket, clients, rewrite, identity, forwarded, timeouts },
    ...{ label: parsePattern(key), port: target.port, path: target.path, hsts: hsts === 'off' ? 0 : hsts },
    cookies: { secure: cookies.secure, ...(cookies.samesite ? { samesite: cookies.samesite } : {}) },
    limits: { upstream: limits.upstream, ...(limits.body === undefined ? {} : { body: limits.body }) },
    ...(config.at?.kind === 'tcp' ? { at: { host: config.at.host, port: config.at.port } } : {}),
    ...(tls ? { tls } : {}),
    ...(from ? { from } : {}),
    ...(health ? { health } : {}),
    ...(config['sign-in'] ? { signIn: config['sign-in'].within } : {}),
  };
}

/** `server1` is a name of the domain, `wiki.example.org` a whole one. */
function readName(key: string, domain: string | undefined, wrong: Findings['wrong']): Pattern | undefined {
  const isWhole = key.includes('.');
  if (!isWhole && domain === undefined) {
    wrong([], `"${key}" needs web.domain, which stands behind it; or write the whole name`);
    return undefined;
  }
  const name = parsePattern(isWhole ? key : `${key}.${domain}`);
  if (isWhole && key.includes('*') && !key.startsWith('*.')) wrong([], 'a * stands at the beginning of a whole name');
  if (canonicalHost(name.text.replace('*', 'a').replace('{port}', '80')) === undefined) {
    wrong([], `${name.text} is no host name`);
  }
  return name;
}

/** What stands in a hole of the address must come from a hole of the name. */
function checkHoles(
  name: Pattern,
  { host, port }: Pick<SitePlan, 'host' | 'port'>,
  told: SitePlan['told'],
  { at }: WebSiteConfig,
  wrong: Findings['wrong'],
): void {
  const inside = `${host.text}${port === 'hole' ? '{port}' : ''}`;
  for (const hole of ['*', '{port}']) {
    if (name.text.includes(hole)) continue;
    if (inside.includes(hole)) wrong(['to'], `${hole} stands in the address but not in the name ${name.text}`);
    if (typeof told === 'object' && told.text.includes(hole)) {
      wrong(['host'], `${hole} stands in the Host but not in the name ${name.text}`);
    }
  }
  if (at && /[*{]/.test(inside)) wrong(['at'], 'one address cannot be that of many services');
}

function judge(scheme: Scheme, config: WebSiteConfig, { wrong, warn }: Findings): void {
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
}

export function checkNetworks(
  path: readonly string[],
  networks: readonly string[] | undefined,
  wrong: Findings['wrong'],
): void {
  for (const [index, network] of (networks ?? []).entries()) {
    try {
      parseCidr(network);
    } catch (error) {
      wrong([...path, String(index)], (error as Error).message);
    }
  }
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
