// How people's browsers and programs are told about the proxy, one form each: PAC, policies, profiles, examples.
import { randomUUID } from 'node:crypto';
import type { HostEntry } from './hosts.ts';
import { pacFile, pacType } from './pac.ts';
import { hostText } from './site.ts';

export interface FormFacts {
  readonly proxy: { readonly host: string; readonly port: number };
  readonly entries: readonly HostEntry[];
  readonly direct: boolean;
  readonly pacUrl: string;
  /**
   * Whether the PAC file stands at a name that asks for client certificates. Chromium fetches none from there: it gives up
   * with ERR_SSL_CLIENT_AUTH_CERT_NEEDED, and every address goes straight (seen with 156).
   */
  readonly pacAsks: boolean;
  /** CN of each CA whose client certificates count, where it has one. */
  readonly issuers: readonly string[];
  /** PEM of the CA that signed the proxy's own certificate, where browsers do not know it by themselves. */
  readonly ca?: string;
}
export interface Form {
  readonly file: string;
  readonly type: string;
  readonly text: string;
  /** What to do with it. */
  readonly note: string;
}
export type FormName = 'pac' | 'chrome' | 'edge' | 'firefox' | 'apple' | 'relay' | 'curl' | 'env';

export const forms: Readonly<Record<FormName, (facts: FormFacts) => Form>> = {
  pac: facts => ({
    file: 'proxy.pac',
    type: pacType,
    text: pacFile(facts),
    note: `served at ${facts.pacUrl}${facts.pacAsks ? '; Chrome and Edge fetch no PAC file from a name that asks for client certificates: use their policy (--for chrome), or give the proxy a name of its own (web.forward.name)' : ''}`,
  }),
  chrome: facts =>
    chromium(
      facts,
      'sekisho.json',
      'put it into /etc/opt/chrome/policies/managed/ (Chromium: /etc/chromium/policies/managed/); on Windows and macOS set the same keys by group policy or profile',
    ),
  edge: facts =>
    chromium(
      facts,
      'sekisho-edge.json',
      'put it into /etc/opt/edge/policies/managed/; on Windows and macOS set the same keys by group policy or profile',
    ),
  firefox: facts => ({
    file: 'policies.json',
    type: 'application/json',
    text: json({
      policies: {
        Proxy: { Mode: 'autoConfig', AutoConfigURL: facts.pacUrl },
        Certificates: { ImportEnterpriseRoots: true },
        Preferences: { 'security.default_personal_cert': { Value: 'Select Automatically', Status: 'default' } },
      },
    }),
    note: 'put it into /etc/firefox/policies/, or into distribution/ of the installation; Firefox for Android knows no client certificates',
  }),
  apple: facts => ({
    file: 'sekisho.mobileconfig',
    type: 'application/x-apple-aspen-config',
    text: profile('Sekisho', [...rootPayload(facts), pacPayload(facts)]),
    note: 'untested: whether these systems take an HTTPS proxy from a PAC file has not been tried; the payload works on supervised devices only, and the certificate (.p12) is installed by itself',
  }),
  relay: facts => ({
    file: 'sekisho-relay.mobileconfig',
    type: 'application/x-apple-aspen-config',
    text: profile('Sekisho relay', [...rootPayload(facts), relayPayload(facts)]),
    note: 'untested; iOS 17 or macOS 14 and later. Add the certificate (.p12) as a payload of the same profile and write its PayloadUUID where PayloadCertificateUUID stands',
  }),
  curl: facts => ({
    file: 'sekisho-curl.txt',
    type: 'text/plain; charset=utf-8',
    text: `curl --proxy ${proxyUrl(facts)} --proxy-cert NAME.crt --proxy-key NAME.key${facts.ca ? ' --proxy-cacert ca.crt' : ''} ${sampleUrl(facts)}\n`,
    note: 'sekisho cert issue NAME --pem DIR writes NAME.crt, NAME.key and ca.crt',
  }),
  env: facts => ({
    file: 'sekisho.env',
    type: 'text/plain; charset=utf-8',
    text: `# Programs that take a proxy over TLS from the environment; the client certificate each of them takes its own way.\nhttp_proxy=${proxyUrl(facts)}\nhttps_proxy=${proxyUrl(facts)}\nno_proxy=localhost,127.0.0.1,::1,${facts.proxy.host}\n`,
    note: 'these variables send everything to the gate, which reaches only what its map names; prefer the PAC file for people',
  }),
};

