// The forward proxy itself, above both HTTPs: what a request asks for, whether it may, and where it goes.
import { Fault, toFault } from '../../core/fault.ts';
import type { Caller } from './caller.ts';
import type { ForwardDeps } from './deps.ts';
import type { Exchange } from './exchange.ts';
import { type Fields, requestFields, valuesOf } from './headers.ts';
import { checkHost, type HostEntry } from './hosts.ts';
import { answerFault, beginLog, known, noteUnreached, refuse, sendPage } from './outcome.ts';
import { type Relayed, relay } from './relay.ts';
import { type AbsoluteTarget, hostHeader } from './site.ts';
import type { Visit } from './visit.ts';

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
