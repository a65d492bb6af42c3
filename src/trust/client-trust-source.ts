// What `clients:` means, in `trust:` and in a route: files read, CAs and lists checked, as data for TLS and Identify.
import { Fault } from '../core/fault.ts';
import type { Read } from '../wire/config-value.ts';
import type { Authority } from './authority.ts';
import { type ClientTrust, compileTrust } from './client-trust.ts';
import type { TrustConfig } from './config.ts';
import { derBlocks, toPem } from './pem.ts';

/** A route's own wishes; what is absent is as `trust:` says. */
export interface WantedClients {
  readonly mode: 'optional' | 'required';
  /** `builtin` and references. */
  readonly ca?: readonly string[];
  readonly depth: number;
  readonly crl?: readonly string[];
}

export interface ClientTrustSource {
  /** @throws Fault `invalid` with the reference in it */
  clients(wanted: WantedClients, read: Read): Promise<ClientTrust>;
}

export function clientTrustSource(
  authority: Pick<Authority, 'trust'>,
  config: Pick<TrustConfig, 'clients' | 'crl' | 'crl-grace'>,
): ClientTrustSource {
  return {
    async clients(wanted, read) {
      const sources = wanted.ca ?? config.clients;
      const own = sources.includes('builtin') ? authority.trust() : { cas: [], builtin: [] };
      const files = sources.filter(source => source !== 'builtin');
      const cas = await Promise.all(files.map(file => certificatesIn(file, read)));
      // A route that names its own CAs names their lists too: trust's lists belong to trust's CAs.
      const lists = wanted.crl ?? (wanted.ca ? [] : config.crl);
      const crls = await Promise.all(lists.map(file => listsIn(file, read)));
      const trust: ClientTrust = {
        mode: wanted.mode,
        cas: [...own.cas, ...cas.flat()],
        builtin: own.builtin,
        crls: crls.flat(),
        crlGrace: config['crl-grace'],
        depth: wanted.depth,
      };
      compileTrust(trust); // whatever is wrong with it is said now, not at the first connection
      return trust;
    },
  };
}

const certificatesIn = (file: string, read: Read): Promise<readonly string[]> =>
  blocksIn(file, read, 'CERTIFICATE', 'CA certificate');
const listsIn = (file: string, read: Read): Promise<readonly string[]> =>
  blocksIn(file, read, 'X509 CRL', 'revocation list');

async function blocksIn(file: string, read: Read, label: string, what: string): Promise<readonly string[]> {
  const bytes = await read(file);
  try {
    return derBlocks(bytes, label).map(der => toPem(label, der));
  } catch (cause) {
    throw new Fault('invalid', `${file} is not a ${what}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}
