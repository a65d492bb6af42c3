// What a server's numbers mean for whoever wants to join: a sentence that says what to do, and whether to try again.
import { Fault, type FaultCode } from '../../../core/fault.ts';

interface Row {
  readonly code: FaultCode;
  readonly text: string;
  /** May be different in a while: a client that was in once goes on trying. */
  readonly again?: true;
}

/** The numbers that a join can be answered with (SoftEther's `ERR_…`). */
const rows: Readonly<Record<number, Row>> = {
  3: { code: 'unreachable', text: 'the server ended the connection', again: true },
  4: { code: 'protocol', text: 'the server did not understand this client' },
  7: { code: 'denied', text: 'the hub does not take this way of proving who one is; try --plain, or --cert and --key' },
  8: { code: 'missing', text: 'there is no hub of this name; names of hubs are told by whoever runs the gate' },
  9: {
    code: 'unknown-caller',
    text: 'wrong user, password or certificate (a member made with --plain-only or --gate-password needs --plain)',
  },
  10: { code: 'unreachable', text: 'the hub is offline', again: true },
  11: { code: 'gone', text: 'the session was ended by an administrator', again: true },
  12: { code: 'denied', text: 'this member may not join: disabled, ended, or kept out by the hub’s policy' },
  13: { code: 'gone', text: 'the session is over', again: true },
  15: { code: 'limit', text: 'the session has connections enough', again: true },
  16: { code: 'limit', text: 'all places of the hub are taken', again: true },
  20: { code: 'limit', text: 'this member is on the hub as often as the policy allows', again: true },
  23: { code: 'unreachable', text: 'the server failed inside; its log says more', again: true },
  51: { code: 'denied', text: 'a member without a password may join from the server’s own machine only' },
  56: { code: 'denied', text: 'the server does not speak the wished cipher' },
  85: { code: 'denied', text: 'the server does not trust the shown certificate' },
  105: { code: 'limit', text: 'too many wrong tries, or too much to do: wait some minutes', again: true },
  109: { code: 'denied', text: 'the hub does not let this address in' },
  126: { code: 'gone', text: 'the time that the policy gives a session is over', again: true },
};

/** The fault of an `error` number; its number stands in the facts. */
export function refusalOf(number: number, what: string): Fault {
  const { code, text } = rows[number] ?? { code: 'denied' as const, text: `the server refused with code ${number}` };
  return new Fault(code, `${what}: ${text}`, { facts: { number } });
}

export const numberOf = (error: unknown): number =>
  error instanceof Fault && typeof error.facts['number'] === 'number' ? error.facts['number'] : 0;

/** Whether trying again without a change can help. What is no refusal (a broken line, a restart) always may. */
export function mayHelp(error: unknown): boolean {
  const number = numberOf(error);
  return number === 0 ? !(error instanceof Fault && error.code === 'invalid') : rows[number]?.again === true;
}
