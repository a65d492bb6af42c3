// The Authenticator that features are handed: one door for every kind of proof, one rate limiter for all of them.

import { Fault } from '../core/fault.ts';
import type { Authenticator, Claim, Log, Principal } from '../core/parts.ts';
import { isCode, isToken } from './credentials.ts';
import type { Directory } from './directory.ts';
import type { CertificateChecker } from './identify.ts';
import type { Guess, Limiter } from './limiter.ts';
import type { Passkeys } from './passkeys.ts';

export interface AuthenticatorOptions {
  readonly directory: Directory;
  readonly limiter: Limiter;
  /** Asked anew for each certificate, since a reload changes whose count. */
  readonly certificates: () => CertificateChecker;
  /** Without them none is accepted. */
  readonly passkeys?: Pick<Passkeys, 'check'>;
  readonly log: Log;
}

type Of<K extends Claim['kind']> = Extract<Claim, { kind: K }>;

/**
 * `prove` tells a caller only that it did not work; which part was wrong goes to the log. What it returns has already
 * been through `standing`: groups and roles are filled in.
 */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { directory, limiter, certificates, passkeys, log } = options;
  /** Counted before: people choose passwords that can be guessed, and many tries at once must not slip through. */
  const guessable = async (
    guess: Guess,
    prove: () => Promise<Principal | undefined>,
  ): Promise<Principal | undefined> => {
    await limiter.begin(guess);
    const who = await prove();
    if (who) await limiter.succeeded(guess);
    return who;
  };
  /**
   * 160 random bits and more: looked up first, and only what is wrong counts. A right one passes whatever else comes
   * from its address or names its key, or thirty wrong ones would lock out everybody who shares the address.
   */
  const random = async (guess: Guess, prove: () => Promise<Principal | undefined>): Promise<Principal | undefined> => {
    const who = await prove();
    if (who) return who;
    await limiter.check(guess);
    await limiter.failed(guess);
    return undefined;
  };

  const proofs: { [K in Claim['kind']]: (claim: Of<K>) => Promise<Principal | undefined> } = {
    // Nothing to guess: the key was proven in the handshake.
    certificate: async claim => certificates().check(claim.leaf, claim.chain),
    password: claim =>
      guessable({ from: claim.from, subject: `user:${claim.user.normalize('NFC').slice(0, 256)}` }, () =>
        directory.checkPassword(claim.user, claim.password),
      ),
    token: claim =>
      random({ from: claim.from }, async () => (isToken(claim.token) ? directory.findToken(claim.token) : undefined)),
    'access-key': claim =>
      random({ from: claim.from, subject: `key:${claim.accessKeyId.slice(0, 128)}` }, async () =>
        directory.checkAccessKey(claim.accessKeyId, claim.verify),
      ),
    code: claim =>
      random({ from: claim.from }, async () =>
        isCode(claim.code) ? directory.spendCode(claim.purpose, claim.code) : undefined,
      ),
    passkey: claim => random({ from: claim.from }, async () => passkeys?.check(claim.purpose, claim.response)),
  };

  return {
    async prove(claim, signal) {
      signal.throwIfAborted();
      const prove = proofs[claim.kind] as (claim: Claim) => Promise<Principal | undefined>;
      const who = await prove(claim);
      signal.throwIfAborted();
      if (who) return directory.standing(who);
      log.info({ claim: claim.kind, from: claim.from, ...named(claim) }, 'a proof of identity was wrong');
      throw new Fault('unknown-caller', wrong[claim.kind]);
    },
  };
}

const wrong: Record<Claim['kind'], string> = {
  certificate: 'the certificate is not accepted',
  password: 'the user or the password is wrong',
  token: 'the token is wrong, revoked or past its end; sign in again or make a new one',
  'access-key': 'the access key or its signature is wrong',
  code: 'the code is wrong, used or older than 15 minutes; ask for a new one',
  passkey: 'the passkey is unknown here, or what it signed is older than 5 minutes',
};

/** Who it was meant to be, for the log; never the secret. */
function named(claim: Claim): Record<string, string> {
  if (claim.kind === 'password') return { user: claim.user.slice(0, 256) };
  if (claim.kind === 'access-key') return { accessKeyId: claim.accessKeyId.slice(0, 128) };
  return claim.kind === 'code' || claim.kind === 'passkey' ? { purpose: claim.purpose } : {};
}
