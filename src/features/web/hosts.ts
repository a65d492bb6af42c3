// The forward map: which sites may be reached under their own names, and where each one really is.
import { domainToASCII } from 'node:url';
import { Fault } from '../../core/fault.ts';
import { canonicalHost, parseAuthority, type Site } from './site.ts';

/** One line of `web.forward.hosts`, plain data. */
export interface HostEntry {
  /** As it stands in the file. */
  readonly key: string;
  /** Canonical host; of a wildcard, what stands after `*.`. */
  readonly host: string;
  readonly wildcard: boolean;
  /** One port, or the web's: 80, 443 and 1024–65535. */
  readonly port: number | 'web';
  /** `resolve`: by name, the addresses checked. A target that is written is trusted. */
  readonly to: 'resolve' | { readonly host: string; readonly port: number };
  /** Milliseconds that a sign-in on top of the certificate may be old; undefined = none is asked for. */
  readonly signIn?: number;
}

/** Ports that `resolve` means where none is written: everything below 1024 but http and https is some other service. */
export const isWebPort = (port: number): boolean => port === 80 || port === 443 || (port >= 1024 && port <= 65535);

/** The name that answers to everybody who comes through the proxy; it can stand in no map. */
export const checkHost = 'gate.check';

/** Reads one key of the map. @throws Fault `invalid` */
export function parseHostEntry(key: string, to: HostEntry['to']): HostEntry {
  const wildcard = key.startsWith('*.');
  const rest = wildcard ? key.slice(2) : key;
  if (key === '*' || rest.includes('*')) {
    throw new Fault(
      'invalid',
      `"${key}" would be an open proxy or is no pattern that is known; write a name, or *.corp.example`,
    );
  }
  const { host, port } = readKey(key, rest);
  if (wildcard && /^[\d.]+$|:/.test(host)) throw new Fault('invalid', `"${key}": a wildcard stands before a name`);
  if (host === checkHost) throw new Fault('invalid', `"${key}": this name is the gate's own page`);
  // Without a port a written target is what http://name/ means.
  return { key, host, wildcard, port: port ?? (to === 'resolve' ? 'web' : 80), to };
}

function readKey(key: string, text: string): { host: string; port: number | undefined } {
  const port = /:(\d{1,5})$/.exec(text.startsWith('[') ? text.slice(text.indexOf(']') + 1) : text)?.[1];
  try {
    if (text.startsWith('[')) return { host: parseAuthority(text, 80).host, port: port ? Number(port) : undefined };
    const name = port === undefined ? text : text.slice(0, -port.length - 1);
    const host = canonicalHost(/^[\x00-\x7f]*$/.test(name) ? name : domainToASCII(name));
    if (host === undefined || (port !== undefined && (Number(port) < 1 || Number(port) > 65535))) throw new Error();
    return { host, port: port === undefined ? undefined : Number(port) };
  } catch {
    throw new Fault('invalid', `"${key}" is not a host; write server1, "server1:8081" or "*.corp.example"`);
  }
}

export interface Hosts {
  /** The line that covers this site: exact names before wildcards, longer ones first, written ports before `web`. */
  match(site: Site): HostEntry | undefined;
  readonly entries: readonly HostEntry[];
}

/** @throws Fault `invalid` when two lines say different things about one site */
export function compileHosts(entries: readonly HostEntry[]): Hosts {
  const exact = new Map<string, HostEntry>();
  const wild = new Map<string, HostEntry>();
  for (const entry of entries) {
    const table = entry.wildcard ? wild : exact;
    const id = `${entry.host} ${entry.port}`;
    const other = table.get(id);
    if (other) throw new Fault('invalid', `"${other.key}" and "${entry.key}" are the same site`);
    table.set(id, entry);
  }
  const at = (table: Map<string, HostEntry>, host: string, port: number): HostEntry | undefined =>
    table.get(`${host} ${port}`) ?? (isWebPort(port) ? table.get(`${host} web`) : undefined);
  return {
    entries,
    match({ host, port }) {
      const own = at(exact, host, port);
      if (own) return own;
      for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
        const found = at(wild, host.slice(dot + 1), port);
        if (found) return found;
      }
      return undefined;
    },
  };
}
