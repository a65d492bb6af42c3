// The server's verdict on a finished handshake: the facts of the conn, or what is wrong with the client's certificate.
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { TlsFacts } from '../core/parts.ts';
import { chainOf, depthOf, verifyText } from './tls-verify.ts';

export interface ClientCheck {
  /** `requested`: a certificate that is not good enough does not end the handshake; it is nobody's, and the facts say why. */
  readonly mode: 'requested' | 'optional' | 'required';
  readonly depth: number;
  readonly trusted: readonly X509Certificate[];
  /** Leaves whose chains were looked at in a full handshake. So only this process may resume sessions of clients. */
  readonly seen: SeenLeaves;
}
export type Verdict = { readonly facts: TlsFacts } | { readonly code: string; readonly fault: Fault };

/** Never throws: a certificate that cannot even be looked at is refused. `code` is OpenSSL's word for the alert. */
export function judge(tls: TLSSocket, clients: ClientCheck | undefined): Verdict {
  try {
    const shown = clients ? checked(tls, clients) : {};
    if (!('code' in shown)) return { facts: factsOf(tls, shown) };
    if (clients?.mode !== 'requested') return shown;
    return { facts: { ...factsOf(tls, {}), refused: shown.fault.message } };
  } catch (error) {
    return wrong('CERT_REJECTED', 'cannot be read; it may hold a kind of key that is not supported', error);
  }
}

interface Shown {
  readonly leaf?: X509Certificate;
  readonly chain?: readonly X509Certificate[];
}

function checked(tls: TLSSocket, clients: ClientCheck): Shown | Exclude<Verdict, { facts: TlsFacts }> {
  const { mode, depth, trusted, seen } = clients;
  const leaf = tls.getPeerX509Certificate();
  if (!leaf) {
    // OpenSSL has ended the handshake itself where one is required; this is the second lock on that door.
    if (mode !== 'required') return {};
    return wrong('CERT_REJECTED', 'was not shown, and one is required');
  }
  const error = (tls as unknown as { _handle: { verifyError(): NodeJS.ErrnoException | null } })._handle.verifyError();
  if (error) {
    const code = error.code ?? 'CERT_REJECTED';
    return wrong(code, verifyText(code), error);
  }
  // On a resumed session the peer sends no chain: what was checked when the session was made still holds. But only if it
  // was: OpenSSL hands out tickets before this verdict, and whoever was refused for the length of a chain has one.
  if (tls.isSessionReused() && seen.has(leaf.fingerprint256)) return { leaf };
  const chain = chainOf(leaf, trusted);
  if (!chain) return wrong('UNABLE_TO_VERIFY_LEAF_SIGNATURE', verifyText('UNABLE_TO_VERIFY_LEAF_SIGNATURE'));
  if (depthOf(chain) <= depth) {
    seen.add(leaf.fingerprint256);
    return { leaf, chain };
  }
  return wrong('CERT_CHAIN_TOO_LONG', `has ${depthOf(chain)} intermediates above it; ${depth} are allowed (depth)`);
}

function factsOf(tls: TLSSocket, { leaf, chain }: Shown): TlsFacts {
  const { servername, alpnProtocol } = tls as TLSSocket & { servername?: string | false | null };
  return {
    ...(servername ? { sni: servername.toLowerCase() } : {}),
    ...(alpnProtocol ? { alpn: alpnProtocol } : {}),
    ...(leaf ? { leaf: leaf.raw } : {}),
    ...(chain ? { chain: chain.map(one => one.raw) } : {}),
    protocol: tls.getProtocol() ?? '',
    cipher: tls.getCipher().name,
    resumed: tls.isSessionReused(),
  };
}

const wrong = (code: string, text: string, cause?: unknown): { code: string; fault: Fault } => ({
  code,
  fault: new Fault('unknown-caller', `the client's certificate ${text}`, {
    ...(cause === undefined ? {} : { cause }),
    facts: { reason: code },
  }),
});

/** A bounded set: whoever falls out of it makes a full handshake again, or is looked at as if it had. */
export class SeenLeaves {
  readonly #all = new Set<string>();
  readonly #most: number;
  constructor(most = 10_000) {
    this.#most = most;
  }
  has(fingerprint: string): boolean {
    return this.#all.has(fingerprint);
  }
  add(fingerprint: string): void {
    this.#all.delete(fingerprint);
    this.#all.add(fingerprint);
    const [oldest] = this.#all;
    if (this.#all.size > this.#most && oldest !== undefined) this.#all.delete(oldest);
  }
}
