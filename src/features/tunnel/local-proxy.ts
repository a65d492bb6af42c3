// Which HTTP proxy stands between this machine and a host, as the environment says it (HTTPS_PROXY, NO_PROXY).

/** An http:// or https:// URL, credentials included. */
export type ProxyAddress = string;

/** `https_proxy` before `HTTPS_PROXY`; NO_PROXY holds names, `.suffix`, addresses and `*`, with a port if need be. */
export function proxyFor(
  host: string,
  port: number,
  env: Readonly<Record<string, string | undefined>>,
): ProxyAddress | undefined {
  const proxy = env['https_proxy'] || env['HTTPS_PROXY'] || env['all_proxy'] || env['ALL_PROXY'];
  if (!proxy) return undefined;
  const name = host.toLowerCase().replace(/^\[|\]$/g, '');
  for (const entry of (env['no_proxy'] ?? env['NO_PROXY'] ?? '').split(/[\s,]+/).filter(Boolean)) {
    if (entry === '*') return undefined;
    const [, wanted = '', only] = /^(\[[^\]]+\]|[^:]*|.*:.*:.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    const suffix = wanted.replace(/^\[|\]$/g, '').replace(/^\*?\.?/, '');
    if (only !== undefined && Number(only) !== port) continue;
    if (suffix !== '' && (name === suffix || name.endsWith(`.${suffix}`))) return undefined;
  }
  return /^https?:\/\//.test(proxy) ? proxy : `http://${proxy}`;
}
