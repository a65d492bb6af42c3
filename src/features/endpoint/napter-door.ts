// The Napter-shaped API on the gate's own origin: /v1/auth, /v1/port_mappings, /v1/audit_logs/napter. Programs that
// speak to Napter change their endpoint and nothing else.
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault } from '../../core/fault.ts';
import type { Authenticator, Conn, Log, Principal } from '../../core/parts.ts';
import { sameSecret } from '../../core/secret.ts';
import type { Asker, EndpointService } from './deps.ts';
import type { Endpoint } from './endpoint.ts';
import { answerOf, readJson, sendJson } from './http.ts';
import { deviceOf, type LogRow, type Place, readMapping, toLogEntry, toMapping, typeOf } from './napter.ts';
import type { DeviceFacts } from './target.ts';

export interface NapterDeps {
  readonly service: EndpointService;
  readonly authenticator: Authenticator;
  /** As they stand now. @throws Fault `unknown-caller` */
  readonly standing: (who: Principal) => Principal;
  /** A token for these milliseconds, good for endpoints only. */
  readonly makeToken: (user: string, life: number) => Promise<string>;
  readonly place: () => Place;
  readonly findDevice: (nameOrAlias: string) => DeviceFacts | undefined;
  /** Whether they may see what others opened (endpoint.list), and the log of it (audit.read). */
  readonly maySee: (asker: Asker, action: 'endpoint.list' | 'audit.read') => boolean;
  /** Closes as an act of theirs, with its rows in the audit. @throws Fault `denied` */
  readonly close: (asker: Asker, endpoint: Endpoint) => Promise<void>;
  /** Rows of endpoints, newest first; `next` is the `before` of the following page. */
  readonly rows: (filter: {
    readonly since?: Date;
    readonly until?: Date;
    readonly before?: number;
    readonly limit: number;
  }) => Promise<{ readonly rows: readonly LogRow[]; readonly next?: number | undefined }>;
  readonly now: () => number;
  readonly log: Log;
}

/** What api/ calls an HttpDoor. */
export interface Door {
  readonly name: string;
  claims(request: IncomingMessage): boolean;
  answer(request: IncomingMessage, response: ServerResponse, conn: Conn): void;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly conn: Conn;
  readonly query: URLSearchParams;
  /** What the pattern of the path took out. */
  readonly parts: readonly string[];
}

/** Seconds, as Napter has them. */
const usualToken = 86_400;
const longestToken = 172_800;
const mostMappings = 1000;

export function napterDoor(deps: NapterDeps): Door {
  const routes: readonly (readonly [method: string, path: RegExp, act: (exchange: Exchange) => Promise<void>])[] = [
    ['POST', /^\/v1\/auth$/, exchange => signIn(exchange, deps)],
    ['GET', /^\/v1\/port_mappings$/, exchange => list(exchange, deps)],
    ['POST', /^\/v1\/port_mappings$/, exchange => create(exchange, deps)],
    ['GET', /^\/v1\/port_mappings\/sims\/([^/]+)$/, exchange => listOf(exchange, deps)],
    ['POST', /^\/v1\/port_mappings\/sims\/([^/]+)$/, exchange => create(exchange, deps)],
    ['GET', /^\/v1\/port_mappings\/subscribers\/([^/]+)$/, exchange => listOf(exchange, deps)],
    ['GET', /^\/v1\/port_mappings\/([^/]+)\/(\d{1,5})$/, exchange => get(exchange, deps)],
    ['DELETE', /^\/v1\/port_mappings\/([^/]+)\/(\d{1,5})$/, exchange => remove(exchange, deps)],
    ['GET', /^\/v1\/audit_logs\/napter$/, exchange => log(exchange, deps)],
  ];
  const answer = async (request: IncomingMessage, response: ServerResponse, conn: Conn): Promise<void> => {
    const [path = '', search = ''] = (request.url ?? '').split('?', 2);
    try {
      const here = routes.filter(([, pattern]) => pattern.test(path));
      const route = here.find(([method]) => method === request.method);
      if (!route)
        throw new Fault('missing', here.length > 0 ? 'this path has no such method' : 'there is no such path');
      const parts = (route[1].exec(path) ?? []).slice(1).map(decoded);
      await route[2]({ request, response, conn, query: new URLSearchParams(search), parts });
    } catch (error) {
      refuse(response, error, deps.log);
    }
  };
  return {
    name: 'napter',
    claims: ({ url = '' }) => /^\/v1\/(auth|port_mappings|audit_logs\/napter)([/?]|$)/.test(url),
    answer: (request, response, conn) => void answer(request, response, conn),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Fault('invalid', 'the path is not well written');
  }
}

