// What a terminal's page and the gate say to each other, each one binary message of a WebSocket:
//
//   00 | bytes                what is typed, or what the shell printed
//   01 | JSON, UTF-8          everything else, below
//
// A browser cannot be told to read more slowly, so the page says how much it has drawn (`taken`) and the gate stays at most
// `credit` bytes ahead of it.
import { z } from 'zod';
import { Fault } from '../core/fault.ts';

export const terminalProtocol = 'sekisho.terminal-1';
/** Bytes of one message from a page: a paste comes in pieces. */
export const longestMessage = 64 * 1024;
/** Bytes that the page has not drawn yet. */
export const credit = 512 * 1024;

const size = { columns: z.int().min(2).max(1000), rows: z.int().min(1).max(1000) };
const secret = z.string().max(1024);

const said = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('start'),
    user: z.string().min(1).max(128),
    password: secret.optional(),
    key: z.string().max(32_768).optional(),
    passphrase: secret.optional(),
    ...size,
  }),
  /** The person has looked at a host key that is new here. */
  z.strictObject({ kind: z.literal('trust'), yes: z.boolean() }),
  z.strictObject({ kind: z.literal('answers'), answers: z.array(secret).max(16) }),
  z.strictObject({ kind: z.literal('size'), ...size }),
  z.strictObject({ kind: z.literal('taken'), bytes: z.int().min(1).max(credit) }),
]);
export type Said = z.output<typeof said>;
export type Start = Extract<Said, { kind: 'start' }>;

export interface HostKey {
  /** `ssh-ed25519`, as the key itself says. */
  readonly algorithm: string;
  /** `SHA256:…`, as OpenSSH prints it. */
  readonly fingerprint: string;
}
export interface Prompt {
  readonly text: string;
  readonly echo: boolean;
}
export type Told =
  | ({ readonly kind: 'host-key'; readonly state: 'new' | 'known' } & HostKey)
  | {
      readonly kind: 'ask';
      readonly title: string;
      readonly text: string;
      readonly prompts: readonly Prompt[];
    }
  | { readonly kind: 'open'; readonly recorded: boolean; readonly idle: number }
  | {
      readonly kind: 'end';
      /** `exit`, an EndReason of the session, or the code of what went wrong. */
      readonly cause: string;
      readonly text: string;
      readonly status?: number;
      /** Where the device shows another key than the one it is known by. */
      readonly changed?: { readonly known: HostKey; readonly shown: HostKey };
    };

export type Heard = { readonly kind: 'typed'; readonly bytes: Buffer } | Said;

/** @throws Fault `protocol` */
export function decodeMessage(message: Buffer): Heard {
  if (message[0] === 0) return { kind: 'typed', bytes: message.subarray(1) };
  if (message[0] !== 1) throw new Fault('protocol', 'a message of a terminal begins with 0 or 1');
  let value: unknown;
  try {
    value = JSON.parse(message.toString('utf8', 1));
  } catch {
    throw new Fault('protocol', 'a message of a terminal is no JSON'); // without a cause: it may hold a password
  }
  const parsed = said.safeParse(value);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.');
  throw new Fault('protocol', `a message of a terminal is not as it should be${where ? ` (${where})` : ''}`);
}

export const encodeBytes = (bytes: Buffer): Buffer => Buffer.concat([Buffer.of(0), bytes]);
export const encodeTold = (message: Told): Buffer =>
  Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(message))]);
