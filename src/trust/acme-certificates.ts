// `certificate: acme`: certificates kept on disk, obtained and renewed in the background, a stand-in until the first has come.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { type Acme, letsEncrypt, openAcme } from './acme.ts';
import { type Publish, selfSigned } from './acme-challenges.ts';
import type { ExternalAccount } from './acme-jws.ts';
import { type Identity, lifeOf, readIdentity, writeIdentity } from './identity-file.ts';
import { createNotices } from './notices.ts';
import { type Renewal, spread, startRenewal } from './renewal.ts';

/** One `acme:` block, its files read. */
export interface AcmeWish {
  readonly names: readonly string[];
  readonly directory?: string;
  readonly email?: string;
  readonly challenge?: 'http-01' | 'tls-alpn-01';
  /** PEM. */
  readonly ca?: string;
  readonly externalAccount?: ExternalAccount;
  /** Milliseconds before its end; at most a third of the certificate's life. Default 30 days. */
  readonly renewBefore?: number;
  readonly key?: 'rsa' | 'ecdsa';
}

export interface AcmeCertificates extends AsyncDisposable {
  /** For one reading of the configuration. */
  reading(): AcmeReading;
  onChange(call: () => void): () => void;
  /** Per set of names: until when the certificate is good, and whether it is still the stand-in. */
  state(): readonly { readonly names: readonly string[]; readonly notAfter: Date; readonly standIn: boolean }[];
}

export interface AcmeReading {
  /**
   * The certificate there is; when there is none yet, a self-signed one, so that the listener that has to answer the
   * challenge can open. The real one follows in the background: see onChange.
   */
  identities(wish: AcmeWish): Promise<Identity[]>;
  /** This reading counts from now on: what it has not asked for is no longer obtained or renewed. */
  adopt(): void;
}

export interface AcmeCertificateOptions {
  /** The data directory; kept in `<dir>/acme`. */
  readonly dir: string;
  readonly publish: Publish;
  readonly clock?: Clock;
  readonly log: Log;
}

interface Kept {
  readonly names: readonly string[];
  identity(): Identity;
  isStandIn(): boolean;
  readonly renewal: Renewal;
}

const day = 86_400_000;
/** The listener that has to answer the challenge opens only after it was given the stand-in. */
const settle = 3000;

export function createAcmeCertificates(options: AcmeCertificateOptions): AcmeCertificates {
  const { dir, publish, log, clock = systemClock } = options;
  const kept = new Map<string, Promise<Kept>>();
  const clients = new Map<string, Promise<Acme>>();
  const changed = createNotices<void>(log);
  const ready = new Set<Kept>();

  const clientFor = (wish: AcmeWish): Promise<Acme> => {
    const directory = wish.directory ?? letsEncrypt;
    const at = digest([directory, wish.email, wish.ca, wish.externalAccount?.kid, wish.externalAccount?.key]);
    const known = clients.get(at);
    if (known) return known;
    const opened = openAcme({
      ...{ directory, log, clock, accountKeyFile: join(dir, 'acme', `account-${digest([directory])}.key`) },
      ...(wish.email === undefined ? {} : { email: wish.email }),
      ...(wish.ca === undefined ? {} : { ca: wish.ca }),
      ...(wish.externalAccount === undefined ? {} : { externalAccount: wish.externalAccount }),
    });
    clients.set(at, opened);
    opened.catch(() => clients.delete(at));
    return opened;
  };

  const keep = async (wish: AcmeWish, names: readonly string[], path: string): Promise<Kept> => {
    const { key, challenge = 'tls-alpn-01', renewBefore = 30 * day } = wish;
    const found = await readIdentity(path);
    let standIn = !found || lifeOf(found).until <= clock.now();
    let identity = found && !standIn ? found : await selfSigned(names[0] ?? 'localhost', clock.now());
    const renewal = startRenewal({
      ...{ clock, log, what: `ACME certificate for ${names.join(', ')}` },
      due: () => (standIn ? new Date(clock.now().getTime() + settle) : dueAt(identity, renewBefore)),
      async renew(signal) {
        const acme = await clientFor(wish);
        identity = await acme.obtain({ names, challenge, publish, ...(key === undefined ? {} : { key }) }, signal);
        standIn = false;
        await writeIdentity(path, identity);
        changed.tell();
      },
    });
    const one: Kept = { names, identity: () => identity, isStandIn: () => standIn, renewal };
    ready.add(one);
    return one;
  };

  const stop = async (one: Kept): Promise<void> => {
    ready.delete(one);
    log.info({ names: one.names }, 'this ACME certificate is no longer wanted; it will not be renewed');
    await one.renewal[Symbol.asyncDispose]();
  };

  return {
    reading() {
      const asked = new Set<string>();
      return {
        async identities(wish) {
          const names = [...new Set(wish.names.map(name => name.toLowerCase()))].sort();
          // Whatever is changed about a wish, it is begun anew; the certificate there is goes on to be used.
          const defaults = { directory: letsEncrypt, challenge: 'tls-alpn-01', renewBefore: 30 * day };
          const at = digest(
            Object.entries({ ...defaults, ...wish, names })
              .sort()
              .map(entry => JSON.stringify(entry)),
          );
          asked.add(at);
          const file = digest([wish.directory ?? letsEncrypt, wish.key, ...names]);
          const one = kept.get(at) ?? keep(wish, names, join(dir, 'acme', `${file}.pem`));
          kept.set(at, one);
          one.catch(() => kept.delete(at));
          return [(await one).identity()];
        },
        adopt() {
          for (const [at, one] of kept) {
            if (asked.has(at)) continue;
            kept.delete(at);
            void one.then(stop, () => {});
          }
        },
      };
    },
    onChange: changed.on,
    state: () =>
      [...ready].map(one => ({ names: one.names, standIn: one.isStandIn(), notAfter: lifeOf(one.identity()).until })),
    async [Symbol.asyncDispose]() {
      await Promise.all([...ready].map(one => one.renewal[Symbol.asyncDispose]()));
    },
  };
}

/** Short-lived certificates are renewed at two thirds of their life, however early `renewBefore` would be. */
function dueAt(identity: Identity, renewBefore: number): Date {
  const { from, until } = lifeOf(identity);
  const before = Math.min(renewBefore, (until.getTime() - from.getTime()) / 3);
  return new Date(until.getTime() - spread(before));
}

const digest = (parts: readonly (string | undefined)[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
