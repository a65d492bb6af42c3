// Whose a port is, where the router shares out what there is only so much of: somebody with ten sessions, or who joins anew
// each second, gets no more than somebody with one.
import { addressKey } from '../../../wire/cidr.ts';
import type { Plug } from '../switch/plug.ts';

/** The user; of who is none, the address that he came from; of a port of the hub's own the port. */
export function personOf({ id, policy: { kind, who, from } }: Plug): string {
  if (who && who.id !== '') return `${who.kind} ${who.id}`;
  return kind === 'member' && from && 'host' in from ? `at ${addressKey(from.host)}` : `port ${id}`;
}
