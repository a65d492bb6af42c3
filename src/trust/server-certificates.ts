// `certificate: auto`: server certificates from our own CA, kept over restarts and renewed at two thirds of their life.
import { createHash, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import type { Authority } from './authority.ts';
import { type Identity, lifeOf, readIdentity, writeIdentity } from './identity-file.ts';
import { createNotices } from './notices.ts';
import { type Renewal, startRenewal } from './renewal.ts';

export interface ServerCertificates extends AsyncDisposable {
  /** One identity a kind of key, for exactly these names and addresses. */
  auto(names: readonly string[]): Promise<Identity[]>;
  /** Called when an identity that was given out has a successor; ask again. */
  onChange(call: () => void): () => void;
}

export interface ServerCertificateOptions {
  readonly authority: Authority;
  /** The data directory; kept in `<dir>/issued`. */
  readonly dir: string;
  readonly clock?: Clock;
  readonly log: Log;
  /** RSA for the oldest clients, ECDSA for everybody else: a handshake costs a tenth of RSA's. */
  readonly kinds?: readonly ('rsa' | 'ecdsa')[];
}

interface Kept {
  identity(): Identity;
  readonly renewal: Renewal;
}

export function createServerCertificates(options: ServerCertificateOptions): ServerCertificates {
  const { authority, dir, log, clock = systemClock, kinds = ['rsa', 'ecdsa'] } = options;
  const kept = new Map<string, Promise<Kept>>();
  const changed = createNotices<void>(log);

  const keep = async (names: readonly string[], kind: 'rsa' | 'ecdsa'): Promise<Kept> => {
    const path = join(dir, 'issued', `${fileName(names, kind)}.pem`);
    const issue = async (): Promise<Identity> => {
      const issued = await authority.issueServer({ names, key: kind });
      const identity = { cert: issued.cert + issued.chain.join(''), key: issued.key };
      await writeIdentity(path, identity);
      return identity;
    };
    let identity = (await load(path, authority, clock.now())) ?? (await issue());
    const renewal = startRenewal({
      ...{ clock, log, what: `certificate for ${names.join(', ')}` },
      due: () => dueAt(identity),
      async renew() {
        identity = await issue();
        changed.tell();
      },
    });
    return { identity: () => identity, renewal };
  };
  // Revoking one of ours by hand must not leave the gate presenting it.
  const stop = authority.onRevoked(credential => {
    void Promise.all([...kept.values()]).then(all => {
      for (const { identity, renewal } of all) if (credential === credentialOf(identity())) void renewal.now();
    });
  });
  // The next root issues from now on, or the former one is gone: what is shown must lead to those that count.
  const stopRotation = authority.onRotated(step => {
    if (step !== 'switch' && step !== 'retire') return;
    void Promise.all([...kept.values()]).then(all => {
      for (const { renewal } of all) void renewal.now();
    });
  });
  return {
    auto: names =>
      Promise.all(
        kinds.map(async kind => {
          const wanted = [...new Set(names)]; // the first becomes the common name, which some clients still look at
          const at = fileName(wanted, kind);
          const one = kept.get(at) ?? keep(wanted, kind);
          kept.set(at, one);
          one.catch(() => kept.delete(at)); // a failure is for who asked; the next one tries again
          return (await one).identity();
        }),
      ),
    onChange: changed.on,
    async [Symbol.asyncDispose]() {
      stop();
      stopRotation();
      for (const one of await Promise.allSettled(kept.values())) {
        if (one.status === 'fulfilled') await one.value.renewal[Symbol.asyncDispose]();
      }
    },
  };
}

/** Kept from the last run, unless it is due, revoked, or from another CA. */
async function load(path: string, authority: Authority, now: Date): Promise<Identity | undefined> {
  const identity = await readIdentity(path);
  if (!identity) return undefined;
  const record = authority.record(credentialOf(identity));
  const isOurs = authority.chain()[0] === `-----BEGIN${identity.cert.split('-----BEGIN')[2]}`;
  return record && !record.revoked && isOurs && dueAt(identity) > now ? identity : undefined;
}

function dueAt(identity: Identity): Date {
  const { from, until } = lifeOf(identity);
  return new Date(from.getTime() + ((until.getTime() - from.getTime()) * 2) / 3);
}

const credentialOf = ({ cert }: Identity): string =>
  `cert:${new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase()}`;

const fileName = (names: readonly string[], kind: string): string =>
  `${createHash('sha256')
    .update([...names].sort().join('\n'))
    .digest('hex')
    .slice(0, 32)}-${kind}`;
