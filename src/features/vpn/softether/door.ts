// A SoftEther connection from its first request: probe, signature, Hello, then a login, a further connection of a session,
// or an administrator. Read this first.
import { randomBytes, randomInt } from 'node:crypto';
import { Fault } from '../../../core/fault.ts';
import type { Address, Conn, Log, Metrics, Principal } from '../../../core/parts.ts';
import {
  decodePack,
  encodePack,
  type Pack,
  type PackFields,
  packBool,
  packData,
  packText,
} from '../../../wire/softether-pack.ts';
import type { VpnDeps } from '../deps.ts';
import { errorCodeOf, errorCodes, Refusal } from './errors.ts';
import { answer, readRequest } from './http.ts';
import { changePassword, type LoginDeps, nobody, proveLogin } from './login.ts';
import { packPolicy } from './policy.ts';
import type { MemberSession } from './session.ts';
import type { MemberSessions } from './sessions.ts';
import { isProbe, isSignature, packPath, probePage, signaturePath } from './signature.ts';

export interface DoorDeps extends LoginDeps {
  readonly gate: VpnDeps['gate'];
  readonly sessions: MemberSessions;
  /** Names of hubs that may be told to anybody. */
  readonly listed: () => readonly string[];
  /** Serves an administrator on a conn that has left HTTP; undefined where there is none. */
  readonly admin: (hello: Hello, pack: Pack, conn: Conn, signal: AbortSignal) => Promise<AdminEntry>;
  readonly facts: { readonly product: string };
  readonly log: Log;
  readonly metrics: Metrics;
}
export interface Hello {
  readonly random: Buffer;
}
/** Let in: what the client is answered, and what then happens on its conn. */
export interface AdminEntry {
  readonly reply: PackFields;
  serve(): Promise<void>;
}

/** The version that we say we speak; clients compare it with their own. */
export const spoken = { version: 501, build: 9674 } as const;

/** Milliseconds for each step, and for all of it: a person may be looking at our certificate meanwhile. */
const patience = { step: 15_000, all: 120_000 } as const;
/** Requests before the signature, and no-ops while somebody is asked about the certificate. */
const most = { requests: 19, noops: 30 } as const;

/** Serves one conn to its end. Throws what the gate's door logs: a `protocol` Fault, weather. */
export async function serveSoftEther(conn: Conn, deps: DoorDeps): Promise<void> {
  const all = AbortSignal.timeout(patience.all);
  const step = (): AbortSignal => AbortSignal.any([all, AbortSignal.timeout(patience.step)]);
  const random = await greet(conn, deps, step);
  if (!random) return;
  for (let noops = 0; noops <= most.noops; noops++) {
    const request = await readRequest(conn.stream, step());
    if (request.method !== 'POST' || request.target !== packPath) return void say(conn, notFound);
    const pack = decodePack(request.body);
    if (packBool(pack, 'noop')) say(conn, packAnswer({ noop: 1, error: 0 }));
    else return act(conn, pack, random, deps, step());
  }
  throw new Fault('protocol', 'a SoftEther client asked for too much patience');
}

/** Up to the Hello; undefined when the client turned out to want something else, and was told. */
async function greet(conn: Conn, { facts }: DoorDeps, step: () => AbortSignal): Promise<Buffer | undefined> {
  for (let count = 0; count < most.requests; count++) {
    const request = await readRequest(conn.stream, step());
    if (isProbe(request)) say(conn, answer('403 Forbidden', 'text/html; charset=utf-8', probePage));
    else if (request.method === 'POST' && request.target === signaturePath) {
      if (!isSignature(request.body)) return void say(conn, forbidden);
      const random = randomBytes(20);
      say(conn, packAnswer({ hello: facts.product, ...spoken, random }));
      return random;
    } else return void say(conn, notFound);
  }
  return undefined;
}

async function act(conn: Conn, pack: Pack, random: Buffer, deps: DoorDeps, signal: AbortSignal): Promise<void> {
  const method = packText(pack, 'method');
  const work = Object.hasOwn(methods, method) ? methods[method] : undefined;
  try {
    if (!work) throw new Refusal('not-supported', `"${method.slice(0, 40)}" is not spoken here`);
    const then = await work({ conn, pack, random, signal }, deps);
    await then?.();
  } catch (error) {
    if (error instanceof Refusal) refuse(error, conn.peer, packText(pack, 'hubname'), 'SoftEther', deps);
    else if (!(error instanceof Fault) || error.code === 'bug') throw error;
    else deps.log.info({ from: conn.peer, code: error.code }, error.message);
    if (conn.stream.writable) say(conn, packAnswer({ error: errorCodeOf(error), no_save_password: 0 }));
  }
}

