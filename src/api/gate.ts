// gate: looking after the gate itself.
import { Fault } from '../core/fault.ts';
import type { ApiDeps } from './deps.ts';
import { streamEvents } from './events.ts';
import type { Handlers } from './verbs.ts';
import { watch } from './watch.ts';

type Verbs = 'gate.health' | 'gate.check' | 'gate.reload' | 'gate.backup' | 'gate.events' | 'gate.openapi';

export interface Own {
  readonly document: () => object;
  readonly draining: AbortSignal;
}

export function gateHandlers(deps: ApiDeps, { document, draining }: Own): Pick<Handlers, Verbs> {
  const { house } = deps;
  return {
    'gate.health': async ({ bad }) => {
      const health = house.health();
      if (health === 'down') bad();
      return { health };
    },
    'gate.check': async () => house.check(),
    'gate.reload': async ({ note }) => {
      const report = await house.reload();
      note({ added: report.added, changed: report.changed, removed: report.removed });
      return report;
    },
    'gate.backup': async ({ body }) => house.backup(body.passphrase),
    'gate.events': async call => {
      const after = call.query.after ?? lastEventId(call.headers['last-event-id']);
      const options = { action: 'audit.events', draining } as const;
      return watch(deps, call, options, (signal, drop) =>
        streamEvents(deps, { after, signal, drop, peer: call.caller.from }),
      );
    },
    'gate.openapi': async () => document() as { openapi: string },
  };
}

function lastEventId(header: string | string[] | undefined): number | undefined {
  if (header === undefined || header === '') return undefined;
  const id = Number(header);
  if (Number.isSafeInteger(id) && id >= 0) return id;
  throw new Fault('invalid', 'Last-Event-ID is the number of an audit row');
}
