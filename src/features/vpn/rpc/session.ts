// An administrator's conn after its login: calls and answers, each a u32 length and a PACK, strictly one after another.
import type { Duplex } from 'node:stream';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Conn, Principal, Session } from '../../../core/parts.ts';
import { peek } from '../../../net/peek.ts';
import { decodePack, encodePack, type Pack, type PackFields, packText } from '../../../wire/softether-pack.ts';
import type { VpnDeps } from '../deps.ts';
import type { VpnService } from '../service.ts';
import type { AdminEntry } from '../softether/door.ts';
import { errorCodeOf, errorCodes, Refusal } from '../softether/errors.ts';
import { accessFunctions } from './access.ts';
import { bridgeFunctions } from './bridge.ts';
import { fixedFunctions } from './fixed.ts';
import { groupFunctions } from './groups.ts';
import { hubFunctions } from './hubs.ts';
import { listenerFunctions } from './listeners.ts';
import { natFunctions } from './nat.ts';
import { serverFunctions } from './server.ts';
import { sessionFunctions } from './sessions.ts';
import type { Ask, RpcFunction, RpcTable } from './table.ts';
import { tableFunctions } from './tables.ts';
import { userFunctions } from './users.ts';

const functions: RpcTable = {
  ...fixedFunctions,
  ...serverFunctions,
  ...listenerFunctions,
  ...hubFunctions,
  ...userFunctions,
  ...groupFunctions,
  ...sessionFunctions,
  ...tableFunctions,
  ...natFunctions,
  ...accessFunctions,
  ...bridgeFunctions,
};

/** A whole access list of 32,768 entries would be larger; nobody sends one by hand. */
const longest = 4 * 1024 * 1024;
/** Milliseconds between two calls: vpncmd's prompt may wait for a person. */
const patience = 30 * 60_000;

export interface AdminDeps extends VpnDeps {
  readonly service: VpnService;
  readonly since: Date;
}

/** The gate writes down that somebody administers; revoking the password ends it. */
export async function admitAdministrator(who: Principal, conn: Conn, deps: AdminDeps): Promise<AdminEntry> {
  const session = await deps.gate.admit({ who, action: 'vpn.administer', resource: 'vpn/*', from: conn.peer });
  return {
    reply: {},
    async serve() {
      await using live = session;
      await serveCalls(conn, who, live, deps);
    },
  };
}

async function serveCalls(conn: Conn, who: Principal, session: Session, deps: AdminDeps): Promise<void> {
  const { stream, peer } = conn;
  const ask = { service: deps.service, deps, since: deps.since, who, from: peer };
  for (let calls = 0; ; calls++) {
    session.note('calls', calls);
    const pack = await nextCall(stream, session.signal);
    if (!pack) return;
    const reply = encodePack(await call({ ...ask, pack }));
    const head = Buffer.allocUnsafe(4);
    head.writeUInt32BE(reply.length);
    if (!stream.write(Buffer.concat([head, reply]))) await drained(stream, session.signal);
  }
}

/** Undefined at the end of the conn or of the session. @throws Fault `protocol` */
async function nextCall(stream: Duplex, signal: AbortSignal): Promise<Pack | undefined> {
  if (stream.readableEnded || stream.destroyed) return undefined;
  const judge = (bytes: Buffer): Buffer | 'more' => {
    if (bytes.length < 4) return 'more';
    const length = bytes.readUInt32BE(0);
    if (length > longest) throw new Fault('protocol', 'a call of an administrator is longer than 4 MiB');
    return bytes.length >= 4 + length ? bytes.subarray(4, 4 + length) : 'more';
  };
  try {
    const waits = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
    return decodePack(await peek(stream, judge, { limit: longest + 4, signal: waits, used: body => 4 + body.length }));
  } catch (error) {
    if (signal.aborted || stream.readableEnded || stream.destroyed) return undefined;
    throw error;
  }
}

const drained = (stream: Duplex, signal: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
    signal.addEventListener('abort', done);
  });

async function call(ask: Ask): Promise<PackFields> {
  const name = packText(ask.pack, 'function_name');
  const work = Object.hasOwn(functions, name) ? functions[name] : undefined;
  if (!work) return { error: errorCodes['not-supported'] };
  ask.deps.metrics.count('vpn_calls_total', { function: name });
  try {
    return await (work.action ? act(work, work.action, ask) : work.run(ask));
  } catch (error) {
    const fault = error instanceof Refusal ? undefined : toFault(error);
    const isBug = fault?.code === 'bug';
    ask.deps.log[isBug ? 'error' : 'info'](
      { function: name, number: errorCodeOf(error), ...(isBug ? { error: fault.cause } : {}) },
      `vpncmd was refused: ${(error as Error).message}`,
    );
    // A hub of the configuration file is changed there.
    return { error: fault?.code === 'conflict' ? conflictOf(name) : errorCodeOf(error) };
  }
}

const conflictOf = (name: string): number =>
  name === 'CreateUser'
    ? errorCodes['user-exists']
    : name === 'CreateHub'
      ? errorCodes['hub-exists']
      : errorCodes['not-enough-right'];

async function act(work: RpcFunction, action: NonNullable<RpcFunction['action']>, ask: Ask): Promise<PackFields> {
  const { who, from, pack } = ask;
  await using session = await ask.deps.gate.admit({ who, action, resource: work.about?.(pack) ?? 'vpn/*', from });
  session.note('by', 'vpncmd');
  try {
    return await work.run(ask);
  } catch (error) {
    session.note('fault', error instanceof Refusal ? error.code : toFault(error).code);
    throw error;
  }
}
