// One event stream for the whole console: pages ask to be called when something happened that may concern them.
type Watcher = (event: LiveEvent) => void;
export type LiveEvent =
  | {
      readonly kind: 'audit';
      readonly row: { readonly event: string; readonly resource: string } & Record<string, unknown>;
    }
  | { readonly kind: 'session'; readonly change: 'opened' | 'closed' }
  | { readonly kind: 'link'; readonly isUp: boolean };

const watchers = new Set<Watcher>();
let source: EventSource | undefined;
let up = false;

export const isLive = (): boolean => up;

/** Stays connected; the browser itself comes back after a break, from the last event it saw. */
export function openLive(): void {
  source?.close();
  source = new EventSource('/v1/events');
  source.addEventListener('open', () => tellLink(true));
  source.addEventListener('error', () => tellLink(false));
  source.addEventListener('audit', event => tell({ kind: 'audit', row: JSON.parse((event as MessageEvent).data) }));
  source.addEventListener('session', event =>
    tell({ kind: 'session', change: JSON.parse((event as MessageEvent).data).change }),
  );
}

export function closeLive(): void {
  source?.close();
  source = undefined;
  up = false;
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
