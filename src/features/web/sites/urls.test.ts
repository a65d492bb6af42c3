// Every row of the table of redirects, cookies and other addresses: rewritten by the rules of URLs, never by prefix.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cookieIn } from '../gate-cookies.ts';
import { cookieOut } from './cookies.ts';
import { answerOut, refresh, requestIn } from './fields.ts';
import { compileSites, type Site } from './map.ts';
import { parsePattern } from './pattern.ts';
import { sitePlanFor } from './test-site.ts';
import { inward, type Naming, outward } from './urls.ts';

const sites = compileSites(
  [
    sitePlanFor('server1', 'http://server1/'),
    sitePlanFor('server1-8081', 'http://server1:8081/'),
    sitePlanFor('bare', 'http://bare:8090/', { told: parsePattern('bare') }),
    sitePlanFor('ssl', 'https://ssl.corp/'),
    sitePlanFor('wiki', 'http://apps/wiki/'),
    sitePlanFor('*', 'http://*.example.com/', { host: parsePattern('*.example.com') }),
    sitePlanFor('*-{port}', 'http://x/', { host: parsePattern('*.corp'), port: 'hole' }),
  ],
  ['gate.example.com'],
);
const of = (name: string, port = ''): Naming => ({ sites, site: sites.find(name) as Site, port });
const one = of('server1.example.com');

/** peers.md §4.1; the third column only where the value changes. */
const locations: readonly (readonly [value: string, wanted?: string])[] = [
  ['http://server1/a?b=1', 'https://server1.example.com/a?b=1'],
  ['http://server1', 'https://server1.example.com'],
  ['http://server1:80/a', 'https://server1.example.com/a'],
  ['HTTP://SERVER1/a', 'https://server1.example.com/a'],
  ['http://SERVER1/a', 'https://server1.example.com/a'],
  ['https://server1/a', 'https://server1.example.com/a'],
  ['//server1/a', '//server1.example.com/a'],
  ['http://server1:8081/a', 'https://server1-8081.example.com/a'],
  ['http://server1./a', 'https://server1.example.com/a'],
  ['http://server1?x#y', 'https://server1.example.com?x#y'],
  ['http:\\\\server1\\a', 'https://server1.example.com\\a'],
  ['http://user@server1/a', 'https://user@server1.example.com/a'],
  ['ws://server1/a', 'wss://server1.example.com/a'],
  ['/rel'],
  ['rel'],
  [''],
  ['?q'],
  ['http://server10/a'],
  ['http://other/a'],
  ['http://server1.evil/a'],
  ['http://server1@evil/a'],
  ['http://evil/http://server1/'],
  ['http://server1:8082/a'],
  ['http://server1:x/a'],
  ['ftp://server1/a'],
  ['mailto:a@server1'],
  ['https://ssl.corp/a', 'https://ssl.example.com/a'],
  ['http://apps/wiki/Page', 'https://wiki.example.com/Page'],
  ['http://apps/other'],
  ['http://foo.example.com/a', 'https://foo.example.com/a'],
  ['http://gate.example.com/a'],
  ['http://db7.corp:9000/a', 'https://db7-9000.example.com/a'],
  ['http://db7.corp:22/a'],
  ['https://server1-8081.example.com/a'],
];

for (const [value, wanted = value] of locations) {
  test(`Location: ${value} → ${wanted}`, () => {
    assert.equal(outward(value, one), wanted);
    assert.deepEqual(answerOut(['Location', value], one, 0), ['Location', wanted]);
  });
}

const refreshes: readonly (readonly [value: string, wanted?: string])[] = [
  ['5; url=http://server1/x', '5; url=https://server1.example.com/x'],
  ['0;URL=http://server1/x', '0;URL=https://server1.example.com/x'],
  ["5; url='http://server1/x'", "5; url='https://server1.example.com/x'"],
  ['5; url="http://SERVER1:80/x"', '5; url="https://server1.example.com/x"'],
  ['5 url=http://server1/x', '5 url=https://server1.example.com/x'],
  ['5; url=/x'],
  ['5'],
  ['5; url=http://other/x'],
];
for (const [value, wanted = value] of refreshes) {
  test(`Refresh: ${value} → ${wanted}`, () => assert.equal(refresh(value, one), wanted));
}

