// Which HTTP proxy stands between this machine and a tunnel's endpoint, as the environment says it.
import { proxyOf } from '../../net/http-proxy.ts';

/** An http:// or https:// URL, credentials included. */
export type ProxyAddress = string;

/** HTTPS_PROXY, ALL_PROXY and NO_PROXY, as net/http-proxy.ts reads them. @throws Fault `invalid` */
export function proxyFor(
  host: string,
  port: number,
  env: Readonly<Record<string, string | undefined>>,
): ProxyAddress | undefined {
  return proxyOf(env, { host: host.replace(/^\[|\]$/g, ''), port })?.href;
}
