// The live sessions: who is in, from where, until when — and the way to end one.
import { formatAddress } from '../core/address.ts';
import type { EndReason } from '../core/parts.ts';
import { glob } from './glob.ts';
import type { LiveSession } from './live-session.ts';

/** A session as it is shown. */
export interface SessionView {
  readonly id: string;
  readonly action: string;
  readonly resource: string;
  readonly who: { readonly kind: string; readonly id: string; readonly credential: string };
  /** `host:port`, or the path of a unix peer. */
  readonly from: string;
  readonly rule: string;
  readonly since: Date;
  readonly until?: Date;
  /** Those of workers are a few seconds old. */
  readonly bytes: { readonly up: number; readonly down: number };
  readonly notes: Readonly<Record<string, string | number>>;
}

/** Patterns; `*` matches any run. */
export interface SessionFilter {
  readonly action?: string | undefined;
  readonly resource?: string | undefined;
  readonly user?: string | undefined;
  readonly credential?: string | undefined;
}

export type SessionEvent = 'opened' | 'closed';

export interface Sessions {
  /** Oldest first. */
  list(filter?: SessionFilter): SessionView[];
  get(id: string): SessionView | undefined;
  readonly size: number;
  /** Ends one; its handler closes the protocol as the reason says. False when there is none. */
  cut(id: string, reason?: EndReason): boolean;
  /** Ends all that fit; answers how many. Default reason: `revoked`. */
  cutBy(predicate: (view: SessionView) => boolean, reason?: EndReason): number;
  /** The returned function takes the listener away. A listener must not throw. */
  on(event: SessionEvent, call: (view: SessionView) => void): () => void;
}

/** What the gate itself needs of them. */
export interface SessionRegister extends Sessions {
  add(session: LiveSession): void;
  opened(session: LiveSession): void;
  remove(session: LiveSession): void;
  all(): Iterable<LiveSession>;
}

export function createSessions(): SessionRegister {
  const live = new Map<string, LiveSession>();
  const listeners: Record<SessionEvent, Set<(view: SessionView) => void>> = { opened: new Set(), closed: new Set() };
  const tell = (event: SessionEvent, session: LiveSession): void => {
    if (listeners[event].size === 0) return; // no view is made for nobody
    const view = viewOf(session);
    for (const call of listeners[event]) call(view);
  };
  const shown = function* (): Iterable<LiveSession> {
    for (const session of live.values()) if (session.isOpen) yield session;
  };
  return {
    list: (filter = {}) => [...shown()].filter(matcher(filter)).map(viewOf),
    get(id) {
      const session = live.get(id);
      return session?.isOpen ? viewOf(session) : undefined;
    },
    get size() {
      return live.size;
    },
    cut: (id, reason = 'closed') => live.get(id)?.cut(reason) ?? false,
    cutBy(predicate, reason = 'revoked') {
      let count = 0;
      // Also those whose opening is being written: a revocation must not slip through in between.
      for (const session of live.values()) if (predicate(viewOf(session)) && session.cut(reason)) count++;
      return count;
    },
    on(event, call) {
      listeners[event].add(call);
      return () => listeners[event].delete(call);
    },
    add: session => void live.set(session.id, session),
    opened(session) {
      session.isOpen = true;
      tell('opened', session);
    },
    remove(session) {
      if (live.delete(session.id) && session.isOpen) tell('closed', session);
    },
    all: () => live.values(),
  };
}

function matcher({ action, resource, user, credential }: SessionFilter): (session: LiveSession) => boolean {
  const tests: ((session: LiveSession) => boolean)[] = [];
  const add = (pattern: string | undefined, of: (session: LiveSession) => string): void => {
    if (pattern === undefined) return;
    const matches = glob(pattern);
    tests.push(session => matches(of(session)));
  };
  add(action, ({ request }) => request.action);
  add(resource, ({ request }) => request.resource);
  add(user, ({ request }) => request.who.id);
  add(credential, ({ request }) => request.who.credential);
  return session => tests.every(fits => fits(session));
}

function viewOf(session: LiveSession): SessionView {
  const { request, until } = session;
  const { kind, id, credential } = request.who;
  return {
    id: session.id,
    action: request.action,
    resource: request.resource,
    who: { kind, id, credential },
    from: formatAddress(request.from),
    rule: session.rule,
    since: session.since,
    ...(until ? { until } : {}),
    bytes: { up: session.up, down: session.down },
    notes: { ...session.notes },
  };
}
