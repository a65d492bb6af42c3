// The PAC file: which addresses a browser takes to the gate. No DNS functions: they leak names and block the browser.
import { checkHost, type HostEntry } from './hosts.ts';
import { hostText } from './site.ts';

export interface PacOptions {
  /** The proxy's name and port, as browsers reach it. */
  readonly proxy: { readonly host: string; readonly port: number };
  readonly entries: readonly HostEntry[];
  /**
   * Whether the browser may go round a proxy that does not answer. It fails open: names that also exist elsewhere are
   * then asked elsewhere.
   */
  readonly direct: boolean;
}

export const pacType = 'application/x-ns-proxy-autoconfig';

/** Ports by host; `true` stands for the web's ports. */
type Ports = { readonly web: boolean; readonly ports: readonly number[] };

/** ES3, since engines of old systems run it too. */
export function pacFile({ proxy, entries, direct }: PacOptions): string {
  const wild = portsBy(entries.filter(entry => entry.wildcard));
  const names = portsBy(entries.filter(entry => !entry.wildcard && !isCovered(entry, entries)));
  const way = `HTTPS ${hostText(proxy.host)}:${proxy.port}${direct ? '; DIRECT' : ''}`;
  return `// Made by Sekisho: these addresses go to the gate, all others as ever.
var gate = ${JSON.stringify(way)};
var names = ${tableText(names)};
var domains = ${tableText(wild)};

function isTaken(entry, port) {
  if (!entry) return false;
  if (entry.web && (port === 80 || port === 443 || port >= 1024)) return true;
  for (var i = 0; i < entry.ports.length; i++) if (entry.ports[i] === port) return true;
  return false;
}

function own(table, key) {
  return Object.prototype.hasOwnProperty.call(table, key) ? table[key] : null;
}

function FindProxyForURL(url, host) {
  var parts = /^(https?|wss?):\\/\\/(?:[^@\\/?#]*@)?(?:\\[[^\\]]*\\]|[^:\\/?#]*)(?::(\\d+))?/i.exec(url);
  if (!parts) return "DIRECT";
  var port = parts[2] ? parseInt(parts[2], 10) : /s$/i.test(parts[1]) ? 443 : 80;
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "").replace(/\\.$/, "");
  if (host === ${JSON.stringify(checkHost)} || isTaken(own(names, host), port)) return gate;
  for (var dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    if (isTaken(own(domains, host.substring(dot + 1)), port)) return gate;
  }
  return "DIRECT";
}
`;
}

/** Names that a wildcard says as well are left out: the file may be public, and need not list what stands inside. */
function isCovered(entry: HostEntry, entries: readonly HostEntry[]): boolean {
  return entries.some(
    ({ wildcard, host, port }) =>
      wildcard && entry.host.endsWith(`.${host}`) && (port === entry.port || (port === 'web' && isWeb(entry.port))),
  );
}
const isWeb = (port: HostEntry['port']): boolean => port === 'web' || port === 80 || port === 443 || port >= 1024;

function portsBy(entries: readonly HostEntry[]): Map<string, Ports> {
  const table = new Map<string, Ports>();
  for (const { host, port } of entries) {
    const { web, ports } = table.get(host) ?? { web: false, ports: [] };
    table.set(host, port === 'web' ? { web: true, ports } : { web, ports: [...ports, port] });
  }
  return table;
}

const tableText = (table: ReadonlyMap<string, Ports>): string => {
  const lines = [...table].map(([host, ports]) => `  ${JSON.stringify(host)}: ${JSON.stringify(ports)}`);
  return lines.length === 0 ? '{}' : `{\n${lines.join(',\n')}\n}`;
};
