// How a request ends that did not end by itself: the page, the status, the line of the access log, what the audit is told.
import { formatAddress } from '../../core/address.ts';
import { Fault, type FaultCode, faults, isWeather } from '../../core/fault.ts';
import { type WebLine, whoText } from './access-line.ts';
import type { Caller } from './caller.ts';
import type { ForwardDeps } from './deps.ts';
import type { Exchange } from './exchange.ts';
import { valuesOf } from './headers.ts';
import type { HostEntry } from './hosts.ts';
import { type Page, refusalPage } from './pages.ts';
import type { Relayed } from './relay.ts';
import { type AbsoluteTarget, type Site, siteName, siteResource } from './site.ts';

/** @throws Fault `denied`; it is written down */
export function known(entry: HostEntry | undefined, site: Site, caller: Caller, deps: ForwardDeps): HostEntry {
  if (entry) return entry;
  // Nobody's guesses fill the audit: what is not in the map is one resource to those who are not known.
  const asked = caller.request(site);
  const resource = caller.certificate.state === 'good' ? siteResource(site) : 'web/*';
  deps.gate.refuse({ ...asked, resource }, 'not in web.forward.hosts');
  throw new Fault('denied', 'this address is not served through the gate');
}

/** A page instead of an answer from the site; counts and logs like any other. */
export function answerFault(
  fault: Fault,
  exchange: Exchange,
  caller: Caller,
  site: Site | undefined,
  deps: ForwardDeps,
  log: (end: Relayed) => void,
  as?: number,
): void {
  log({ status: refuse(fault, exchange, caller, site, deps, as), up: 0, down: 0, cause: fault.code });
}

export function refuse(
  fault: Fault,
  exchange: Exchange,
  caller: Caller,
  site: Site | undefined,
  deps: ForwardDeps,
  as?: number,
): number {
  const status = as ?? statusOf(fault);
  reportFault(fault, caller, deps);
  if (exchange.isAnswered) exchange.abort();
  else {
    const wantsHtml = /text\/html/.test(valuesOf(exchange.fields, 'accept').join());
    const where = site ? siteName(site) : '';
    sendPage(exchange, refusal(fault, status, where, caller, exchange.id, wantsHtml, deps));
    if (exchange.body.kind !== 'none') exchange.enough();
  }
  return status;
}

/** The denial of an address comes after the admission, so the gate has not written it yet. */
export function noteUnreached(fault: Fault, caller: Caller, site: Site, { gate }: ForwardDeps): void {
  const reason = fault.facts['address'] === undefined ? undefined : fault.facts['reason'];
  if (typeof reason === 'string') gate.refuse(caller.request(site), `${reason} (${fault.facts['address']})`);
}

export const statusOf = (fault: Fault): number => (fault.code === 'unknown-caller' ? 403 : faults[fault.code].http);

/** Denied callers learn nothing about why; those without a certificate learn how to get one. */
const said: Partial<Record<FaultCode, string>> = {
  'unknown-caller': 'nobody is let in without a certificate that counts',
  bug: 'something went wrong in the gate; its log has the details',
};

export function refusal(
  fault: Fault,
  status: number,
  site: string,
  caller: Caller,
  id: string,
  wantsHtml: boolean,
  { issuers, plan, signInUrl }: ForwardDeps,
): Page {
  const { help } = plan();
  const isAccess = fault.code === 'denied' || fault.code === 'unknown-caller';
  return refusalPage({
    ...{ status, site, wantsHtml, request: id, issuers: issuers() },
    what:
      (fault.facts['signIn'] === true ? 'this address wants a sign-in on top of the certificate' : undefined) ??
      (isAccess && caller.certificate.state === 'none' ? 'a client certificate is needed here' : said[fault.code]) ??
      (isAccess && fault.facts['rule'] !== undefined ? 'you may not reach this address' : fault.message),
    certificate: isAccess ? caller.certificate : { state: 'good' },
    ...(help === undefined ? {} : { help }),
    ...(fault.facts['signIn'] === true ? { signIn: signInUrl() } : {}),
  });
}

export function reportFault(fault: Fault, caller: Caller, { log, metrics }: ForwardDeps): void {
  metrics.count('faults_total', { code: fault.code, resource: 'web' });
  if (isWeather(fault.cause)) return;
  const facts = { from: caller.conn.peer, code: fault.code, ...fault.facts };
  if (fault.code === 'bug') log.error({ ...facts, cause: fault.cause }, fault.message);
  else log.debug(facts, fault.message);
}

export function sendPage(exchange: Exchange, page: Page): void {
  const bytes = Buffer.from(page.text);
  const hasBody = exchange.method !== 'HEAD' && page.status !== 204;
  const length = page.status === 204 ? [] : ['content-type', page.type, 'content-length', String(bytes.length)];
  const sink = exchange.answer({
    status: page.status,
    reason: '',
    fields: [...length, ...Object.entries(page.headers).flat()],
    hasBody,
    trailing: false,
  });
  if (hasBody) sink.end(bytes);
  else sink.end();
}

/** The access line of a request, written when it is over. */
export function beginLog(
  exchange: Exchange,
  caller: Caller,
  { site, path }: AbsoluteTarget,
  deps: ForwardDeps,
): (end: Relayed, session?: string) => void {
  const started = deps.clock.now();
  return ({ status, up, down, cause }, session) => {
    deps.metrics.count('web_requests_total', { kind: 'http', status: String(status) });
    const url = `http://${siteName(site)}${path.split('?')[0]}`;
    deps.accessLog(
      lineOf({ ask: exchange, caller, deps, session, status, up, down, started, cause, method: exchange.method, url }),
    );
  };
}

export function lineOf(facts: {
  ask: { readonly id: string; readonly version: string };
  caller: Caller;
  deps: ForwardDeps;
  session: string | undefined;
  status: number;
  up: number;
  down: number;
  started: Date;
  cause: string | undefined;
  method: string;
  url: string;
}): WebLine {
  const { ask, caller, deps, session, cause, started, ...rest } = facts;
  const time = deps.clock.now();
  return {
    ...rest,
    time,
    request: ask.id,
    version: ask.version,
    client: caller.conn.peer,
    who: whoText(caller.who),
    seconds: (time.getTime() - started.getTime()) / 1000,
    ...(session === undefined ? {} : { session }),
    ...(cause === undefined || cause === 'ended' ? {} : { cause }),
  };
}

/** Who speaks here, for the check page. */
export const fromText = ({ conn }: Caller): string => ('host' in conn.peer ? conn.peer.host : formatAddress(conn.peer));
