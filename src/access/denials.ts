// Denials on their way to the audit: the first of a kind at once, its repeats within ten seconds as one row with a count.
import type { Clock } from '../core/clock.ts';
import type { AccessRequest, Address } from '../core/parts.ts';
import { addressKey } from '../wire/cidr.ts';
import type { AuditEvent } from './audit-row.ts';
import { eventNames } from './events.ts';

export interface Denials {
  /** Never throws, never waits. `times` = how often it has happened. */
  add(request: AccessRequest, reason: string, rule?: string, times?: number): void;
  /** Writes what is still counted. */
  flush(): void;
}

/** Repeats within this are one row. */
const window = 10_000;
/**
 * Kinds that are told apart at a time. Beyond the first number, addresses are not, and beyond the second nothing but the
 * action is: a scan from everywhere, or of everything, fills neither memory nor disk.
 */
const mostKinds = { whole: 5000, all: 5500 } as const;

interface Kind {
  readonly event: AuditEvent;
  repeats: number;
}

export function createDenials(clock: Clock, write: (event: AuditEvent) => void): Denials {
  const kinds = new Map<string, Kind>();

  const close = (key: string): void => {
    const kind = kinds.get(key);
    kinds.delete(key);
    if (!kind || kind.repeats === 0) return;
    write({ ...kind.event, facts: { ...kind.event.facts, count: kind.repeats } });
  };

  return {
    add(request, reason, rule, times = 1) {
      const { who, action, resource, from } = request;
      const isCrowded = kinds.size >= mostKinds.whole;
      const isFull = kinds.size >= mostKinds.all;
      const key = JSON.stringify(
        isFull ? [action] : [action, resource, isCrowded ? '' : keyOf(from), reason, isCrowded ? '' : who.credential],
      );
      const known = kinds.get(key);
      if (known) {
        known.repeats += times;
        return;
      }
      const event: AuditEvent = {
        event: eventNames(action).denied,
        who,
        from,
        resource,
        ...(rule === undefined ? {} : { rule }),
        outcome: 'denied',
        facts: {
          ...{ action, reason, count: 1 },
          ...(isCrowded ? { addresses: 'many' } : {}),
          ...(isFull ? { resources: 'many' } : {}),
          ...attributesOf(request),
        },
      };
      kinds.set(key, { event, repeats: times - 1 });
      clock.after(window, () => close(key));
      write(event);
    },
    flush() {
      for (const key of [...kinds.keys()]) close(key);
    },
  };
}

const keyOf = (from: Address): string => ('path' in from ? 'unix' : addressKey(from.host));

/** Who a foreign certificate says it is: without a name of ours its attributes are all there is. */
export function attributesOf({ who }: AccessRequest): { certificate?: Record<string, readonly string[]> } {
  if (who.id !== '' || who.attributes.size === 0) return {};
  return { certificate: Object.fromEntries(who.attributes) };
}
