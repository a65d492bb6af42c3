// Tells whoever listens. One listener that fails keeps the news neither from the others nor from who told it.
import { toFault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';

export interface Notices<T> {
  /** The returned function ends it. */
  on(call: (news: T) => void): () => void;
  tell(news: T): void;
}

export function createNotices<T>(log: Log): Notices<T> {
  const listeners = new Set<(news: T) => void>();
  return {
    on(call) {
      const own = (news: T): void => call(news); // the same function may listen twice
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    tell(news) {
      for (const call of listeners) {
        try {
          call(news);
        } catch (error) {
          log.error({ error: toFault(error).cause ?? error }, 'a listener failed');
        }
      }
    },
  };
}
