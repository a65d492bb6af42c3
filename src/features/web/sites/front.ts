// A request to a renamed site, above both HTTPs: whether it is for this site, whether it may, and what it becomes.
import { formatAddress } from '../../../core/address.ts';
import { Fault, type FaultCode, faults, isWeather, toFault } from '../../../core/fault.ts';
import { type WebLine, whoText } from '../access-line.ts';
import type { Exchange } from '../exchange.ts';
import { answerFields, requestFields, valuesOf } from '../headers.ts';
import type { MessageHead } from '../llhttp.ts';
import { sendPage } from '../outcome.ts';
import type { Page } from '../pages.ts';
import { type Passed, type Relayed, relay } from '../relay.ts';
import { answerOut, requestIn } from './fields.ts';
import type { Guest } from './guest.ts';
import { relayHttp2 } from './h2.ts';
import { linksThrough } from './links-through.ts';
import { readAuthority, type Site } from './map.ts';
import { siteRefusalPage } from './pages.ts';
import type { SitesDeps } from './service.ts';
import type { SiteStay } from './stay.ts';
import { innerPath, type Naming } from './urls.ts';

/** What the parts of a request share. */
export interface Asked {
  readonly exchange: Pick<Exchange, 'id' | 'method' | 'version' | 'fields' | 'body'>;
  readonly guest: Guest;
  readonly naming: Naming;
  /** As the client wrote it. */
  readonly path: string;
}

export interface Target {
  /** What the request says it is for: Host, or `:authority`. */
  readonly authority: string;
  readonly path: string;
}

/** Reads what a request is for. @throws Fault `protocol` (400), `denied` with status 421 */
export function aim({ authority, path }: Target, guest: Guest, deps: SitesDeps): Naming {
  if (!/^(\*|\/[\x21\x22\x24-\x7e]*)$/.test(path))
    throw new Fault('protocol', 'the path of this request cannot be read');
  if (guest.aimed?.authority === authority) return guest.aimed.naming;
  const place = readAuthority(authority);
  if (!place) throw new Fault('protocol', 'the Host of this request cannot be read');
  const { site } = guest;
  // RFC 9110 §15.5.20: the connection was made, and its caller admitted, for one name.
  if (place.host !== site.name) {
    throw new Fault('protocol', 'this connection is for another site', { facts: { status: 421 } });
  }
  const port = place.port === undefined || place.port === 443 ? '' : `:${place.port}`;
  const naming = { sites: deps.sites(), site, port };
  guest.aimed = { authority, naming };
  return naming;
}

/** Serves one request. Never throws. */
export function serveSite(exchange: Exchange, guest: Guest, target: Target, deps: SitesDeps): void {
  const log = beginLog(exchange, guest, target.path, deps);
  let naming: Naming;
  try {
    naming = aim(target, guest, deps);
    if (exchange.method === 'TRACE') throw new Fault('invalid', 'TRACE is not passed on', { facts: { status: 405 } });
  } catch (error) {
    log({ status: refuse(toFault(error), exchange, guest, deps), up: 0, down: 0, cause: toFault(error).code });
    return;
  }
  const asked: Asked = { exchange, guest, naming, path: target.path };
  const stay = guest.openStay();
  if (stay && (!deps.before || naming.site.plan.signIn === undefined)) send(exchange, asked, stay, deps, log);
  else void admit(exchange, asked, deps, log);
}

async function admit(
  exchange: Exchange,
  asked: Asked,
  deps: SitesDeps,
  log: (end: Relayed, session?: string) => void,
): Promise<void> {
  const { guest } = asked;
  try {
    const stay = await guest.stay();
    const page = deps.before?.(exchange, guest, asked.path);
    if (page instanceof Date) stay.endAt(page, deps.clock);
    else if (page) {
      sendPage(exchange, page);
      if (exchange.body.kind !== 'none') exchange.enough();
      log({ status: page.status, up: 0, down: 0 }, stay.session.id);
      return;
    }
    send(exchange, asked, stay, deps, log);
  } catch (error) {
    const fault = toFault(error);
    log({ status: refuse(fault, exchange, guest, deps), up: 0, down: 0, cause: fault.code });
  }
}

function send(
  exchange: Exchange,
  asked: Asked,
  stay: SiteStay,
  deps: SitesDeps,
  log: (end: Relayed, session?: string) => void,
): void {
  const { guest, naming, path } = asked;
  const { plan } = naming.site;
  let refused: number | undefined;
  const send = plan.protocol === 'h2' ? relayHttp2 : relay;
  send(exchange, {
    upstream: stay,
    path: innerPath(path, naming.site),
    fields: fieldsFor(asked, plan.rewrite === 'links' ? 'readable' : 'any'),
    most: plan.limits.body,
    hint: link => answerOut(['Link', link], naming, 0)[1] ?? link,
    answer: (head, hasBody, isTrailing) => answerFor(head, hasBody, isTrailing, asked, deps),
    done: end => log(refused === undefined ? end : { ...end, status: refused }, stay.session.id),
    fail: fault => {
      noteUnreached(fault, guest, deps);
      refused = refuse(fault, exchange, guest, deps);
    },
  });
}

