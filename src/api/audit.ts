// audit: the record, read, followed, checked and carried out.
import type { AuditRow } from '../access/index.ts';
import type { ApiDeps } from './deps.ts';
import { devicesOf } from './device.ts';
import type { Own } from './gate.ts';
import type { Handlers, Streamed } from './verbs.ts';
import { watch } from './watch.ts';

type Verbs =
  | 'audit.search'
  | 'audit.tail'
  | 'audit.verify'
  | 'audit.export'
  | 'audit.head'
  | 'audit.recording-list'
  | 'audit.recording';

export function auditHandlers(deps: ApiDeps, { draining }: Pick<Own, 'draining'>): Pick<Handlers, Verbs> {
  const { audit } = deps;
  return {
    'audit.search': async ({ query }) => {
      const { user, ...filter } = query;
      const { rows, next } = await audit.search({ ...filter, who: user });
      return { rows: [...rows], ...(next === undefined ? {} : { next }) };
    },
    'audit.tail': async call => {
      const { after = Math.max(0, audit.head().seq - call.query.last), follow } = call.query;
      const options = { action: 'audit.tail', draining } as const;
      if (follow) return lines(await watch(deps, call, options, signal => audit.tail(after, signal)));
      return lines(until(audit.tail(after, call.signal), audit.head().seq, after));
    },
    'audit.verify': async ({ body }) => {
      const { problems, notes, ...report } = await audit.verify({ head: body.head });
      return { ...report, problems: [...problems], notes: [...notes] };
    },
    'audit.export': async ({ query: { format, ...filter } }) => audit.export(filter, format),
    'audit.head': async () => ({ head: { ...audit.head() }, publicKey: audit.publicKey }),
    'audit.recording-list': async ({ query }) => {
      const { device, user, limit } = query;
      const found = (await devicesOf(deps).terminals.recordings.list()).filter(
        one => (device === undefined || one.device === device) && (user === undefined || one.user === user),
      );
      const shown = found.slice(0, limit).map(({ begun, ...one }) => ({ ...one, begun: begun.toISOString() }));
      return { recordings: shown, total: found.length };
    },
    'audit.recording': async ({ params }) => devicesOf(deps).terminals.recordings.open(params.id),
  };
}

async function* lines(rows: AsyncIterable<Readonly<AuditRow>>): Streamed {
  for await (const row of rows) yield `${JSON.stringify(row)}\n`;
}

async function* until(
  rows: AsyncIterable<Readonly<AuditRow>>,
  last: number,
  after: number,
): AsyncIterable<Readonly<AuditRow>> {
  if (after >= last) return;
  for await (const row of rows) {
    yield row;
    if (row.seq >= last) return;
  }
}
