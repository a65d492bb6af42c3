// Signing in by an OpenID provider: the code flow with PKCE, state and nonce, bound to the browser that began it.
import { createHash, randomBytes } from 'node:crypto';
import type { Configuration, ServerMetadata } from 'openid-client';
import { z } from 'zod';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Secret } from '../core/secret.ts';
import type { OidcConfig } from './config.ts';
import { oidcFetch } from './oidc-fetch.ts';
import type { OidcPeople } from './oidc-people.ts';
import { sealerWith } from './sealing.ts';

export interface OidcOptions {
  readonly config: OidcConfig;
  readonly secret?: Secret | undefined;
  /** PEM. */
  readonly ca?: string | undefined;
  /** Exactly what is registered at the provider. */
  readonly redirect: () => string;
  /** Where somebody is sent who has signed out there. */
  readonly home: () => string;
  readonly people: OidcPeople;
  readonly clock?: Clock;
  readonly log: Log;
}

export interface Oidc {
  /** What the button says. */
  readonly name: string;
  /**
   * The provider's page, what the browser's cookie holds meanwhile, and what the page that asked keeps. Cookies know no
   * ports, so only who has both is signed in. @throws Fault `unreachable`
   */
  start(): Promise<{ readonly url: string; readonly cookie: string; readonly binding: string }>;
  /** @throws Fault `invalid` (begun elsewhere, too late, refused there), `denied`, `unreachable` */
  finish(callback: URL, cookie: string | undefined): Promise<OidcSignIn>;
  /** Where the provider is told that somebody has signed out, if it wants to know. */
  readonly goodbye: string | undefined;
}

export interface OidcSignIn {
  readonly user: string;
  /** `oidc+mfa` where the provider says that it asked for a second factor (RFC 8176 `mfa`). */
  readonly how: 'oidc' | 'oidc+mfa';
  /** The hash of what the page keeps. */
  readonly bound: string;
}

/** Milliseconds at the provider's page. */
const life = 10 * 60_000;
/** How long what the provider says of itself is believed. */
const fresh = 10 * 60_000;

/** Milliseconds until a provider that did not answer is asked again. */
const pause = 2000;

const begun = z.strictObject({
  ...{ state: z.string(), nonce: z.string(), verifier: z.string(), bound: z.string(), issuer: z.string() },
  until: z.number(),
});

export const bindingHash = (binding: string): string => createHash('sha256').update(binding).digest('base64url');