test('a service writes about itself with the wrong scheme, with its bare name, and with its port', () => {
  const bare = of('bare.example.com', ':8443');
  for (const text of ['http://bare/x', 'http://bare:8090/x', 'https://bare/x', 'https://bare:8090/x']) {
    assert.equal(outward(text, bare), 'https://bare.example.com:8443/x', text);
  }
  assert.equal(outward('http://ssl.corp/x', of('ssl.example.com')), 'https://ssl.example.com/x');
  assert.equal(outward('https://foo.example.com/x', of('foo.example.com', ':8443')), 'https://foo.example.com:8443/x');
  assert.equal(outward('//apps/wiki/x', of('wiki.example.com')), '//wiki.example.com/x');
  assert.equal(outward('/wiki/x', of('wiki.example.com')), '/x');
  assert.equal(outward('/wiki', of('wiki.example.com')), '/');
  assert.equal(outward('/wikipedia', of('wiki.example.com')), '/wikipedia');
});

test('every field that holds an address is rewritten, and no other', () => {
  const fields = (...list: string[]) => answerOut(list, one, 0);
  assert.deepEqual(fields('Content-Location', 'http://server1/a'), [
    'Content-Location',
    'https://server1.example.com/a',
  ]);
  assert.deepEqual(fields('Link', '<http://server1/a>; rel=next, </b>; rel=prev; anchor="http://server1/"'), [
    'Link',
    '<https://server1.example.com/a>; rel=next, </b>; rel=prev; anchor="https://server1.example.com/"',
  ]);
  assert.deepEqual(fields('Access-Control-Allow-Origin', 'http://server1:8081'), [
    'Access-Control-Allow-Origin',
    'https://server1-8081.example.com',
  ]);
  assert.deepEqual(fields('Access-Control-Allow-Origin', '*', 'Access-Control-Allow-Origin', 'null'), [
    ...['Access-Control-Allow-Origin', '*', 'Access-Control-Allow-Origin', 'null'],
  ]);
  const policy =
    "default-src 'self' http://server1:8081 server1:8081 server1; img-src data: *.other https:; report-uri /r";
  assert.deepEqual(fields('Content-Security-Policy', policy), [
    'Content-Security-Policy',
    "default-src 'self' https://server1-8081.example.com server1-8081.example.com server1.example.com; img-src data: *.other https:; report-uri /r",
  ]);
  assert.deepEqual(fields('X-Custom', 'http://server1/', 'constructor', 'http://server1/'), [
    ...['X-Custom', 'http://server1/', 'constructor', 'http://server1/'],
  ]);
  assert.deepEqual(fields('Alt-Svc', 'h3=":443"', 'Strict-Transport-Security', 'max-age=1; includeSubDomains'), []);
  assert.deepEqual(answerOut([], one, 60), ['Strict-Transport-Security', 'max-age=60']);
});

test('with rewriting off nothing is rewritten, and the gate’s own names stay its own', () => {
  const plain: Naming = {
    ...one,
    site: { ...one.site, plan: { ...one.site.plan, rewrite: 'off' } },
  };
  const fields = ['Location', 'http://server1/', 'Set-Cookie', 'a=1; Domain=server1'];
  assert.deepEqual(answerOut([...fields, 'Set-Cookie', '__Host-sekisho=x'], plain, 0), fields);
  const asked = ['Origin', 'https://server1.example.com'];
  assert.deepEqual(requestIn(asked, plain), asked);
});

test('a service that clears data clears none of its sisters’', () => {
  const said = (value: string): string[] => answerOut(['Clear-Site-Data', value], one, 0);
  assert.deepEqual(said('"cookies"'), []);
  assert.deepEqual(said('"cache", "cookies"'), ['Clear-Site-Data', '"cache"']);
  assert.deepEqual(said('"*"'), ['Clear-Site-Data', '"cache", "storage", "executionContexts"']);
});

test('where bodies are rewritten, a strong condition finds the ETag that was made weak', () => {
  const links: Naming = { ...one, site: { ...one.site, plan: { ...one.site.plan, rewrite: 'links' } } };
  assert.deepEqual(requestIn(['If-Match', 'W/"a", "b"'], links), ['If-Match', '"a", "b"']);
  assert.deepEqual(requestIn(['If-Match', 'W/"a"'], one), ['If-Match', 'W/"a"']);
});

