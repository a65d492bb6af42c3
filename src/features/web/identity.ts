// Who is there, told to the service: plain fields, or a signed token that it can check (RFC 7519, EdDSA).
import { createHash, createPublicKey, type KeyObject, randomUUID, sign } from 'node:crypto';
import type { Principal } from '../../core/parts.ts';
import { whoText } from './access-line.ts';
import { encodeValue, type Fields } from './headers.ts';
import { type Site, siteName } from './site.ts';

/** Seconds that a token lasts, and how old it may be when it is used once more. */
const life = 300;
const reused = 120;

export interface IdentitySigner {
  token(who: Principal, site: Site, now: Date): string;
  /** What /.well-known/jwks.json says. */
  readonly keys: { readonly keys: readonly object[] };
}

/** `key`: Ed25519, private, from a file beside the database. */
export function identitySigner(key: KeyObject, issuer: () => string): IdentitySigner {
  const { crv, kty, x } = createPublicKey(key).export({ format: 'jwk' });
  // RFC 7638.
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url');
  const head = base64({ alg: 'EdDSA', typ: 'JWT', kid });
  return {
    keys: { keys: [{ kty, crv, x, kid, alg: 'EdDSA', use: 'sig' }] },
    token(who, site, now) {
      const iat = Math.floor(now.getTime() / 1000);
      const groups = groupsOf(who);
      const [cn, ou] = [who.attributes.get('cn')?.[0], who.attributes.get('ou')];
      const fingerprint = /^cert:([0-9a-f]{64})$/.exec(who.credential)?.[1];
      const body = base64({
        ...{ iss: issuer(), sub: subject(who), aud: siteName(site), iat, nbf: iat, exp: iat + life, jti: randomUUID() },
        ...(cn === undefined ? {} : { cn }),
        ...(ou === undefined ? {} : { ou }),
        ...(groups.length === 0 ? {} : { groups }),
        // RFC 8705 §3.1.
        ...(fingerprint ? { cnf: { 'x5t#S256': Buffer.from(fingerprint, 'hex').toString('base64url') } } : {}),
      });
      return `${head}.${body}.${sign(null, Buffer.from(`${head}.${body}`), key).toString('base64url')}`;
    },
  };
}

/**
 * A user of this gate by name; of somebody else's certificate `cn:` and its CN. No user's name holds a colon, so that no
 * other CA can make somebody of ours.
 */
const subject = (who: Principal): string => (who.id === '' ? `cn:${whoText(who)}` : who.id);

const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const groupsOf = ({ groups }: Principal): string[] => groups.filter(group => !group.startsWith('role:'));

/** What services are told, if they are; whatever the client wrote there has been taken away. */
export function identityFields({ who }: { readonly who: Principal }): string[] {
  const out = ['X-Sekisho-User', encodeValue(subject(who)), 'X-Sekisho-Certificate', encodeValue(who.credential)];
  const groups = groupsOf(who);
  return groups.length === 0 ? out : [...out, 'X-Sekisho-Groups', groups.map(encodeValue).join(', ')];
}

/** A signature costs more than the request that it goes with, so that one serves for a while. */
const recent = new WeakMap<Principal, Map<string, { readonly token: string; readonly at: number }>>();

export function signedFields(who: Principal, site: Site, signer: IdentitySigner, now: Date): Fields {
  const known = recent.get(who) ?? new Map<string, { token: string; at: number }>();
  recent.set(who, known);
  const name = siteName(site);
  const seconds = now.getTime() / 1000;
  let one = known.get(name);
  if (!one || seconds - one.at > reused || seconds < one.at) {
    one = { token: signer.token(who, site, now), at: seconds };
    known.set(name, one);
  }
  return [...identityFields({ who }), 'X-Sekisho-Identity', one.token];
}
