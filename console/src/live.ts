// One event stream for the whole console: pages ask to be called when something happened that may concern them.
import { keyHeader } from './api.ts';

type Watcher = (event: LiveEvent) => void;
export type LiveEvent =
  | {
      readonly kind: 'audit';
      readonly row: { readonly event: string; readonly resource: string } & Record<string, unknown>;
    }
  | { readonly kind: 'session'; readonly change: 'opened' | 'closed' }
  | { readonly kind: 'link'; readonly isUp: boolean };

const watchers = new Set<Watcher>();
let life: AbortController | undefined;
let up = false;

export const isLive = (): boolean => up;

/** Stays connected, and comes back after a break from the last event it saw. */
export function openLive(): void {
  life?.abort();
  life = new AbortController();
  void follow(life.signal);
}

export function closeLive(): void {
  life?.abort();
  life = undefined;
  up = false;
}

/** Milliseconds between two tries; the first comes at once, so that a line that breaks and comes back is not seen. */
const pause = 3000;
/** The gate says something every 15 s; after twice that the line is dead. */
const silence = 35_000;

/** EventSource sends no headers, and the cookie alone does not count. */
async function follow(signal: AbortSignal): Promise<void> {
  let last: string | undefined;
  for (let tries = 0; !signal.aborted; tries++) {
    const line = new AbortController();
    const begun = Date.now();
    const end = (): void => line.abort();
    signal.addEventListener('abort', end);
    try {
      const headers = { accept: 'text/event-stream', ...keyHeader(), ...(last ? { 'last-event-id': last } : {}) };
      const answer = await fetch('/v1/events', { headers, credentials: 'same-origin', signal: line.signal });
      // Whose roles do not let them see it are not let in by asking again.
      if (answer.status === 401 || answer.status === 403) return tellLink(false);
      if (answer.ok && answer.body) {
        tellLink(true);
        for await (const block of blocksOf(answer.body, end)) last = tellBlock(block) ?? last;
      }
    } catch {
      // a break, or the end
    }
    signal.removeEventListener('abort', end);
    if (signal.aborted) return;
    if (Date.now() - begun > pause) tries = 0;
    if (tries === 0) continue;
    tellLink(false);
    await new Promise(resolve => setTimeout(resolve, pause));
  }
}

async function* blocksOf(body: ReadableStream<Uint8Array>, end: () => void): AsyncIterable<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  for (let text = ''; ; ) {
    const patience = setTimeout(end, silence);
    const { value, done } = await reader.read().finally(() => clearTimeout(patience));
    if (done) return;
    const blocks = (text + value).split('\n\n');
    text = blocks.pop() ?? '';
    yield* blocks;
  }
}

/** One event; its id, where it has one. */
function tellBlock(block: string): string | undefined {
  const fields = new Map(block.split('\n').map(line => [line.split(':', 1)[0] ?? '', line.replace(/^\w*: ?/, '')]));
  const data = fields.get('data');
  if (data === undefined) return undefined;
  if (fields.get('event') === 'audit') tell({ kind: 'audit', row: JSON.parse(data) });
  if (fields.get('event') === 'session') tell({ kind: 'session', change: JSON.parse(data).change });
  if (fields.get('event') === 'missed') tell({ kind: 'session', change: 'closed' });
  return fields.get('id');
}

export function watch(watcher: Watcher): () => void {
  watchers.add(watcher);
  return () => void watchers.delete(watcher);
}

function tellLink(isUp: boolean): void {
  up = isUp;
  tell({ kind: 'link', isUp });
}
function tell(event: LiveEvent): void {
  for (const watcher of watchers) watcher(event);
}
