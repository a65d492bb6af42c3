// Front door of the web gate, both ways: plan it from the configuration, open it, hand it conns.
export { formatWebLine, type WebLine } from './access-line.ts';
export { addressFault, isOwnListener } from './addresses.ts';
export type { Explanation } from './check.ts';
export { type WebConfig, webConfig } from './config.ts';
export type { WebDeps, WebService, WebState } from './deps.ts';
export { isProxyRequest } from './first-bytes.ts';
export { type Form, type FormName, forms } from './forms.ts';
export { compileHosts } from './hosts.ts';
export { type IdentitySigner, identitySigner } from './identity.ts';
export { type HttpImport, type ImportedSite, importHttp } from './import/http.ts';
export { html, htmlPage, type Page } from './pages.ts';
export { type ForwardPlan, planWeb, type WebPlan } from './plan.ts';
export { openWeb } from './service.ts';
export { type Door, signInDoor } from './sign-in-door.ts';
export { openSignIns, type SignIns } from './sign-ins.ts';
export { type SiteSignIn, siteCookie, siteSignIn } from './site-sign-in.ts';
export {
  compileSites,
  openSites,
  planSites,
  type SitesPlan,
  type SitesService,
  type SitesState,
  type SitesWorld,
} from './sites/index.ts';
export { carryOver, siteStepUp, wanting } from './sites/step-up.ts';
export { signInStore } from './store.ts';