export function createOidc(options: OidcOptions): Oidc {
  const { config, secret, ca, redirect, home, people, clock = systemClock, log } = options;
  const sealer = sealerWith(randomBytes(32)); // of this start: who was away meanwhile begins again
  const fetch = oidcFetch(ca);
  /** Whoever asks us often must not make us ask a provider that is down as often. */
  let downUntil = 0;
  let known: { readonly metadata: ServerMetadata; readonly at: number } | undefined;

  const library = (): Promise<typeof import('openid-client')> => import('openid-client');
  /** Made anew for each sign-in, so that the provider's keys are those of now: it may have changed them. */
  const configuration = async (): Promise<Configuration> => {
    const client = await library();
    const metadata = {
      ...(secret ? { client_secret: secret.reveal() } : {}),
      [client.clockTolerance]: Math.max(1, config['clock-skew'] / 1000),
    };
    const proof = secret ? client.ClientSecretPost(secret.reveal()) : client.None();
    const now = clock.now().getTime();
    let made: Configuration;
    if (known && now - known.at < fresh) {
      made = new client.Configuration(known.metadata, config['client-id'], metadata, proof);
      made[client.customFetch] = fetch as never;
    } else {
      const how = { [client.customFetch]: fetch as never, timeout: 10 };
      made = await client.discovery(new URL(config.issuer), config['client-id'], metadata, proof, how);
      known = { metadata: made.serverMetadata(), at: now };
    }
    // The ID token's signature is checked although it comes over TLS from the provider itself.
    client.enableNonRepudiationChecks(made);
    return made;
  };
  const reached = <T>(work: () => Promise<T>): Promise<T> => {
    if (clock.now().getTime() < downUntil) throw silent();
    return work().catch((cause: unknown) => {
      if (cause instanceof Fault) throw cause;
      downUntil = clock.now().getTime() + pause;
      log.warn({ issuer: config.issuer, cause }, 'the OpenID provider cannot be asked');
      throw silent(cause);
    });
  };

  return {
    name: config.name ?? new URL(config.issuer).host,
    get goodbye() {
      const end = known?.metadata.end_session_endpoint;
      if (!end?.startsWith('https://')) return undefined;
      const url = new URL(end);
      url.searchParams.set('client_id', config['client-id']);
      url.searchParams.set('post_logout_redirect_uri', home());
      return url.href;
    },
    async start() {
      const client = await library();
      const made = await reached(configuration);
      const binding = randomBytes(32).toString('base64url');
      const [state, nonce, verifier] = [client.randomState(), client.randomNonce(), client.randomPKCECodeVerifier()];
      const url = client.buildAuthorizationUrl(made, {
        ...{ redirect_uri: redirect(), scope: config.scopes.join(' '), state, nonce },
        ...{ code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' },
      });
      if (url.protocol !== 'https:') throw new Fault('invalid', 'the OpenID provider’s page is not https');
      const until = clock.now().getTime() + life;
      const kept = { state, nonce, verifier, bound: bindingHash(binding), issuer: config.issuer, until };
      return { url: url.href, cookie: sealer.seal(JSON.stringify(kept), 'oidc'), binding };
    },
    async finish(callback, cookie) {
      const kept = openCookie(cookie);
      if (callback.searchParams.get('state') !== kept.state) throw notHere();
      const refused = callback.searchParams.get('error');
      if (refused !== null) {
        log.info({ issuer: config.issuer, refused: refused.slice(0, 100) }, 'an OpenID provider refused');
        throw new Fault('invalid', 'the OpenID provider did not let you in; sign in another way, or try again');
      }
      const client = await library();
      const made = await reached(configuration);
      // Exactly the registered address, whatever name or port this request came by.
      const url = new URL(redirect());
      url.search = callback.search;
      const checks = {
        expectedState: kept.state,
        expectedNonce: kept.nonce,
        pkceCodeVerifier: kept.verifier,
        idTokenExpected: true,
      };
      const tokens = await client.authorizationCodeGrant(made, url, checks).catch((cause: unknown) => {
        log.warn({ issuer: config.issuer, cause }, 'a sign-in by an OpenID provider was refused');
        throw new Fault('invalid', 'what the OpenID provider said could not be verified; try again', { cause });
      });
      let claims: Record<string, unknown> = { ...tokens.claims() };
      const { sub } = claims;
      if (typeof sub !== 'string' || sub === '') throw new Fault('invalid', 'the OpenID provider names nobody');
      const wanted = [config.user, config['groups-claim']];
      if (wanted.some(name => claims[name] === undefined) && made.serverMetadata().userinfo_endpoint)
        claims = { ...(await reached(() => client.fetchUserInfo(made, tokens.access_token, sub))), ...claims };
      const user = await people.admit(made.serverMetadata().issuer, sub, claims);
      const methods = tokens.claims()?.['amr'];
      const isStrong = Array.isArray(methods) && methods.includes('mfa');
      return { user, how: isStrong ? 'oidc+mfa' : 'oidc', bound: kept.bound };
    },
  };

  function openCookie(cookie: string | undefined): z.output<typeof begun> {
    try {
      const kept = begun.parse(JSON.parse(sealer.unseal(cookie ?? '', 'oidc')));
      if (kept.until > clock.now().getTime() && kept.issuer === config.issuer) return kept;
    } catch {
      // none, or not ours
    }
    throw notHere();
  }
}

const silent = (cause?: unknown): Fault =>
  new Fault('unreachable', 'the OpenID provider does not answer as it should; try again, or sign in another way', {
    cause,
  });

const notHere = (): Fault =>
  new Fault('invalid', 'this sign-in was not begun in this browser, or too long ago; begin again');
