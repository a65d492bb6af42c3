// The sign-in on top of a certificate within this process: one page, for the proxy's hosts and for renamed sites.
import { createPrivateKey, generateKeyPairSync, hkdfSync, type KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Authenticator, Gate, Identify, Log } from '../core/parts.ts';
import {
  carryOver,
  type Door,
  type IdentitySigner,
  identitySigner,
  openSignIns,
  type SignIns,
  type SitesService,
  signInDoor,
  signInStore,
  siteSignIn,
  siteStepUp,
  type WebService,
  wanting,
} from '../features/web/index.ts';
import type { Store } from '../store/index.ts';
import { anonymous, type Directory, type Limiter, openTotp, type Passkeys, type Totp } from '../trust/index.ts';
import type { ConfigFile } from './config-file.ts';
import { latestChecker } from './gateway-parts.ts';
import { namesOf } from './places.ts';
import type { Plan } from './plan.ts';

export interface SignInPlaneOptions {
  readonly current: () => { readonly file: ConfigFile; readonly plan: Plan };
  readonly data: string;
  readonly store: Store;
  readonly gate: Gate;
  readonly authenticator: Authenticator;
  readonly limiter: Limiter;
  readonly directory: Pick<Directory, 'standing' | 'onRevoked' | 'onSignedOut'>;
  readonly passkeys: Passkeys;
  /** Ends what this certificate has open on the web. */
  readonly cut: (credential: string) => void;
  readonly web: () => WebService | undefined;
  readonly sites: () => SitesService | undefined;
  /** The gate's port, as it was opened. */
  readonly port: () => number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SignInPlane extends Disposable {
  readonly signIns: SignIns;
  readonly totp: Totp;
  readonly signer: IdentitySigner;
  /** For renamed sites: looks at each request once more. */
  readonly before: ReturnType<typeof siteStepUp>;
  readonly doors: readonly Door[];
  /** Where the sign-in page stands. */
  readonly origin: () => string;
}

export async function openSignInPlane(options: SignInPlaneOptions): Promise<SignInPlane> {
  const { current, data, store, gate, authenticator, limiter, directory, passkeys, web, sites, clock, log } = options;
  const issuer = (): string => namesOf(current().file.config)[0] ?? 'sekisho';
  const totp = await openTotp({ store, dir: data, limiter, issuer, clock });
  const signIns = await openSignIns(signInStore(store), clock);
  const stop = directory.onRevoked(credential => {
    signIns.end(credential).catch(error => log.error({ error }, 'a sign-in could not be forgotten'));
  });
  const stopOut = directory.onSignedOut(user => {
    const { credentials, written } = signIns.endOf(user);
    credentials.forEach(options.cut);
    written.catch(error => log.error({ error }, 'a sign-in could not be forgotten'));
  });
  const key = identityKey(data);
  const bytes = key.export({ type: 'pkcs8', format: 'der' });
  const secret = new Uint8Array(hkdfSync('sha256', bytes, '', 'sekisho: cookies of renamed sites', 32));
  const carry = siteSignIn(secret, clock);
  const port = (): number => current().plan.web.forward?.port ?? options.port();
  const sitePort = (): number => current().plan.sites?.plan.port ?? port();
  const origin = (): string => {
    const name = current().file.config.gate?.name ?? 'localhost';
    return `https://${name}${port() === 443 ? '' : `:${port()}`}`;
  };
  const signInUrl = (): string => web()?.signInUrl() ?? `${origin()}/sign-in`;
  const checker = latestChecker(() => current().plan.trust);
  const identify: Identify = async ({ tls }) =>
    tls?.leaf ? directory.standing(checker().check(tls.leaf, tls.chain)) : anonymous;
  const door = signInDoor({
    ...{ identify, gate, authenticator, signIns, log },
    proveCode: (user, code, from) => totp.prove(user, code, from),
    askPasskey: (user, purpose) => (passkeys.has(user) ? passkeys.challenge(purpose) : Promise.resolve(undefined)),
    url: signInUrl,
    mayReturnTo: url => wanting(sites(), url, sitePort()) !== undefined || web()?.serves(url) === true,
    carryOver: (credential, back) => carryOver({ signIns, carry, port: sitePort }, sites(), credential, back),
  });
  return {
    signIns,
    totp,
    signer: identitySigner(key, origin),
    before: siteStepUp({ signIns, carry, signInUrl, port: sitePort }),
    doors: [door],
    origin: () => new URL(signInUrl()).origin,
    [Symbol.dispose]() {
      stop();
      stopOut();
    },
  };
}

/** What identities are signed with: made when missing, 0600, outside the database. */
function identityKey(data: string): KeyObject {
  const file = join(data, 'web-identity.key');
  try {
    return createPrivateKey(readFileSync(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx' });
  return privateKey;
}
