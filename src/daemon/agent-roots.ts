// The CAs that this machine trusts, as a list, so that others can stand beside them: an inspecting proxy's CA, which is in
// the system's store or in NODE_EXTRA_CA_CERTS, must count against AWS too.
import { readFileSync } from 'node:fs';
// The whole module: Node 18 and 20 lack getCACertificates, and a named import would not load.
import * as tls from 'node:tls';

let roots: readonly string[] | undefined;

export function machineRoots(): readonly string[] {
  const { getCACertificates } = tls as Partial<typeof tls>;
  roots ??= getCACertificates
    ? [...new Set([...getCACertificates('default'), ...getCACertificates('system')])]
    : [...tls.rootCertificates, ...extra()];
  return roots;
}

/** What an older Node adds to its own list by itself, where it is given no list. */
function extra(): string[] {
  const file = process.env['NODE_EXTRA_CA_CERTS'];
  try {
    return file ? [readFileSync(file, 'utf8')] : [];
  } catch {
    return []; // Node has warned about it
  }
}
