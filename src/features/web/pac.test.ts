import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { forms } from './forms.ts';
import { compileHosts, type HostEntry, parseHostEntry } from './hosts.ts';
import { pacFile } from './pac.ts';

const entries = (map: Record<string, HostEntry['to']>) =>
  Object.entries(map).map(([key, to]) => parseHostEntry(key, to));
const proxy = { host: 'gate.example.com', port: 443 };
const map = entries({
  server1: 'resolve',
  'server2:8081': { host: '10.0.0.1', port: 8081 },
  '*.corp.example': 'resolve',
  'wiki.corp.example': 'resolve',
  'old.corp.example:81': 'resolve',
});

/** As a browser runs it: nothing of DNS is there to call. */
function find(text: string): (url: string, host: string) => string {
  return runInNewContext(`${text}; FindProxyForURL`) as never;
}

test('mapped addresses go to the gate and to nothing else; all others go as ever', () => {
  const ask = find(pacFile({ proxy, entries: map, direct: false }));
  const gate = 'HTTPS gate.example.com:443';
  const cases: readonly (readonly [string, string, string])[] = [
    ['http://server1/', 'server1', gate],
    ['http://SERVER1:8080/x', 'SERVER1', gate],
    ['https://server1/', 'server1', gate],
    ['ws://server1:9000/ws', 'server1', gate],
    ['http://server1:22/', 'server1', 'DIRECT'],
    ['http://server2:8081/', 'server2', gate],
    ['http://server2/', 'server2', 'DIRECT'],
    ['http://a.b.corp.example/', 'a.b.corp.example', gate],
    ['http://old.corp.example:81/', 'old.corp.example', gate],
    ['http://corp.example/', 'corp.example', 'DIRECT'],
    ['http://evilcorp.example/', 'evilcorp.example', 'DIRECT'],
    ['http://gate.check/', 'gate.check', gate],
    ['http://constructor/', 'constructor', 'DIRECT'],
    ['http://__proto__/', '__proto__', 'DIRECT'],
    ['ftp://server1/', 'server1', 'DIRECT'],
    ['https://example.com/?u=http://server1:8081/', 'example.com', 'DIRECT'],
  ];
  for (const [url, host, way] of cases) assert.equal(ask(url, host), way, url);
});

test('names of any script, trailing dots and user names in addresses are told apart as the proxy tells them', () => {
  const odd = entries({ '関所.example': 'resolve', server1: 'resolve' });
  const text = pacFile({ proxy, entries: odd, direct: false });
  assert.match(text, /^[\x00-\x7f]*$/);
  const ask = find(text);
  const taken: readonly (readonly [string, string, boolean])[] = [
    [
      'http://xn--vhq3j.example/',
      'xn--vhq3j.example',
      compileHosts(odd).match({ host: 'xn--vhq3j.example', port: 80 }) !== undefined,
    ],
    ['http://server1./', 'server1.', true],
    ['http://user:pass@server1:8081/', 'server1', true],
    ['http://server1@other/', 'other', false],
    ['http://other/@server1/', 'other', false],
    [`http://${'a'.repeat(3000)}/`, 'a'.repeat(3000), false],
    ['http://[::1]:80/', '[::1]', false],
  ];
  for (const [url, host, isTaken] of taken) assert.equal(ask(url, host) !== 'DIRECT', isTaken, url.slice(0, 80));
  const [own] = odd;
  assert.equal(ask(`http://${own?.host}/`, own?.host ?? ''), 'HTTPS gate.example.com:443');
});

test('it calls no DNS function, falls back to nothing unless asked, and names no more than it must', () => {
  const text = pacFile({ proxy, entries: map, direct: false });
  assert.doesNotMatch(text, /dnsResolve|isInNet|isResolvable|myIpAddress/);
  assert.doesNotMatch(text, /443; DIRECT/);
  assert.match(pacFile({ proxy, entries: map, direct: true }), /443; DIRECT/);
  assert.doesNotMatch(text, /wiki\.corp/, 'the wildcard says it');
});

test('the file and the proxy agree about every address', () => {
  const ask = find(pacFile({ proxy, entries: map, direct: false }));
  const hosts = compileHosts(map);
  const host = fc.constantFrom(
    'server1',
    'server2',
    'a.corp.example',
    'old.corp.example',
    'corp.example',
    'other',
    'wiki.corp.example',
  );
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65535 }), (name, port) => {
      const taken = ask(`http://${name}:${port}/`, name) !== 'DIRECT';
      assert.equal(taken, hosts.match({ host: name, port }) !== undefined);
    }),
  );
});

test('each form names the proxy and is well-formed', () => {
  const facts = {
    proxy: { host: 'gate.example.com', port: 8443 },
    entries: map,
    direct: false,
    pacUrl: 'https://gate.example.com:8443/proxy.pac',
    pacAsks: false,
    issuers: ['A & "B"'],
    ca: '-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n',
  };
  const chrome = JSON.parse(forms.chrome(facts).text);
  assert.deepEqual(JSON.parse(chrome.AutoSelectCertificateForUrls[0]), {
    pattern: 'https://gate.example.com:8443',
    filter: { ISSUER: { CN: 'A & "B"' } },
  });
  assert.equal(chrome.ProxySettings.ProxyPacUrl, facts.pacUrl);
  const asking = JSON.parse(forms.chrome({ ...facts, pacAsks: true }).text).ProxySettings.ProxyPacUrl;
  const [, base64 = ''] = /^data:application\/x-ns-proxy-autoconfig;base64,(.*)$/.exec(asking) ?? [];
  assert.equal(Buffer.from(base64, 'base64').toString(), forms.pac(facts).text);
  assert.equal(JSON.parse(forms.firefox(facts).text).policies.Proxy.AutoConfigURL, facts.pacUrl);
  for (const name of ['apple', 'relay'] as const) {
    const { text, note } = forms[name](facts);
    assert.match(text, /<data>QUJD<\/data>/);
    assert.match(note, /untested/);
  }
  assert.match(forms.curl(facts).text, /--proxy https:\/\/gate\.example\.com:8443 --proxy-cert/);
});