/** What the service is told. `readable`: in codings that we can look into. */
export function fieldsFor({ exchange, guest, naming, path: _ }: Asked, body: 'any' | 'readable'): string[] {
  const { site, port } = naming;
  const { plan } = site;
  const host = site.authority ?? `${site.name}${port}`;
  const { peer } = guest.conn;
  const from = 'host' in peer ? peer.host : 'unknown';
  const own = plan.forwarded
    ? ['X-Forwarded-For', from, 'X-Forwarded-Host', `${site.name}${port}`, 'X-Forwarded-Proto', 'https']
    : [];
  const fields = requestFields(requestIn(exchange.fields, naming), {
    ...{ host, body: exchange.body, method: exchange.method, version: exchange.version },
    extra: [...own, 'X-Request-Id', exchange.id, ...guest.identity()],
  });
  return body === 'readable' ? readable(fields) : fields;
}

/** Codings that Node undoes; the others cannot be looked into. */
function readable(fields: string[]): string[] {
  return fields.map((text, at) =>
    at % 2 === 1 && fields[at - 1]?.toLowerCase() === 'accept-encoding'
      ? text
          .split(',')
          .filter(word => /^\s*(gzip|deflate|br|identity)\b/i.test(word))
          .join(',') || 'identity'
      : text,
  );
}

/** The answer as the client gets it. */
function answerFor(
  { status, fields: sent, version }: MessageHead,
  hasBody: boolean,
  isTrailing: boolean,
  { naming }: Asked,
  deps: SitesDeps,
): Passed {
  const passed = answerFields(sent, version, isTrailing);
  const fields = answerOut(passed, naming, deps.hsts(naming.site));
  if (naming.site.plan.rewrite !== 'links') return { fields };
  return linksThrough(status, fields, hasBody, naming);
}

/** A page instead of an answer from the service. Answers its status. */
export function refuse(fault: Fault, exchange: Exchange, guest: Guest, deps: SitesDeps): number {
  const status = statusOf(fault);
  report(fault, guest, deps);
  if (exchange.isAnswered) exchange.abort();
  else {
    sendPage(exchange, pageFor(fault, status, exchange, guest, deps));
    if (exchange.body.kind !== 'none') exchange.enough();
  }
  return status;
}

export function statusOf(fault: Fault): number {
  const written = fault.facts['status'];
  if (typeof written === 'number') return written;
  return fault.code === 'unknown-caller' ? 403 : faults[fault.code].http;
}

/** Denied callers learn nothing about why; those without a certificate learn how to get one. */
const said: Partial<Record<FaultCode, string>> = {
  'unknown-caller': 'nobody is let in without a certificate that counts',
  bug: 'something went wrong in the gate; its log has the details',
};

export function pageFor(
  fault: Fault,
  status: number,
  { id, fields }: Pick<Exchange, 'id' | 'fields'>,
  guest: Guest,
  { issuers, help, checkUrl }: SitesDeps,
): Page {
  const isAccess = fault.code === 'denied' || fault.code === 'unknown-caller';
  const { certificate } = guest.caller;
  const asksFor = isAccess && guest.site.plan.clients === 'required' ? certificate : ({ state: 'good' } as const);
  return siteRefusalPage({
    ...{ status, request: id, issuers: issuers(), help: help(), check: checkUrl() },
    site: guest.site.name,
    what:
      (asksFor.state === 'none' ? 'a client certificate is needed here' : said[fault.code]) ??
      (isAccess && fault.facts['rule'] !== undefined ? 'you may not reach this site' : fault.message),
    certificate: asksFor,
    wantsHtml: /text\/html/.test(valuesOf(fields, 'accept').join()),
  });
}

export function report(fault: Fault, { conn, site }: Guest, { log, metrics }: SitesDeps): void {
  metrics.count('faults_total', { code: fault.code, resource: 'web' });
  if (isWeather(fault.cause)) return;
  const facts = { from: conn.peer, site: site.name, code: fault.code, ...fault.facts };
  if (fault.code === 'bug') log.error({ ...facts, cause: fault.cause }, fault.message);
  else log.debug(facts, fault.message);
}

/** The denial of an address comes after the admission, so the gate has not written it yet. */
export function noteUnreached(fault: Fault, guest: Guest, { gate }: SitesDeps): void {
  const reason = fault.facts['address'] === undefined ? undefined : fault.facts['reason'];
  if (typeof reason === 'string') gate.refuse(guest.request(), `${reason} (${fault.facts['address']})`);
}

/** The access line of a request, written when it is over. */
export function beginLog(
  exchange: Pick<Exchange, 'id' | 'method' | 'version'>,
  guest: Guest,
  path: string,
  deps: SitesDeps,
): (end: Relayed, session?: string) => void {
  const started = deps.clock.now();
  const { site } = guest;
  return ({ status, up, down, cause }, session) => {
    deps.metrics.count('web_requests_total', { kind: 'site', status: String(status) });
    const time = deps.clock.now();
    const line: WebLine = {
      ...{ time, status, up, down, request: exchange.id, method: exchange.method, version: exchange.version },
      client: guest.conn.peer,
      who: whoText(guest.caller.who),
      url: `https://${site.name}${path.split('?')[0]?.slice(0, 2000)}`,
      seconds: (time.getTime() - started.getTime()) / 1000,
      ...(session === undefined ? {} : { session }),
      ...(cause === undefined || cause === 'ended' ? {} : { cause }),
    };
    deps.accessLog(line);
  };
}

/** `server1.example.com → http://server1`, for people. */
export const siteText = (site: Site): string =>
  `${site.scheme}://${formatAddress({ host: site.host, port: site.port })}${site.path}`;
