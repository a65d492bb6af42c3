// Front door of renamed sites within the web gate.
export { compileSites } from './map.ts';
export { planSites, type SitesPlan } from './plan.ts';
export { openSites, type SitesService, type SitesState, type SitesWorld } from './service.ts';
