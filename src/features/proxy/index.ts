// Front door of the TLS stream proxy: plan routes from the configuration, open them, move to other plans, drain.
export { type AccessLine, formatAccessLine } from './access-line.ts';
export type { Resolver } from './addresses.ts';
export { type ProxyConfig, proxyConfig, type RouteConfig } from './config.ts';
export type { Finding, KeyPath } from './findings.ts';
export { type ImportedRoute, importStream, type StreamImport } from './import/stream.ts';
export {
  type AcmeOptions,
  type CertificateSource,
  type PlanDeps,
  planRoutes,
  type TrustSource,
  type WantedClients,
} from './plan.ts';
export type { Identity, RoutePlan, RouteTrust } from './route-plan.ts';
export { openRoutes, type ProxyDeps, type ProxyService, type RouteState } from './service.ts';
export { newMasterKey } from './tickets.ts';
export type { PeerState } from './upstreams.ts';
