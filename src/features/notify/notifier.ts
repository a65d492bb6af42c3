// Rows of the audit in, news out: read, told once, by every way that is configured.
import type { Clock } from '../../core/clock.ts';
import type { NotifyConfig } from './config.ts';
import { createReader, type Notice, type Row } from './notice.ts';

export interface NotifierOptions {
  readonly config: NotifyConfig;
  readonly ways: readonly ((notice: Notice) => void)[];
  readonly clock: Clock;
}

/** News remembered at a time. */
const mostKnown = 10_000;

/** Never waits, never throws. */
export function createNotifier({ config, ways, clock }: NotifierOptions): (row: Row) => void {
  const read = createReader(config);
  const told = new Map<string, number>();
  const isNews = ({ key }: Notice): boolean => {
    const now = clock.now().getTime();
    for (const [known, until] of told) {
      if (until > now && told.size < mostKnown) break; // in the order of their ends
      told.delete(known);
    }
    if (told.has(key)) return false;
    told.set(key, now + config.quiet);
    return true;
  };
  return row => {
    const notice = read(row);
    if (notice && isNews(notice)) for (const tell of ways) tell(notice);
  };
}
