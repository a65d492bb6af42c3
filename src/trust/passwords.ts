// Passwords: argon2id with its parameters beside each hash, so that they can be raised without anybody noticing.
import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { Fault } from '../core/fault.ts';

/** OWASP's first choice (2024): 19 MiB, two passes, one lane; about 45 ms. */
const current = { memory: 19_456, passes: 2, parallelism: 1 } as const;
/** Each costs 19 MiB while it runs: more at once than this wait, and more than that are turned away. */
const atOnce = 4;
const inLine = 64;

export interface Passwords {
  hash(password: string): Promise<string>;
  /** `undefined` = no such user: takes as long as a wrong password. @throws Fault `limit` when too many are being checked */
  verify(password: string, stored: string | undefined): Promise<boolean>;
  /** Was it hashed with weaker parameters than today's? */
  isOutdated(stored: string): boolean;
}

export function createPasswords(): Passwords {
  const turn = turnstile();
  // What an unknown user's password is compared with: nothing fits it.
  const nobody = encode(current, randomBytes(16), randomBytes(32));
  return {
    hash: async password => {
      const salt = randomBytes(16);
      return encode(current, salt, await turn(() => derive(password, salt, current, 32)));
    },
    verify: async (password, stored) => {
      const { parameters, salt, hash } = decode(stored ?? nobody);
      const derived = await turn(() => derive(password, salt, parameters, hash.length));
      return timingSafeEqual(derived, hash) && stored !== undefined;
    },
    isOutdated: stored => {
      const { memory, passes } = decode(stored).parameters;
      return memory < current.memory || passes < current.passes;
    },
  };
}

interface Cost {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
}

function derive(password: string, nonce: Uint8Array, cost: Cost, tagLength: number): Promise<Buffer> {
  const parameters: Argon2Parameters = { ...cost, message: password.normalize('NFC'), nonce, tagLength };
  return new Promise((resolve, reject) => {
    argon2('argon2id', parameters, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

/** The PHC string that every argon2 tool reads. */
function encode({ memory, passes, parallelism }: Cost, salt: Uint8Array, hash: Uint8Array): string {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replace(/=+$/, '');
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${base64(salt)}$${base64(hash)}`;
}

function decode(stored: string): { parameters: Cost; salt: Buffer; hash: Buffer } {
  const parts = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(stored);
  if (!parts) throw new Fault('bug', 'a stored password hash has an unknown form');
  const [, memory, passes, parallelism, salt = '', hash = ''] = parts;
  const parameters = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) };
  return { parameters, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') };
}

/** Lets a few run at once, in the order in which they came. */
function turnstile(): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async work => {
    if (running >= atOnce) {
      if (waiting.length >= inLine)
        throw new Fault('limit', 'too many passwords are being checked; try again in a moment');
      await new Promise<void>(resolve => waiting.push(resolve));
    } else running += 1;
    try {
      return await work();
    } finally {
      // The place is handed on, not given back: nobody can slip in between.
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
