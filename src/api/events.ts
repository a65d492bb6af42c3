// GET /v1/events: audit facts and session changes as server-sent events.
//
//   id: 4711                      the audit's row number: send it back as Last-Event-ID to go on from there
//   event: audit                  data: the row
//   event: session                data: {"change": "opened" | "closed", …} (no id: what was missed is in the audit)
//   event: missed                 data: {"sessions": 12}; so many session changes found no room: ask for the list again
//   event: dropped                data: {"message": …}; the client took nothing for long, and the stream ends
//   : still here                  every 15 seconds, so that both sides notice a dead line
import type { Address } from '../core/parts.ts';
import type { ApiDeps } from './deps.ts';
import { Feed } from './feed.ts';
import { toSession } from './session.ts';
import type { Streamed } from './verbs.ts';

const queue = 256;
const beat = 15_000;

export interface EventsOptions {
  /** Rows after this number first; undefined = only what comes. */
  readonly after: number | undefined;
  readonly signal: AbortSignal;
  readonly peer: Address;
  /** Called once when the client has stopped to read. */
  readonly drop: () => void;
}

export async function* streamEvents(deps: ApiDeps, { after, signal, peer, drop }: EventsOptions): Streamed {
  const { audit, sessions, clock, log } = deps;
  const feed = new Feed<string>(queue);
  const close = (): void => feed.close();
  signal.addEventListener('abort', close, { once: true });
  // A thousand clients that come at once are no fault of who watches: rows wait on the disk until they are read, and
  // session changes, which nobody keeps, are counted where they find no room.
  let missed = 0;
  const offer = (text: string): void => {
    if (missed > 0 && feed.offer(frame('missed', { sessions: missed }))) missed = 0;
    if (missed > 0 || !feed.offer(text)) missed++;
  };
  const tell = (change: 'opened' | 'closed') =>
    sessions.on(change, session => offer(frame('session', { change, session: toSession(session) })));
  const offs = [tell('opened'), tell('closed')];
  let disarm = (): void => {};
  const tick = (): void => {
    if (feed.isStuck()) {
      log.info({ from: peer }, 'an event stream was dropped: its client does not read');
      feed.close('slow');
      drop();
      return;
    }
    if (missed > 0 && feed.offer(frame('missed', { sessions: missed }))) missed = 0;
    feed.offer(': still here\n\n');
    disarm = clock.after(beat, tick);
  };
  const live = audit.head().seq;
  const rows = (async () => {
    for await (const row of audit.tail(after ?? live, signal)) {
      await feed.put(frame('audit', row, row.seq));
      if (feed.end) return;
    }
  })().catch(error => {
    if (!signal.aborted) log.warn({ cause: error }, 'an event stream lost the audit');
    feed.close();
  });
  try {
    yield 'retry: 3000\n\n';
    disarm = clock.after(beat, tick);
    yield* feed;
    if (feed.end === 'slow')
      yield frame('dropped', {
        message: 'this client has not read for a while; connect again with Last-Event-ID to go on',
      });
  } finally {
    disarm();
    for (const off of offs) off();
    signal.removeEventListener('abort', close);
    feed.close();
    await rows;
  }
}

/** JSON holds no bare line ends, so one `data:` line is enough. */
function frame(event: string, data: unknown, id?: number): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
