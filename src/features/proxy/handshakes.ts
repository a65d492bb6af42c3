// The bound on conns that have not finished their handshake. When it is reached, the one that has waited longest goes:
// a flood of silent conns pushes out its own kind, and an honest client, done in milliseconds, is never the oldest.
import type { Conn } from '../../core/parts.ts';

export interface Handshakes {
  add(conn: Conn): void;
  delete(conn: Conn): void;
  readonly size: number;
}

/** `dropped` is called for every conn that had to go; its stream is destroyed already. */
export function boundHandshakes(bound: number, dropped: () => void): Handshakes {
  const pending = new Set<Conn>(); // in the order they came
  return {
    add(conn) {
      pending.add(conn);
      if (pending.size <= bound) return;
      const [oldest] = pending;
      if (!oldest) return;
      pending.delete(oldest);
      oldest.stream.destroy();
      dropped();
    },
    delete: conn => void pending.delete(conn),
    get size() {
      return pending.size;
    },
  };
}
