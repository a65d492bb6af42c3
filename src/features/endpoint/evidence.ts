// The evidence of one endpoint: request, approvals, connections, bytes and end in one JSON document that is signed.
import type { Endpoint } from './endpoint.ts';

/** A row of the audit that is about this endpoint. */
export interface EvidenceRow {
  readonly seq: number;
  readonly at: string;
  readonly event: string;
  readonly hash: string;
  readonly session: string | null;
  readonly from: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface EvidenceParts {
  readonly gate: string;
  readonly now: Date;
  readonly endpoint: Endpoint;
  readonly approval: unknown;
  /** Oldest first. */
  readonly rows: readonly EvidenceRow[];
  /** Whether there are more rows than these. */
  readonly cut: boolean;
}

/** What signs: Ed25519 over the text, base64. */
export type Sign = (text: string) => { readonly key: string; readonly signature: string };

/**
 * Five lines, which together are one JSON value. Line 2 with its newline is what was signed, line 4 is the signature, so
 * that sed and openssl are enough to check it (docs/endpoint.md):
 *
 * ```
 * {"evidence":
 * {"kind":"sekisho endpoint evidence",…}
 * ,"algorithm":"Ed25519","key":"<sha256 of the public key>","signature":
 * "<base64>"
 * }
 * ```
 */
export function evidenceDocument(parts: EvidenceParts, sign: Sign): string {
  const text = `${JSON.stringify(evidenceOf(parts))}\n`;
  const { key, signature } = sign(text);
  const head = JSON.stringify({ algorithm: 'Ed25519', key }).slice(1, -1);
  return `{"evidence":\n${text},${head},"signature":\n${JSON.stringify(signature)}\n}\n`;
}

function evidenceOf({ gate, now, endpoint, approval, rows, cut }: EvidenceParts): object {
  const { id, state, target, resource, tls, port, name, limits, owner, reason, cause, latched } = endpoint;
  const time = (at: number | undefined): string | undefined =>
    at === undefined ? undefined : new Date(at).toISOString();
  return {
    kind: 'sekisho endpoint evidence',
    version: 1,
    gate,
    made: now.toISOString(),
    request: {
      by: { kind: owner.kind, id: owner.id, credential: owner.credential, from: owner.from },
      at: time(endpoint.created),
      target,
      resource,
      for: endpoint.wanted / 1000,
      reason,
      limits,
    },
    approval: approval ?? null,
    endpoint: {
      ...{ id, state, tls, name },
      port: typeof port === 'number' ? port : undefined,
      opened: time(endpoint.opened),
      until: time(endpoint.until),
      ended: time(endpoint.ended),
      ...{ cause, latched },
    },
    connections: connectionsOf(rows),
    /** The rows themselves, with their places in the chain: `audit export` has them too. */
    audit: rows,
    ...(cut ? { cut: 'there are more rows; this document holds the oldest' } : {}),
  };
}

/** Connections with their bytes, from the rows that open and close them; and who was turned away. */
function connectionsOf(rows: readonly EvidenceRow[]): object {
  const opened = new Map(rows.filter(({ event }) => event === 'endpoint.connected').map(row => [row.session, row]));
  const closed = new Map(rows.filter(({ event }) => event === 'endpoint.disconnected').map(row => [row.session, row]));
  const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0);
  const each = [...opened].map(([session, { at, from }]) => {
    const end = closed.get(session);
    return {
      ...{ session, from, opened: at },
      ...(end
        ? {
            closed: end.at,
            up: numberOf(end.facts['up']),
            down: numberOf(end.facts['down']),
            cause: end.facts['cause'],
          }
        : {}),
    };
  });
  const sum = (key: 'up' | 'down'): number => each.reduce((total, one) => total + numberOf((one as never)[key]), 0);
  const denied = rows.filter(({ event }) => event === 'endpoint.denied');
  return {
    count: each.length,
    up: sum('up'),
    down: sum('down'),
    denied: denied.reduce((total, { facts }) => total + numberOf(facts['count']), 0),
    each,
  };
}
