// The forward proxy itself, above both HTTPs: what a request asks for, whether it may, and where it goes.
import { formatAddress } from '../../core/address.ts';
import { Fault, type FaultCode, faults, isWeather, toFault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { splice } from '../../net/splice.ts';
import { type WebLine, whoText } from './access-line.ts';
import type { Caller } from './caller.ts';
import type { Exchange } from './exchange.ts';
import { type Fields, requestFields, valuesOf } from './headers.ts';
import { checkHost, type HostEntry } from './hosts.ts';
import { type Page, refusalPage } from './pages.ts';
import { reach } from './reach.ts';
import { type Relayed, relay } from './relay.ts';
import type { ForwardDeps } from './service.ts';
import { type AbsoluteTarget, hostHeader, type Site, siteName, siteResource } from './site.ts';
import type { Visit } from './visit.ts';

/** A CONNECT, by either HTTP, or a WebSocket. */
export interface TunnelAsk {
  readonly id: string;
  readonly kind: 'tunnel' | 'websocket';
  /** As it was asked for, for pages and the access log. */
  readonly method: string;
  readonly url: string;
  /** @throws Fault `protocol`, `invalid` */
  readonly site: () => Site;
  readonly version: string;
  /** What was wrong with it before it came here. */
  readonly fault?: Fault;
  /** What must be said to the site first. */
  readonly prepare?: (far: Conn, visit: Visit, signal: AbortSignal) => Promise<void>;
  /** Says yes; from then on the conn is the tunnel. */
  accept(): Conn;
  refuse(page: Page): void;
  onClose(call: () => void): void;
}

/** Routes one http:// request. Never throws. */
export function forward(exchange: Exchange, caller: Caller, target: AbsoluteTarget, deps: ForwardDeps): void {
  const log = beginLog(exchange, caller, target, deps);
  if (exchange.method === 'TRACE') {
    answerFault(new Fault('invalid', 'TRACE is not passed on'), exchange, caller, target.site, deps, log, 405);
    return;
  }
  if (target.site.host === checkHost) {
    sendPage(exchange, deps.checkPage(caller, 'on', exchange.version, exchange.fields));
    log({ status: 200, up: 0, down: 0 });
    return;
  }
  const entry = deps.hosts().match(target.site);
  const visit = entry && !caller.isStale ? caller.openVisit(target.site) : undefined;
  if (visit) send(exchange, caller, target, visit, deps, log);
  else void admit(exchange, caller, target, entry, deps, log);
}

async function admit(
  exchange: Exchange,
  caller: Caller,
  target: AbsoluteTarget,
  entry: HostEntry | undefined,
  deps: ForwardDeps,
  log: (end: Relayed) => void,
): Promise<void> {
  const { site } = target;
  try {
    await caller.identify();
    const visit = await caller.visit(site, known(entry, site, caller, deps), deps.plan());
    send(exchange, caller, target, visit, deps, log);
  } catch (error) {
    answerFault(toFault(error), exchange, caller, site, deps, log);
  }
}

/** @throws Fault `denied`; it is written down */
function known(entry: HostEntry | undefined, site: Site, caller: Caller, deps: ForwardDeps): HostEntry {
  if (entry) return entry;
  // Nobody's guesses fill the audit: what is not in the map is one resource to those who are not known.
  const asked = caller.request(site);
  const resource = caller.certificate.state === 'good' ? siteResource(site) : 'web/*';
  deps.gate.refuse({ ...asked, resource }, 'not in web.forward.hosts');
  throw new Fault('denied', 'this address is not served through the gate');
}

function send(
  exchange: Exchange,
  caller: Caller,
  { site, path }: AbsoluteTarget,
  visit: Visit,
  deps: ForwardDeps,
  log: (end: Relayed, session?: string) => void,
): void {
  const { method, version, body, fields } = exchange;
  const hops = maxForwards(method, fields);
  if (hops === 0) {
    // RFC 9110 §7.6.2: the last hop answers itself.
    sendPage(exchange, {
      status: 204,
      type: '',
      text: '',
      headers: { allow: 'GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS' },
    });
    log({ status: 204, up: 0, down: 0 }, visit.session.id);
    return;
  }
  let refused: number | undefined;
  relay(exchange, {
    upstream: visit,
    path,
    fields: requestFields(hops === undefined ? fields : lessOne(fields, hops), {
      ...{ host: hostHeader(site), body, method, version },
      extra: deps.identity(caller, site),
    }),
    done: end => log(refused === undefined ? end : { ...end, status: refused }, visit.session.id),
    fail: fault => {
      noteUnreached(fault, caller, site, deps);
      refused = refuse(fault, exchange, caller, site, deps);
    },
  });
}

/** A number that OPTIONS and TRACE count down; undefined where there is none. */
function maxForwards(method: string, fields: Fields): number | undefined {
  if (method !== 'OPTIONS') return undefined;
  const [value = ''] = valuesOf(fields, 'max-forwards');
  return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}
const lessOne = (fields: Fields, hops: number): Fields =>
  fields.map((text, at) =>
    at % 2 === 1 && fields[at - 1]?.toLowerCase() === 'max-forwards' ? String(hops - 1) : text,
  );

export { identityFields } from './identity.ts';

/** The fields of a WebSocket's opening request, and what `openWebSocket` needs besides. */
export function webSocketFields(
  fields: Fields,
  site: Site,
  version: string,
  caller: Caller,
  deps: ForwardDeps,
): Fields {
  return requestFields(fields, {
    ...{ host: hostHeader(site), body: { kind: 'none' }, method: 'GET', version },
    extra: deps.identity(caller, site),
  });
}

/** CONNECT, from asking to its end. Never throws. */
export async function tunnel(ask: TunnelAsk, caller: Caller, deps: ForwardDeps): Promise<void> {
  const started = deps.clock.now();
  const bytes = { up: 0, down: 0 };
  let status = 200;
  let cause: string | undefined;
  let session: string | undefined;
  let site: Site | undefined;
  const gone = new AbortController();
  ask.onClose(() => gone.abort());
  try {
    if (ask.fault) throw ask.fault;
    site = ask.site();
    const entry = deps.hosts().match(site);
    await caller.identify();
    const visit = await caller.visit(site, known(entry, site, caller, deps), deps.plan());
    session = visit.session.id;
    const leave = visit.enter(() => {});
    try {
      const { timeouts } = deps.plan();
      const far = await reach(
        site,
        visit.entry,
        visit.session,
        deps.reach(),
        AbortSignal.any([visit.signal, gone.signal]),
      );
      if (ask.prepare) {
        try {
          await ask.prepare(
            far,
            visit,
            AbortSignal.any([visit.signal, gone.signal, AbortSignal.timeout(timeouts.read)]),
          );
        } catch (error) {
          far.stream.destroy();
          throw error;
        }
      }
      const near = ask.accept();
      cause = await splice(near, far, {
        signal: visit.signal,
        idle: timeouts.tunnel,
        halfClose: true,
        count: (direction, more) => {
          bytes[direction] += more;
          visit.session.count(direction, more);
        },
      });
      const farewell = AbortSignal.timeout(5000);
      await Promise.all([near.close(farewell), far.close(farewell)]);
    } finally {
      leave();
    }
  } catch (error) {
    const fault = gone.signal.aborted ? undefined : toFault(error);
    cause = fault?.code ?? 'near-reset';
    if (fault) {
      if (site) noteUnreached(fault, caller, site, deps);
      const theirs = Number(fault.facts['status'] ?? 0);
      status = theirs >= 400 && theirs < 600 ? theirs : statusOf(fault);
      reportFault(fault, caller, deps);
      ask.refuse(refusal(fault, status, ask.url.slice(0, 300), caller, ask.id, false, deps));
    }
  }
  deps.metrics.count('web_requests_total', { kind: ask.kind, status: String(status) });
  deps.accessLog(
    lineOf({
      ask,
      caller,
      deps,
      session,
      status,
      ...bytes,
      started,
      cause,
      method: ask.method,
      url: ask.url.slice(0, 300),
    }),
  );
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

function refuse(
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
function noteUnreached(fault: Fault, caller: Caller, site: Site, { gate }: ForwardDeps): void {
  const reason = fault.facts['address'] === undefined ? undefined : fault.facts['reason'];
  if (typeof reason === 'string') gate.refuse(caller.request(site), `${reason} (${fault.facts['address']})`);
}

const statusOf = (fault: Fault): number => (fault.code === 'unknown-caller' ? 403 : faults[fault.code].http);

/** Denied callers learn nothing about why; those without a certificate learn how to get one. */
const said: Partial<Record<FaultCode, string>> = {
  'unknown-caller': 'nobody is let in without a certificate that counts',
  bug: 'something went wrong in the gate; its log has the details',
};

function refusal(
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

function reportFault(fault: Fault, caller: Caller, { log, metrics }: ForwardDeps): void {
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
  sink.end(hasBody ? bytes : undefined);
}

/** The access line of a request, written when it is over. */
function beginLog(
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

function lineOf(facts: {
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
