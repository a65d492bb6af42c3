// Certificates for the names of endpoints: one a name from the gate's own CA or from ACME, or a file for all of them.
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import type { EndpointConfig, Identity } from '../features/endpoint/index.ts';
import { type Acme, type Authority, type ChallengeBoard, openAcme } from '../trust/index.ts';
import { acmeWish } from './certificate-source.ts';
import type { ConfigFile } from './config-file.ts';
import type { Plan } from './plan.ts';
import { createRead } from './read.ts';

export interface EndpointCertificatesOptions {
  readonly current: () => { readonly file: ConfigFile; readonly plan: Plan };
  /** The data folder. */
  readonly data: string;
  readonly authority: Authority;
  readonly board: ChallengeBoard;
  readonly clock: Clock;
  readonly log: Log;
}

export interface EndpointCertificates {
  /** An endpoint stands there: what takes time begins. */
  expect(name: string): void;
  /** It is over. */
  forget(name: string): void;
  /** @throws Fault `unreachable` and others, when ACME does not give one */
  named(name: string): Promise<readonly Identity[]>;
}

const day = 86_400_000;
/** Milliseconds that an ACME directory has for one name. */
const patience = 5 * 60_000;

export function createEndpointCertificates(options: EndpointCertificatesOptions): EndpointCertificates {
  const { current, data, authority, board, clock, log } = options;
  /** By name, while its endpoint is open; an endpoint ends long before its certificate, so nothing is renewed. */
  const ordered = new Map<string, Promise<readonly Identity[]>>();
  let client: { readonly of: EndpointConfig['certificate']; readonly acme: Promise<Acme> } | undefined;

  const acmeOf = (certificate: AcmeWish): Promise<Acme> => {
    if (client?.of === certificate) return client.acme;
    const open = async (): Promise<Acme> => {
      const read = createRead({ folder: current().file.folder });
      const account = await acmeWish(settingsOf(certificate), [], read);
      return openAcme({ ...account, clock, log, accountKeyFile: join(data, 'acme', 'account-endpoint.key') });
    };
    const acme = open();
    acme.catch(() => {
      client = undefined;
    });
    client = { of: certificate, acme };
    return acme;
  };
  const order = async (name: string, certificate: AcmeWish): Promise<readonly Identity[]> => {
    const acme = await acmeOf(certificate);
    const { challenge } = settingsOf(certificate);
    const publish = (shown: Parameters<ChallengeBoard['publish']>[0]): Disposable => board.publish(shown);
    return [await acme.obtain({ names: [name], challenge, publish }, AbortSignal.timeout(patience))];
  };
  const issue = async (name: string): Promise<readonly Identity[]> => {
    const { max } = current().file.config.endpoint.lifetime;
    const days = Math.min(825, Math.ceil(max / day) + 1);
    const issued = await authority.issueServer({ names: [name], key: 'ecdsa', days });
    return [{ cert: issued.cert + issued.chain.join('') + authority.anchor(), key: issued.key }];
  };
  const get = (name: string): Promise<readonly Identity[]> => {
    const { certificate } = current().file.config.endpoint;
    const { endpointIdentities } = current().plan;
    if (endpointIdentities.length > 0) return Promise.resolve(endpointIdentities);
    if (certificate !== 'acme' && (typeof certificate !== 'object' || !('acme' in certificate))) return issue(name);
    const known = ordered.get(name) ?? order(name, certificate);
    ordered.set(name, known);
    known.catch(error => {
      ordered.delete(name); // the next one who comes has it tried again
      log.warn({ name, error }, 'the ACME certificate of an endpoint did not come');
    });
    return known;
  };
  return {
    expect(name) {
      const { certificate } = current().file.config.endpoint;
      if (certificate === 'acme' || (typeof certificate === 'object' && 'acme' in certificate))
        get(name).catch(() => {});
    },
    forget: name => void ordered.delete(name),
    named: get,
  };
}

type AcmeWish = 'acme' | Extract<EndpointConfig['certificate'], { acme: unknown }>;

const settingsOf = (certificate: AcmeWish): Extract<AcmeWish, object>['acme'] =>
  certificate === 'acme' ? { challenge: 'tls-alpn-01' } : certificate.acme;