const proxyUrl = ({ proxy }: FormFacts): string => `https://${hostText(proxy.host)}:${proxy.port}`;
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

function sampleUrl({ entries }: FormFacts): string {
  const first = entries.find(entry => !entry.wildcard) ?? entries[0];
  if (!first) return 'http://gate.check/';
  const port = first.port === 'web' || first.port === 80 ? '' : `:${first.port}`;
  return `http://${first.wildcard ? 'www.' : ''}${hostText(first.host)}${port}/`;
}

/** The pattern is the proxy's address, not the sites': that is whose handshake asks for the certificate. */
function chromium(facts: FormFacts, file: string, note: string): Form {
  const { proxy, issuers, pacAsks } = facts;
  const pacUrl = pacAsks ? `data:${pacType};base64,${Buffer.from(pacFile(facts)).toString('base64')}` : facts.pacUrl;
  const pattern = proxy.port === 443 ? `https://${hostText(proxy.host)}` : proxyUrl(facts);
  const filters = issuers.length === 0 ? [{}] : issuers.map(CN => ({ ISSUER: { CN } }));
  const policy = {
    ProxySettings: { ProxyMode: 'pac_script', ProxyPacUrl: pacUrl, ProxyPacMandatory: !facts.direct },
    AutoSelectCertificateForUrls: filters.map(filter => JSON.stringify({ pattern, filter })),
  };
  const within = `${note}; the PAC file stands in it, since it is not fetched from a name that asks for client certificates: write it anew when the map changes, or give the proxy a name of its own (web.forward.name)`;
  return { file, type: 'application/json', text: json(policy), note: pacAsks ? within : note };
}

interface Payload {
  readonly type: string;
  readonly name: string;
  /** Inner XML. */
  readonly keys: string;
}

const rootPayload = ({ ca }: FormFacts): Payload[] =>
  ca === undefined
    ? []
    : [
        {
          type: 'com.apple.security.root',
          name: 'CA of the gate',
          keys: `<key>PayloadContent</key><data>${ca.replace(/-----[^-]+-----|\s/g, '')}</data>`,
        },
      ];

const pacPayload = ({ pacUrl }: FormFacts): Payload => ({
  type: 'com.apple.proxy.http.global',
  name: 'Proxy',
  keys: `<key>ProxyType</key><string>Auto</string><key>ProxyPACURL</key><string>${xml(pacUrl)}</string>`,
});

function relayPayload(facts: FormFacts): Payload {
  const domains = [...new Set(facts.entries.map(({ host }) => host))];
  return {
    type: 'com.apple.relay.managed',
    name: 'Relay',
    keys: `<key>Relays</key><array><dict><key>HTTP2RelayURL</key><string>${xml(proxyUrl(facts))}/</string><key>PayloadCertificateUUID</key><string>WRITE-THE-UUID-OF-THE-P12-PAYLOAD</string></dict></array><key>MatchDomains</key><array>${domains.map(domain => `<string>${xml(domain)}</string>`).join('')}</array>`,
  };
}

function profile(name: string, payloads: readonly Payload[]): string {
  const dict = ({ type, name: title, keys }: Payload): string => {
    const uuid = randomUUID().toUpperCase();
    return `<dict><key>PayloadType</key><string>${type}</string><key>PayloadVersion</key><integer>1</integer><key>PayloadIdentifier</key><string>sekisho.${uuid}</string><key>PayloadUUID</key><string>${uuid}</string><key>PayloadDisplayName</key><string>${xml(title)}</string>${keys}</dict>`;
  };
  const inner = `<key>PayloadContent</key><array>\n${payloads.map(dict).join('\n')}\n</array>`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
${dict({ type: 'Configuration', name, keys: inner })}
</plist>
`;
}

const xml = (text: string): string => text.replace(/[<>&"']/g, character => `&#${character.charCodeAt(0)};`);
