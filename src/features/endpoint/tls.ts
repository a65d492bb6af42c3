// TLS at an endpoint: on a pool port the gate's own certificate, under a name one that says this name and no other.
import type { Upgrade } from '../../core/parts.ts';
import { upgradeTls } from '../../net/tls.ts';

export interface Identity {
  /** PEM: the leaf, then its intermediates. */
  readonly cert: string;
  readonly key: string;
}

/** Whose client certificates TLS verifies. */
export interface ClientAuthorities {
  readonly cas: readonly string[];
  readonly depth: number;
}

export interface EndpointTlsDeps {
  /** The gate's own; another array after a renewal. */
  readonly own: () => readonly Identity[];
  /** For one name, fresh enough to outlive an endpoint. */
  readonly named: (name: string) => Promise<readonly Identity[]>;
  /** As `gate.ciphers` has them; read once, when an upgrade is made. */
  readonly ciphers?: () => string | undefined;
  /** Another object after a reload. */
  readonly clients: () => ClientAuthorities;
  /** An OCSP answer about these certificates, DER, where there is one. */
  readonly staple?: (certs: readonly string[]) => Promise<Uint8Array | undefined>;
  /** Milliseconds. */
  readonly handshake: number;
}

export interface EndpointTls {
  /** Shared by all ports: one OpenSSL context, however many endpoints are open. */
  onPort(wantsCertificate: boolean): Upgrade;
  /** Made when somebody first comes, and kept with the endpoint. */
  underName(name: string, wantsCertificate: boolean): () => Promise<Upgrade>;
}

export function createEndpointTls({ own, named, ciphers, clients, staple, handshake }: EndpointTlsDeps): EndpointTls {
  const make = (identities: readonly Identity[], trust: ClientAuthorities | undefined, context: string): Upgrade =>
    upgradeTls({
      identities,
      ciphers: ciphers?.(),
      ...(trust ? { clients: { mode: 'required', ca: trust.cas, depth: trust.depth } } : {}),
      // No tickets: a session would outlive the endpoint it was made under.
      session: { tickets: false, cache: 0, timeout: 1000 },
      context,
      ...(staple ? { staple } : {}),
      handshake,
    });
  const shared = new Map<
    boolean,
    { readonly identities: unknown; readonly trust: unknown; readonly upgrade: Upgrade }
  >();
  return {
    onPort(wantsCertificate) {
      const identities = own();
      const trust = wantsCertificate ? clients() : undefined;
      const known = shared.get(wantsCertificate);
      if (known?.identities === identities && known.trust === trust) return known.upgrade;
      const upgrade = make(identities, trust, `endpoint port ${wantsCertificate}`);
      shared.set(wantsCertificate, { identities, trust, upgrade });
      return upgrade;
    },
    underName(name, wantsCertificate) {
      let made: { readonly trust: unknown; readonly upgrade: Promise<Upgrade> } | undefined;
      return () => {
        const trust = wantsCertificate ? clients() : undefined;
        if (made?.trust !== trust || !made) {
          const upgrade = named(name).then(identities => make(identities, trust, `endpoint name ${name}`));
          made = { trust, upgrade };
          upgrade.catch(() => {
            made = undefined; // a failure is for who came; the next one tries again
          });
        }
        return made.upgrade;
      };
    },
  };
}