function refuse(response: ServerResponse, error: unknown, log: Log): void {
  const { fault, status, text } = answerOf(error);
  if (fault.code === 'bug') log.error({ error }, 'a Napter-shaped call failed');
  if (response.headersSent) return void response.destroy();
  // Part of the body may be unread: this conn has no next request.
  sendJson(response, status, { code: `SKS${String(status).padStart(4, '0')}`, message: text }, { connection: 'close' });
}

// --- Who ------------------------------------------------------------------------------------------------------------

/** `POST /v1/auth`: an access key pair (`sekisho user key NAME`) → apiKey and token. */
async function signIn({ request, response, conn }: Exchange, deps: NapterDeps): Promise<void> {
  const body = ((await readJson(request)) ?? {}) as Record<string, unknown>;
  const { authKeyId, authKey, tokenTimeoutSeconds = usualToken } = body;
  if (typeof authKeyId !== 'string' || typeof authKey !== 'string') {
    throw new Fault('invalid', 'authKeyId and authKey are needed: an access key pair of this gate (sekisho user key)');
  }
  if (typeof tokenTimeoutSeconds !== 'number' || !(tokenTimeoutSeconds > 0 && tokenTimeoutSeconds <= longestToken)) {
    throw new Fault('invalid', `tokenTimeoutSeconds: 1 to ${longestToken}`);
  }
  const who = await deps.authenticator.prove(
    { kind: 'access-key', accessKeyId: authKeyId, verify: secret => sameSecret(secret, authKey), from: conn.peer },
    AbortSignal.timeout(10_000),
  );
  const token = await deps.makeToken(who.id, Math.round(tokenTimeoutSeconds * 1000));
  sendJson(response, 200, { apiKey: apiKeyOf(token), operatorId: deps.place().operatorId, token });
}

/** Belongs to its token: whoever has the one has the other. */
function apiKeyOf(token: string): string {
  const hex = createHash('sha256').update(`sekisho napter api key\n${token}`).digest('hex');
  return `api-${[8, 12, 16, 20, 32].map((end, at) => hex.slice([0, 8, 12, 16, 20][at], end)).join('-')}`;
}

/** @throws Fault `unknown-caller` */
async function askerOf({ request, conn }: Pick<Exchange, 'request' | 'conn'>, deps: NapterDeps): Promise<Asker> {
  const { 'x-soracom-token': token, 'x-soracom-api-key': apiKey } = request.headers;
  if (typeof token !== 'string' || typeof apiKey !== 'string' || token.length > 1024) {
    throw new Fault('unknown-caller', 'X-Soracom-API-Key and X-Soracom-Token are needed; POST /v1/auth gives them');
  }
  const proven = await deps.authenticator.prove({ kind: 'token', token, from: conn.peer }, AbortSignal.timeout(10_000));
  if (!sameSecret(apiKeyOf(token), apiKey)) throw new Fault('unknown-caller', 'the API key is not of this token');
  return { who: deps.standing(proven), from: conn.peer };
}

const isTheirs = ({ who }: Asker, { owner }: Endpoint): boolean => who.kind === owner.kind && who.id === owner.id;

// --- Mappings -------------------------------------------------------------------------------------------------------

async function create(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const asker = await askerOf(exchange, deps);
  const request = readMapping(await readJson(exchange.request), exchange.parts[0]);
  const opened = await deps.service.open(request, asker);
  if (opened.state === 'waiting') {
    throw new Fault(
      'denied',
      `this needs approval; the request ${opened.approval} waits, and ${opened.id} opens by it`,
      {
        facts: { approval: opened.approval },
      },
    );
  }
  sendJson(exchange.response, 201, mappingOf(opened, deps));
}

function mappingOf(endpoint: Endpoint, deps: NapterDeps) {
  const named = deviceOf(endpoint);
  const device = named && deps.findDevice(named.device);
  return toMapping(endpoint, device, deps.now(), deps.place());
}

/** Those with a port that lead to a device and that this caller may see, oldest first. */
async function visible(asker: Asker, deps: NapterDeps): Promise<Endpoint[]> {
  const owner = deps.maySee(asker, 'endpoint.list') ? {} : { owner: asker.who.id };
  const all = await deps.service.list(owner);
  return all.filter(each => each.state === 'open' && mappingOf(each, deps) !== undefined);
}

async function list(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const { response, query } = exchange;
  const all = await visible(await askerOf(exchange, deps), deps);
  const limit = Math.min(mostMappings, Math.max(1, Number(query.get('limit') ?? mostMappings) || mostMappings));
  const key = query.get('last_evaluated_key');
  const start = key === null ? 0 : all.findIndex(({ id }) => id === key) + 1;
  if (key !== null && start === 0) throw new Fault('invalid', 'last_evaluated_key: there is no such entry any more');
  const page = all.slice(start, start + limit);
  const next = start + limit < all.length ? page.at(-1)?.id : undefined;
  const mappings = page.map(each => mappingOf(each, deps));
  sendJson(response, 200, mappings, next === undefined ? {} : { 'x-soracom-next-key': next });
}

