// Why somebody is not let in, in a sentence that OpenVPN's clients show, and whether they may try again by themselves.
import { Fault, toFault } from '../../../core/fault.ts';
import { type ErrorName, Refusal } from '../softether/errors.ts';
import { abilities } from './push.ts';

interface Sentence {
  readonly text: string;
  /** Seconds after which another try may help. */
  readonly again?: number;
}
const sentences: Readonly<Partial<Record<ErrorName, Sentence>>> = {
  'auth-failed': {
    text: 'the user name, password or certificate is wrong; where there are several hubs, the user name is USER@HUB',
  },
  'no-such-hub': { text: 'there is no hub of this name' },
  'hub-stopping': { text: 'the hub is offline', again: 30 },
  denied: { text: 'this member may not join the hub' },
  'hub-busy': { text: 'the hub has no free place', again: 60 },
  'too-many-sessions': { text: 'as many sessions of this member as allowed are on the hub', again: 30 },
  'server-refuses': { text: 'too many tries; wait some minutes', again: 120 },
};

/** @returns the line for the control channel */
export function failureLine(error: unknown, proto: number): string {
  const { text, again } = sentenceOf(error);
  // Commas and quotes have meanings there.
  const clean = text.replace(/[^\x20-\x7e]/g, "'").replace(/[,"]/g, ';');
  if (again === undefined) return `AUTH_FAILED,${clean}`;
  return (proto & abilities.failTemporarily) === 0
    ? `AUTH_FAILED,${clean}`
    : `AUTH_FAILED,TEMP[backoff ${again}]:${clean}`;
}

function sentenceOf(error: unknown): Sentence {
  if (error instanceof Refusal)
    return error.code === 'not-supported'
      ? { text: error.message }
      : (sentences[error.code] ?? { text: 'this member may not join the hub' });
  const { code } = error instanceof Fault ? error : toFault(error);
  if (code === 'timeout' || code === 'unreachable') return { text: 'the gate cannot let anybody in now', again: 30 };
  return code === 'limit' ? { text: 'too many tries; wait some minutes', again: 120 } : { text: 'the gate refuses' };
}