const cookies: readonly (readonly [value: string, wanted: string | undefined, site?: string])[] = [
  ['a=1; Domain=server1; Path=/', 'a=1; Domain=server1.example.com; Path=/'],
  ['a=1; domain=.SERVER1', 'a=1; domain=server1.example.com'],
  ['a=1; Path=/app; HttpOnly; SameSite=Lax', 'a=1; Path=/app; HttpOnly; SameSite=Lax'],
  ['__Host-a=1; Path=/; Secure', '__Host-a=1; Path=/; Secure'],
  ['a=1; Domain=other.example', 'a=1; Domain=other.example'],
  ['a=1; Domain=corp', 'a=1', 'ssl.example.com'],
  ['a=1; Domain=example.com', 'a=1; Domain=example.com', 'foo.example.com'],
  ['a=1; Path=/wiki/', 'a=1; Path=/', 'wiki.example.com'],
  ['a=1; Path=/wiki/sub', 'a=1; Path=/sub', 'wiki.example.com'],
  ['a=1; Path=/', 'a=1; Path=/', 'wiki.example.com'],
  ['__Host-sekisho-step=1; Path=/; Secure', undefined],
  ['sekisho=1', undefined],
  ['=__Host-sekisho=1; Domain=example.com', undefined], // sent as its value alone
  [' = __Host-sekisho-site=1', undefined],
  ['a="x;y"; Expires=Wed, 21 Oct 2026 07:28:00 GMT', 'a="x;y"; Expires=Wed, 21 Oct 2026 07:28:00 GMT'],
];
for (const [value, wanted, site = 'server1.example.com'] of cookies) {
  test(`Set-Cookie: ${value} → ${wanted}`, () => assert.equal(cookieOut(value, of(site)), wanted));
}

test('Secure and SameSite are added where they are asked for, and only there', () => {
  const asking = (cookies: object): Naming => ({
    ...one,
    site: { ...one.site, plan: { ...one.site.plan, cookies: { secure: false, ...cookies } } },
  });
  assert.equal(cookieOut('a=1', asking({ secure: true })), 'a=1; Secure');
  assert.equal(cookieOut('a=1; secure', asking({ secure: true })), 'a=1; secure');
  assert.equal(cookieOut('a=1', asking({ samesite: 'lax' })), 'a=1; SameSite=Lax');
  assert.equal(cookieOut('a=1; samesite=Strict', asking({ samesite: 'lax' })), 'a=1; samesite=Strict');
  assert.equal(cookieOut('a=1', asking({ samesite: 'none' })), 'a=1; Secure; SameSite=None');
});

test('cookies of the gate are taken out of what a service gets', () => {
  assert.equal(cookieIn('a=1; __Host-sekisho=secret; b=2'), 'a=1; b=2');
  assert.equal(cookieIn('__host-SEKISHO-step=secret'), undefined);
  assert.equal(cookieIn('a=sekisho'), 'a=sekisho');
  assert.equal(cookieIn('=__Host-sekisho=1; a=1'), 'a=1');
});

test('what a client says of where it is, is said in the service’s words', () => {
  assert.equal(inward('https://server1.example.com', one), 'http://server1');
  assert.equal(
    inward('https://server1.example.com:8443/a?b', of('server1.example.com', ':8443')),
    'http://server1/a?b',
  );
  assert.equal(inward('https://server1-8081.example.com/a', one), 'http://server1:8081/a');
  assert.equal(inward('https://bare.example.com/a', one), 'http://bare/a');
  assert.equal(inward('https://wiki.example.com/a', one), 'http://apps/wiki/a');
  for (const other of ['https://server1.example.com:8443', 'https://server1.example.com:8443/a'])
    assert.equal(inward(other, one), other); // another port, so another origin
  assert.equal(
    inward('https://server1.example.com', of('server1.example.com', ':8443')),
    'https://server1.example.com',
  );
  assert.equal(inward('https://server1.example.com:443/a', one), 'http://server1/a');
  for (const foreign of ['null', 'https://evil.test', 'http://server1.example.com', 'https://gate.example.com']) {
    assert.equal(inward(foreign, one), foreign);
  }
  assert.deepEqual(
    requestIn(
      [
        'Destination',
        'https://server1.example.com/b',
        'If',
        '<https://server1.example.com/a> (<urn:x>)',
        'X',
        'https://server1.example.com',
      ],
      one,
    ),
    ['Destination', 'http://server1/b', 'If', '<http://server1/a> (<urn:x>)', 'X', 'https://server1.example.com'],
  );
});

test('an address that is not a site’s is never changed, and one that is leads to the gate', () => {
  fc.assert(
    fc.property(fc.webUrl({ withQueryParameters: true, withFragments: true }), url => {
      assert.equal(outward(url, one), url);
      const own = url.replace(/^(https?:\/\/)[^/?#]*/, '$1server1');
      const made = new URL(outward(own, one));
      assert.equal(made.host, 'server1.example.com');
      const { pathname, search, hash } = new URL(own);
      assert.deepEqual([made.pathname, made.search, made.hash], [pathname, search, hash]);
    }),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 300) },
  );
});

test('any text at all is answered with a text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), text => {
      for (const work of [outward, inward, refresh]) assert.equal(typeof work(text, one), 'string');
      cookieOut(text, one);
      cookieIn(text);
      answerOut(['Content-Security-Policy', text, 'Link', text, text, text], one, 0);
    }),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 300) },
  );
});