/** By device: its name, or one of its aliases. */
async function listOf(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const all = await visible(await askerOf(exchange, deps), deps);
  const [wanted = ''] = exchange.parts;
  const device = deps.findDevice(wanted);
  const found = device ? all.filter(each => deviceOf(each)?.device === device.name) : [];
  if (found.length === 0) throw new Fault('missing', `no entry leads to ${wanted}`);
  const mappings = found.map(each => mappingOf(each, deps));
  sendJson(exchange.response, 200, mappings);
}

async function one(exchange: Exchange, deps: NapterDeps): Promise<{ asker: Asker; endpoint: Endpoint }> {
  const asker = await askerOf(exchange, deps);
  const [address, port] = exchange.parts;
  const { address: own, host } = deps.place();
  const endpoint = (await visible(asker, deps)).find(each => each.port === Number(port));
  if (!endpoint || (address !== own && address !== host)) {
    throw new Fault('missing', `there is no entry ${address}:${port}`);
  }
  return { asker, endpoint };
}

async function get(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const { endpoint } = await one(exchange, deps);
  sendJson(exchange.response, 200, mappingOf(endpoint, deps));
}

async function remove(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const { asker, endpoint } = await one(exchange, deps);
  await deps.close(asker, endpoint);
  sendJson(exchange.response, 204, undefined);
}

// --- The log --------------------------------------------------------------------------------------------------------

/** Rows that are looked through for one answer, at most. */
const mostRows = 20_000;

async function log(exchange: Exchange, deps: NapterDeps): Promise<void> {
  const { response, query } = exchange;
  const asker = await askerOf(exchange, deps);
  const wanted = logQuery(query);
  const toEntry = entries(asker, wanted.device, deps);
  const found: object[] = [];
  let { before } = wanted;
  for (let looked = 0; looked < mostRows; ) {
    const page = await deps.rows({ ...wanted.span, ...(before === undefined ? {} : { before }), limit: 1000 });
    looked += page.rows.length;
    before = page.next;
    for (const row of page.rows) {
      const entry = await toEntry(row);
      if (!entry) continue;
      found.push(entry);
      if (found.length === wanted.limit) return sendLog(response, found, row.seq);
    }
    if (before === undefined) break;
  }
  sendLog(response, found, before);
}

const sendLog = (response: ServerResponse, found: readonly object[], next: number | undefined): void =>
  sendJson(response, 200, found, next === undefined ? {} : { 'x-soracom-next-key': String(next) });

/** @throws Fault `invalid` */
function logQuery(query: URLSearchParams) {
  const time = (name: string): Date | undefined => {
    const text = query.get(name);
    if (text === null) return undefined;
    const at = new Date(Number(text));
    if (!/^\d{1,15}$/.test(text) || Number.isNaN(at.getTime())) throw new Fault('invalid', `${name}: milliseconds`);
    return at;
  };
  const [since, until] = [time('from'), time('to')];
  return {
    span: { ...(since ? { since } : {}), ...(until ? { until } : {}) },
    limit: Math.min(1000, Math.max(1, Number(query.get('limit') ?? 100) || 100)),
    before: Number(query.get('last_evaluated_key') ?? 0) || undefined,
    device: query.get('resource_id') ?? undefined,
  };
}

/** Rows → entries, for those that this caller may see and that are about this device. */
function entries(asker: Asker, wanted: string | undefined, deps: NapterDeps) {
  const seesAll = deps.maySee(asker, 'audit.read');
  const device = wanted === undefined ? undefined : (deps.findDevice(wanted)?.name ?? wanted);
  const { operatorId } = deps.place();
  const known = new Map<string, Promise<Endpoint | undefined>>();
  const endpointOf = (id: string): Promise<Endpoint | undefined> => {
    const found = known.get(id) ?? deps.service.get(id).catch(() => undefined);
    known.set(id, found);
    return found;
  };
  return async (row: LogRow): Promise<object | undefined> => {
    const kind = typeOf(row);
    const endpoint = kind && (await endpointOf(kind.endpoint));
    const named = endpoint && deviceOf(endpoint);
    if (!kind || !named || !(seesAll || isTheirs(asker, endpoint))) return undefined;
    if (device !== undefined && named.device !== device) return undefined;
    return toLogEntry(row, kind.type, endpoint, deps.findDevice(named.device), operatorId);
  };
}
