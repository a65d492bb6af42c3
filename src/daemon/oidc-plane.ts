// The OpenID provider of the configuration that counts now: made when it is first asked for, and anew after a reload.
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { Secret } from '../core/secret.ts';
import type { Store } from '../store/index.ts';
import { createOidc, type Directory, type Oidc, type OidcConfig, oidcPeople } from '../trust/index.ts';
import type { ConfigFile } from './config-file.ts';
import { createRead } from './read.ts';

export interface OidcPlaneOptions {
  readonly file: () => ConfigFile;
  readonly store: Store;
  readonly directory: Directory;
  readonly origin: () => string;
  readonly clock: Clock;
  readonly log: Log;
}

export function oidcPlane(options: OidcPlaneOptions): () => Promise<Oidc | undefined> {
  let made: { readonly of: OidcConfig; readonly oidc: Promise<Oidc> } | undefined;
  return async () => {
    const { config, folder } = options.file();
    const wanted = config.trust.oidc;
    if (!wanted) return undefined;
    if (made?.of !== wanted) {
      const oidc = make(wanted, folder, options);
      made = { of: wanted, oidc };
      // A file that cannot be read is read again at the next try.
      oidc.catch(() => {
        made = undefined;
      });
    }
    return made.oidc;
  };
}

async function make(config: OidcConfig, folder: string, options: OidcPlaneOptions): Promise<Oidc> {
  const { store, directory, origin, clock, log } = options;
  const read = createRead({ folder });
  const text = async (reference: string | undefined): Promise<string | undefined> =>
    reference === undefined ? undefined : (await read(reference)).toString('utf8').trim();
  const secret = await text(config['client-secret']);
  return createOidc({
    ...{ config, clock, log, ca: await text(config.ca) },
    ...(secret === undefined ? {} : { secret: new Secret(secret) }),
    redirect: () => `${origin()}/oidc/callback`,
    home: () => `${origin()}/`,
    people: oidcPeople({ store, directory, config, clock, log }),
  });
}
