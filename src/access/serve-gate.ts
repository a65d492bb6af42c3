// The gate's side of a worker: admits what the worker asks for, and ends its sessions when the worker is gone.
import { Fault, toFault } from '../core/fault.ts';
import type { AccessRequest, Log, Session } from '../core/parts.ts';
import type { LiveGate } from './gate.ts';
import type { LiveSession } from './live-session.ts';
import {
  type Ask,
  ask,
  Batch,
  type Channel,
  type Tell,
  tell,
  unpackAddress,
  unpackPrincipal,
} from './remote-protocol.ts';

export interface ServeGateOptions {
  readonly log: Log;
  /** The worker's number, for the audit. */
  readonly worker?: number | undefined;
  /** Sessions and waiting admissions of one worker, at most (default 250,000). */
  readonly most?: number | undefined;
}

type Door = Pick<AccessRequest, 'action' | 'resource'> & Partial<Pick<AccessRequest, 'opened' | 'limits'>>;

/** Listeners that one worker may announce; a reload adds some, so this is far above what a file holds. */
const mostDoors = 100_000;

/** Serves until the channel closes, then ends what the worker held. Resolves when those records are written. */
export function serveGate(
  channel: Channel,
  gate: LiveGate,
  { log, worker, most = 250_000 }: ServeGateOptions,
): Promise<void> {
  const doors: Door[] = [];
  /** `undefined` while the admission is under way. */
  const held = new Map<number, LiveSession | undefined>();
  const batch = new Batch<Tell>(items => {
    if (!channel.closed.aborted) channel.send(items);
  });

  const requestOf = (
    door: number,
    who: Parameters<typeof unpackPrincipal>[0],
    from: Parameters<typeof unpackAddress>[0],
  ) => {
    const known = doors[door];
    if (!known) throw new Fault('protocol', `the worker names a door ${door} that it has not announced`);
    return { ...known, who: unpackPrincipal(who), from: unpackAddress(from) };
  };

  const admit = async ([, n, door, who, from, asks]: Extract<Ask, readonly [1, ...unknown[]]>): Promise<void> => {
    try {
      if (held.size >= most) throw new Fault('limit', 'this worker holds too many sessions');
      const request = requestOf(door, who, from);
      held.set(n, undefined);
      const session = await gate.admit(asks ? { ...request, asks } : request, { worker });
      const live = liveOf(session);
      if (channel.closed.aborted) return await end(live);
      held.set(n, live);
      batch.push(live.until ? [tell.admitted, n, live.id, live.until.getTime()] : [tell.admitted, n, live.id]);
      live.watch(reason => batch.push([tell.cut, n, reason]));
    } catch (error) {
      held.delete(n);
      const fault = toFault(error);
      if (fault.code === 'bug') log.error({ error }, 'an admission failed');
      batch.push([tell.refused, n, fault.code, fault.message]);
    }
  };

  const handlers: { readonly [K in Ask[0]]: (item: Extract<Ask, readonly [K, ...unknown[]]>) => void } = {
    [ask.door]: ([, door, action, resource, opened, limits]) => {
      if (door >= mostDoors) throw new Fault('protocol', 'the worker announces too many doors');
      doors[door] = {
        action,
        resource,
        ...(opened === null ? {} : { opened }),
        ...(limits === null ? {} : { limits }),
      };
    },
    [ask.admit]: item => void admit(item),
    [ask.end]: ([, n, up, down, notes]) => {
      const session = held.get(n);
      held.delete(n);
      if (!session) return;
      session.up = up;
      session.down = down;
      for (const [key, value] of Object.entries(notes ?? {})) session.note(key, value);
      void session[Symbol.asyncDispose]();
    },
    [ask.counts]: ([, ...triples]) => {
      for (let at = 0; at + 2 < triples.length; at += 3) {
        const session = held.get(triples[at] ?? 0);
        if (!session) continue;
        session.up = triples[at + 1] ?? 0;
        session.down = triples[at + 2] ?? 0;
      }
    },
    [ask.refused]: ([, door, who, from, reason, times]) => {
      gate.refuse(requestOf(door, who, from), reason, times);
    },
  };

  const hear = (message: unknown): void => {
    for (const item of message as readonly Ask[]) {
      try {
        handlers[item[0]](item as never);
      } catch (error) {
        log.error({ error }, 'a worker sent what it should not have');
      }
    }
  };

  const end = async (session: LiveSession): Promise<void> => {
    session.note('cause', 'worker-gone');
    await session[Symbol.asyncDispose]();
  };

  return new Promise(resolve => {
    const close = (): void => {
      const left = [...held.values()].filter(session => session !== undefined);
      held.clear();
      if (left.length > 0) log.warn({ sessions: left.length }, 'a worker is gone; its sessions have ended');
      void Promise.all(left.map(end)).then(() => resolve());
    };
    if (channel.closed.aborted) return close();
    channel.closed.addEventListener('abort', close, { once: true });
    channel.receive(hear);
  });
}

/** Our own gate's sessions are LiveSessions; the seam needs to hear of their end without a signal a session. */
function liveOf(session: Session): LiveSession {
  return session as unknown as LiveSession;
}
