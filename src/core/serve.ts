// The heart: a listener yields a conn, an upgrade clarifies it, identity is proven, the gate decides and mints a
// session, a handler acts, its end is written down. Read this file first.
import { Fault, isWeather, toFault } from './fault.ts';
import type { Action, Conn, Gate, Handler, Identify, Listener, Log, Metrics, SessionLimits, Upgrade } from './parts.ts';

/** Everything that stands between an accepted conn and the handler it asked for. */
export interface Door {
  readonly action: Action;
  readonly resource: string;
  /** See AccessRequest.opened. */
  readonly opened?: string;
  readonly limits?: SessionLimits;
  readonly upgrade: Upgrade;
  readonly identify: Identify;
  readonly gate: Gate;
  readonly handler: Handler;
  /** Milliseconds allowed for upgrade and identify together. */
  readonly patience: number;
  /** Milliseconds allowed for the proper end of a conn after its handler; default 5,000. */
  readonly farewell?: number;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Runs one listener until it closes, then waits for the conns it let in. */
export async function serve(listener: Listener, door: Door): Promise<void> {
  const open = new Set<Promise<void>>();
  for await (const conn of listener) {
    const pass = enter(conn, door).finally(() => open.delete(pass));
    open.add(pass);
  }
  await Promise.all(open);
}

/** One conn's whole life. Never throws: this is an edge. */
export async function enter(raw: Conn, door: Door): Promise<void> {
  const { action, resource, opened, limits, log } = door;
  let conn = raw;
  try {
    const who = await within(door.patience, async signal => {
      conn = await door.upgrade(raw, signal);
      return await door.identify(conn, signal);
    });
    const request = { who, action, resource, from: conn.peer, ...(opened === undefined ? {} : { opened }) };
    await using session = await door.gate.admit(limits === undefined ? request : { ...request, limits });
    await door.handler(conn, session);
  } catch (error) {
    report(error, raw, door, log);
  } finally {
    if (!conn.stream.destroyed) await within(door.farewell ?? 5000, signal => conn.close(signal));
    if (conn !== raw) raw.stream.destroy();
  }
}

/**
 * Does something under a signal that aborts after `ms`, as AbortSignal.timeout would; but its timer goes with the work, and
 * does not stay behind for each conn that was quick.
 */
export async function within<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(new DOMException('took too long', 'TimeoutError')), ms);
  try {
    return await work(end.signal);
  } finally {
    clearTimeout(timer);
  }
}

function report(error: unknown, raw: Conn, door: Door, log: Log): void {
  if (isWeather(error)) {
    log.debug({ from: raw.peer, error }, 'connection ended early');
    return;
  }
  const fault = error instanceof DOMException && error.name === 'TimeoutError' ? tooSlow(error) : toFault(error);
  door.metrics.count('faults_total', { code: fault.code, resource: door.resource });
  const level = fault.code === 'bug' ? 'error' : fault.code === 'protocol' || fault.code === 'denied' ? 'info' : 'warn';
  log[level](
    { from: raw.peer, code: fault.code, ...fault.facts, ...(fault.cause === undefined ? {} : { cause: fault.cause }) },
    fault.message,
  );
}

const tooSlow = (cause: unknown): Fault => new Fault('timeout', 'the handshake took too long', { cause });
