// Certificates that are not files: from the gate's own CA and from ACME, with the challenges put where they are looked for.
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { AcmeOptions, CertificateSource, Identity } from '../features/proxy/index.ts';
import {
  type AcmeCertificates,
  type AcmeWish,
  type Authority,
  type ChallengeBoard,
  createAcmeCertificates,
  createChallengeBoard,
  createServerCertificates,
} from '../trust/index.ts';
import type { Read } from '../wire/config-value.ts';

export interface CertificatesOptions {
  readonly authority: Authority;
  /** The data folder. */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Shows (or takes back) a tls-alpn-01 certificate on the TLS listeners of routes. */
  readonly challenge: (name: string, identity: Identity | undefined) => void;
}

export interface Certificates extends AsyncDisposable {
  /** For one reading of the configuration. `own` = what every certificate of ours covers. */
  source(own: readonly string[], read: Read): CertificateReading;
  readonly board: ChallengeBoard;
  /** Something was renewed: plan and reload anew. */
  onChange(call: () => void): () => void;
  acmeState: AcmeCertificates['state'];
}

export interface CertificateReading extends CertificateSource {
  /** This reading counts from now on; ACME certificates that only an earlier one asked for are given up. */
  adopt(): void;
}

/** Every certificate of ours covers these (PRODUCT, decisions). */
const always = ['localhost', '127.0.0.1', '::1'];

export function openCertificates(options: CertificatesOptions): Certificates {
  const { authority, dir, clock, log, challenge } = options;
  const board = createChallengeBoard();
  const own = createServerCertificates({ authority, dir, clock, log });
  const acme = createAcmeCertificates({
    ...{ dir, clock, log },
    publish: shown => {
      const onBoard = board.publish(shown);
      if (shown.type === 'tls-alpn-01') challenge(shown.name, shown.identity);
      return {
        [Symbol.dispose]() {
          onBoard[Symbol.dispose]();
          if (shown.type === 'tls-alpn-01') challenge(shown.name, undefined);
        },
      };
    },
  });
  const onChange = (call: () => void): (() => void) => {
    const stops = [own.onChange(call), acme.onChange(call)];
    return () => {
      for (const stop of stops) stop();
    };
  };
  return {
    board,
    onChange,
    acmeState: () => acme.state(),
    source(names, read) {
      const reading = acme.reading();
      return {
        auto: more => own.auto([...names, ...always, ...more]),
        acme: async (_, wish, wanted) => reading.identities(await acmeWish(wish, wanted, read)),
        onChange,
        adopt: () => reading.adopt(),
      };
    },
    async [Symbol.asyncDispose]() {
      await own[Symbol.asyncDispose]();
      await acme[Symbol.asyncDispose]();
    },
  };
}

/** With its files read. @throws Fault `invalid` */
export async function acmeWish(options: AcmeOptions, names: readonly string[], read: Read): Promise<AcmeWish> {
  const { directory, email, challenge, ca, eab } = options;
  const renewBefore = options['renew-before'];
  return {
    names,
    ...(directory === undefined ? {} : { directory }),
    ...(email === undefined ? {} : { email }),
    ...(challenge === undefined ? {} : { challenge }),
    ...(ca === undefined ? {} : { ca: (await read(ca)).toString('latin1') }),
    ...(renewBefore === undefined ? {} : { renewBefore }),
    ...(eab === undefined ? {} : { externalAccount: { kid: eab.kid, key: await eabKey(eab.key, read) } }),
  };
}

async function eabKey(reference: string, read: Read): Promise<string> {
  const text = (await read(reference)).toString('latin1').trim();
  // Some CAs show it in ordinary base64.
  const key = text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  if (/^[A-Za-z0-9_-]{16,1024}$/.test(key)) return key;
  throw new Fault(
    'invalid',
    `acme.eab.key: ${reference} holds no HMAC key in base64url; copy it from the CA's account page`,
  );
}