interface Asked {
  readonly conn: Conn;
  readonly pack: Pack;
  readonly random: Buffer;
  readonly signal: AbortSignal;
}
/** Answers, and says what then happens on the conn. */
type Method = (asked: Asked, deps: DoorDeps) => Promise<(() => Promise<void>) | undefined>;

const methods: Readonly<Record<string, Method>> = {
  async login({ conn, pack, random, signal }, deps) {
    const login = await proveLogin(pack, random, conn.peer, deps, signal);
    const session = await deps.sessions.open(login, pack, conn);
    say(conn, packAnswer(welcome(session, login.entry.settings.message)));
    return () => session.serve(conn, session.options.terms.half ? 'up' : 'both');
  },

  async additional_connect({ conn, pack }, deps) {
    const guess = { from: conn.peer };
    await deps.attempts.begin(guess);
    const session = deps.sessions.byKey(packData(pack, 'session_key') ?? Buffer.alloc(0));
    if (!session?.isOpen) throw new Refusal('session-timeout', '');
    await deps.attempts.succeeded(guess);
    const direction = session.nextDirection();
    if (!direction) throw new Refusal('too-many-connections', '');
    say(conn, packAnswer({ error: 0, direction: { both: 0, down: 1, up: 2 }[direction] }));
    return () => session.serve(conn, direction);
  },

  async admin({ conn, pack, random, signal }, deps) {
    const { reply, serve } = await deps.admin({ random }, pack, conn, signal);
    say(conn, packAnswer(reply));
    return serve;
  },

  async password({ conn, pack, random }, deps) {
    const { member, hash } = await changePassword(pack, random, conn.peer, deps);
    const { hub, name } = member;
    if (member.policy?.fixPassword) throw new Refusal('not-enough-right', 'the policy keeps the password as it is');
    const who: Principal = deps.members.principal(member);
    const session = await deps.gate.admit({
      ...{ who, action: 'vpn.password-change', resource: `hub/${hub}/${name}`, from: conn.peer, opened: 'self' },
    });
    try {
      await deps.members.change(hub, name, { proof: { kind: 'hashed', hash } });
    } finally {
      await session[Symbol.asyncDispose]();
    }
    say(conn, packAnswer({ error: 0 }));
    return undefined;
  },

  async enum_hub({ conn }, { listed }) {
    const names = listed();
    say(conn, packAnswer({ NumHub: names.length, HubName: names }));
    return undefined;
  },
};

/** Every failure is written down; repeats are coalesced by the gate. */
export function refuse(
  { code, message }: Refusal,
  from: Address,
  asked: string,
  protocol: string,
  { gate, metrics, log }: Pick<DoorDeps, 'gate' | 'metrics' | 'log'>,
): void {
  metrics.count('vpn_refused_total', { code });
  if (message === '') return; // a session that is over, or has connections enough: nobody was refused anything
  const hub = asked.slice(0, 63).replace(/[^\w.-]/g, '?') || '*';
  log.info({ from, hub, code, number: errorCodes[code] }, `a client by ${protocol} was refused: ${message}`);
  gate.refuse({ who: nobody, action: 'vpn.join', resource: `hub/${hub}`, from }, message);
}

function welcome(session: MemberSession, message: string): PackFields {
  const { terms, connection, policy } = session.options;
  return {
    session_name: session.name,
    connection_name: connection,
    session_key: session.key,
    session_key_32: session.key.readUInt32BE(0),
    max_connection: terms.connections,
    // Whatever was asked: without it both sides would go on in the clear.
    use_encrypt: 1,
    use_compress: terms.compress,
    half_connection: terms.half,
    timeout: terms.timeout,
    qos: terms.qos,
    is_azure_session: 0,
    enable_udp_recovery: 0,
    vlan_id: policy.security.vlanId,
    suppress_client_update_notification: 1,
    Msg: Buffer.from(message, 'utf8'),
    ...packPolicy(policy.security),
  };
}

const notFound = answer('404 Not Found', 'text/plain', Buffer.from('no such page\n'));
const forbidden = answer('403 Forbidden', 'text/plain', Buffer.from('this is not SoftEther\n'));

/** With random padding, so that lengths tell little. */
const packAnswer = (fields: PackFields): Buffer =>
  answer('200 OK', 'application/octet-stream', encodePack({ ...fields, pencore: randomBytes(randomInt(1000)) }));

const say = ({ stream }: Conn, bytes: Buffer): void => void stream.write(bytes);
