// The room's door for worker processes: what carries bytes, and none of the schemas, planners and importers. Every
// megabyte that a worker's heap holds is marked again and again while bytes flow.
export { formatAccessLine } from './access-line.ts';
export type { Identity, RoutePlan, RouteTrust } from './route-plan.ts';
export { openRoutes, type ProxyService, type RouteState } from './service.ts';
