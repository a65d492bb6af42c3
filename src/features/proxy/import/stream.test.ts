import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parseNginxConf } from '../../../wire/nginx-conf.ts';
import { joinCiphers, strongCiphers, strongProtocols, tls13Suites } from './ciphers.ts';
import { readAlpn, readName } from './names.ts';
import { type ImportedRoute, importStream, type StreamImport } from './stream.ts';

function load(text: string): StreamImport {
  const [stream] = parseNginxConf({ file: 'f', text: `stream {${text}}` }).directives;
  assert.ok(stream);
  return importStream(stream, { file: path => `file:${path}` });
}
/** The routes by name, without what is the same in all. */
function routes(text: string): Record<string, unknown> {
  return Object.fromEntries(load(text).routes.map(route => [route.name, brief(route)]));
}
function brief({ value }: ImportedRoute): unknown {
  const {
    limits,
    keepalive,
    'half-close': half,
    upstream,
    'prefer-server-ciphers': prefer,
    ciphers,
    protocols,
    ...rest
  } = value;
  return rest;
}
const only = (text: string): Record<string, unknown> => {
  const [route, ...more] = load(text).routes;
  assert.ok(route && more.length === 0);
  return route.value as Record<string, unknown>;
};
const refusals = (text: string): string[] =>
  load(text)
    .rows.filter(row => row.status === 'refused')
    .map(row => row.directive);
const codes = (text: string): string[] => load(text).findings.map(({ code }) => code);

const to = 'proxy_pass 192.0.2.1:1;';
const tls = 'ssl_certificate c; ssl_certificate_key k;';

suite("nginx's defaults are written out where ours differ", () => {
  test('for plain routes', () =>
    assert.deepEqual(only(`server { listen 127.0.0.1:1; ${to} }`), {
      listen: 'tcp://127.0.0.1:1',
      to: 'tcp://192.0.2.1:1',
      keepalive: false,
      limits: { connect: '1m', idle: '10m' },
      'half-close': false,
    }));
  test('for TLS in front', () => {
    const route = only(`server { listen 127.0.0.1:1 ssl; ${tls} ${to} }`);
    assert.deepEqual(route['protocols'], ['TLSv1.2', 'TLSv1.3']);
    assert.equal(route['ciphers'], `${tls13Suites}:HIGH:!aNULL:!MD5`);
    assert.equal(route['prefer-server-ciphers'], false);
  });
  test('for TLS towards the target', () => {
    const route = only(`server { listen 127.0.0.1:1; ${to} proxy_ssl on; }`);
    assert.equal(route['verify'], 'off');
    assert.equal(route['sni'], 'off');
    assert.deepEqual(route['upstream'], { protocols: ['TLSv1.2', 'TLSv1.3'], ciphers: `${tls13Suites}:DEFAULT` });
  });
  test('for client certificates', () =>
    assert.deepEqual(
      only(`server { listen 127.0.0.1:1 ssl; ${tls} ${to} ssl_verify_client on; ssl_client_certificate ca; }`)[
        'clients'
      ],
      { mode: 'required', ca: ['file:ca'], depth: 1 },
    ));
  test('names are resolved once, unless a variable or `resolve` asks for more', () => {
    assert.equal(only('server { listen 1; proxy_pass a.example:1; }')['resolve'], 'off');
    assert.equal(
      only('upstream g { server a.example:1 resolve; } server { listen 1; proxy_pass g; }')['resolve'],
      undefined,
    );
    assert.equal(
      only('server { listen 1; set $t a.example:1; proxy_pass $t; resolver 9.9.9.9 valid=10s; }')['resolve'],
      'off',
    );
    const map = 'map $ssl_preread_server_name $t { default a.example:1; } resolver 9.9.9.9 valid=10s;';
    assert.equal(only(`${map} server { listen 1; ssl_preread on; proxy_pass $t; }`)['resolve'], '10s');
  });
});

suite('several servers on one address', () => {
  test('are told apart by name, the first or the marked one is the default', () =>
    assert.deepEqual(
      routes(`
        server { listen 1 ssl; server_name a.example .b.example; ${tls} proxy_pass 192.0.2.1:1; }
        server { listen 1 ssl default_server; server_name _; ${tls} proxy_pass 192.0.2.2:1; }`),
      {
        'a.example-1': {
          listen: 'tls://0.0.0.0:1',
          names: ['a.example', 'b.example', '*.b.example'],
          certificate: { cert: 'file:c', key: 'file:k' },
          to: 'tcp://192.0.2.1:1',
        },
        '192.0.2.2-1': {
          listen: 'tls://0.0.0.0:1',
          default: true,
          certificate: { cert: 'file:c', key: 'file:k' },
          to: 'tcp://192.0.2.2:1',
        },
      },
    ));
  test('a default that rejects every handshake is no route, and no route is the default', () => {
    const found = routes(`
      server { listen 1 ssl default_server; ssl_reject_handshake on; }
      server { listen 1 ssl; server_name a.example; ${tls} ${to} }`);
    assert.deepEqual(Object.keys(found), ['a.example-1']);
    assert.equal((found['a.example-1'] as { default?: boolean }).default, undefined);
  });
  test('a server that nginx would never choose is refused', () => {
    assert.deepEqual(refusals(`server { listen 1; ${to} } server { listen 1; server_name a; ${to} }`), ['server {}']);
    assert.deepEqual(refusals(`server { listen 1 ssl; ${tls} ${to} } server { listen 1 ssl; ${tls} ${to} }`), [
      'server {}',
    ]);
  });
  test('names that end in a wildcard or are patterns are refused', () =>
    assert.deepEqual(
      refusals(`server { listen 1 ssl; ${tls} ${to} } server { listen 1 ssl; server_name a.* ~x b; ${tls} ${to} }`),
      ['server_name a.* ~x b'],
    ));
  test('a wildcard address and a single one on the same port are refused for the later server', () =>
    assert.deepEqual(refusals(`server { listen 1; ${to} } server { listen 127.0.0.1:1; ${to} }`).sort(), [
      'listen 127.0.0.1:1',
      'server {}',
    ]));
  test('in one server the wildcard covers the single address', () =>
    assert.equal(only(`server { listen 127.0.0.1:1; listen 1; ${to} }`)['listen'], 'tcp://0.0.0.0:1'));
});

suite('a route is written closed when something that kept people out was refused', () => {
  const closes = (text: string): void => {
    const { routes: found } = load(`server { listen 1 ssl; ${tls} ${to} ${text} }`);
    assert.deepEqual(
      found.map(({ value }) => value['rules']),
      [[{ deny: 'all' }]],
    );
  };
  for (const text of [
    'ssl_verify_client optional_no_ca;',
    'ssl_verify_client on;',
    'ssl_verify_client on; ssl_client_certificate $x;',
    'ssl_ocsp on;',
    'js_access a.b;',
    'preread_by_lua_block { ngx.exit(1) }',
    'deny nonsense;',
    'proxy_ssl on; proxy_ssl_verify on;',
    'proxy_ssl on; proxy_ssl_server_name on; proxy_ssl_name $ssl_server_name;',
  ]) {
    test(text, () => closes(text));
  }
  test('a script in the stream block closes every server below it', () => {
    const { routes: found } = load(`js_access a.b; server { listen 1; ${to} }`);
    assert.deepEqual(found[0]?.value['rules'], [{ deny: 'all' }]);
  });
  test('an entry of a map that cannot be said closes the map, not its neighbours', () => {
    const found = routes(`
      map $ssl_preread_server_name $t { "~^x{3}$" 192.0.2.9:1; a 192.0.2.1:1; default 192.0.2.2:1; }
      server { listen 1; ssl_preread on; proxy_pass $t; }
      server { listen 2; ${to} }`) as Record<string, { rules?: unknown }>;
    assert.deepEqual(
      Object.values(found).map(({ rules }) => rules),
      [[{ deny: 'all' }], [{ deny: 'all' }], undefined],
    );
  });
  test('announced addresses that anybody can forge never stand behind rules', () =>
    assert.deepEqual(
      load(`server { listen 1 proxy_protocol; ${to} allow 10.0.0.0/8; deny all; }`).routes[0]?.value['rules'],
      [{ deny: 'all' }],
    ));
});

suite('what is found', () => {
  test('proxy_ssl that does not verify, and the name of the group', () =>
    assert.deepEqual(
      codes('upstream b { server 192.0.2.1:1; } server { listen 127.0.0.1:1; proxy_pass b; proxy_ssl on; }'),
      ['encrypts-but-does-not-authenticate', 'name-of-the-group'],
    ));
  test('no server name where the certificate is verified', () =>
    assert.deepEqual(
      codes(
        `server { listen 127.0.0.1:1; ${to} proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca; proxy_ssl_name a; }`,
      ),
      ['no-server-name'],
    ));
  test('nothing about a route that is local, verified and named', () =>
    assert.deepEqual(
      codes(
        `server { listen 127.0.0.1:1; ${to} proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca; proxy_ssl_name a; proxy_ssl_server_name on; }`,
      ),
      [],
    ));
  test('old protocols and ciphers, on either side', () =>
    assert.deepEqual(
      codes(
        `server { listen 127.0.0.1:1 ssl; ${tls} ${to} ssl_protocols SSLv3 TLSv1.2; ssl_ciphers RC4:HIGH; proxy_ssl on; proxy_ssl_protocols TLSv1; proxy_ssl_ciphers 3DES; }`,
      ).sort(),
      ['encrypts-but-does-not-authenticate', 'weak-cipher', 'weak-cipher', 'weak-protocol', 'weak-protocol'],
    ));
  test('an address that everybody reaches, unless rules or certificates stand before it', () => {
    assert.deepEqual(codes(`server { listen 1; ${to} }`), ['open-to-everybody']);
    assert.deepEqual(codes(`server { listen [::]:1; ${to} }`), ['open-to-everybody']);
    assert.deepEqual(codes(`server { listen 1; ${to} deny all; }`), []);
    assert.deepEqual(codes(`server { listen unix:/x; ${to} }`), []);
    assert.deepEqual(codes(`server { listen 1; ${to} allow 10.0.0.0/8; }`), ['open-to-everybody']);
  });
  test('client certificates that are optional, or never revoked', () => {
    const server = (more: string): string => `server { listen 1 ssl; ${tls} ${to} ssl_client_certificate ca; ${more} }`;
    assert.deepEqual(codes(server('ssl_verify_client on;')), ['no-revocation']);
    assert.deepEqual(codes(server('ssl_verify_client on; ssl_crl crl;')), []);
    assert.deepEqual(codes(server('ssl_verify_client optional; ssl_crl crl;')), [
      'client-certificate-optional',
      'open-to-everybody',
    ]);
    assert.ok(codes(server('ssl_verify_client optional_no_ca;')).includes('client-certificate-unchecked'));
  });
  test('a PROXY header that everybody may write', () =>
    assert.deepEqual(codes(`server { listen 127.0.0.1:1 proxy_protocol; ${to} }`), ['proxy-header-from-everybody']));
});

suite('ciphers', () => {
  const table: readonly (readonly [string, string | undefined, number])[] = [
    ['AES128-SHA:AES256-SHA:RC4-SHA:DES-CBC3-SHA:RC4-MD5', 'AES128-SHA:AES256-SHA', 3],
    ['HIGH:!aNULL:!MD5', 'HIGH:!aNULL:!MD5', 0],
    ['HIGH', 'HIGH:!aNULL', 0],
    ['ALL:!RC4', 'ALL:!RC4:!aNULL:!eNULL', 0],
    ['DEFAULT', 'DEFAULT', 0],
    ['RC4:3DES:MD5:aNULL:eNULL:EXP:SSLv3:LOW', undefined, 8],
    ['!aNULL:@STRENGTH', undefined, 0],
    ['ECDHE-RSA-AES128-GCM-SHA256,AES128-SHA +RC4', 'ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA', 1],
    ['ADH-AES128-SHA:NULL-SHA256:EXP-RC4-MD5:AES128-SHA', 'AES128-SHA', 3],
    ['DEFAULT@SECLEVEL=0', 'DEFAULT', 1],
    ['@SECLEVEL=0:AES128-SHA@SECLEVEL=1', 'AES128-SHA:@SECLEVEL=1', 1],
  ];
  for (const [text, list, dropped] of table) {
    test(`${text} → ${list ?? 'the modern default'}`, () => {
      const found = strongCiphers(text);
      assert.equal(found.list, list);
      assert.equal(found.dropped.length, dropped);
    });
  }
  test('TLS 1.3 suites are named only where TLS 1.3 is spoken, a list only where TLS 1.2 is', () => {
    assert.equal(joinCiphers('A', ['TLSv1.2']), 'A');
    assert.equal(joinCiphers('A', ['TLSv1.3']), tls13Suites);
    assert.equal(joinCiphers('A', ['TLSv1.2', 'TLSv1.3']), `${tls13Suites}:A`);
    assert.equal(joinCiphers(undefined, ['TLSv1.2', 'TLSv1.3']), undefined);
  });
  test('where no version is left the modern ones stand', () => {
    assert.deepEqual(strongProtocols(['SSLv3', 'TLSv1.1']), {
      versions: ['TLSv1.2', 'TLSv1.3'],
      dropped: ['SSLv3', 'TLSv1.1'],
      replaced: true,
    });
  });
});

suite('names', () => {
  const table: readonly (readonly [string, boolean, unknown])[] = [
    ['A.Example', false, ['a.example']],
    ['*.a.example', true, ['*.a.example']],
    ['.a.example', true, ['a.example', '*.a.example']],
    ['~^a\\.example$', false, ['a.example']],
    ['~*^(.+)\\.a\\.example$', false, ['*.a.example']],
    ['~\\.a\\.example$', false, ['*.a.example']],
    ['*.a.example', false, 'never'],
    ['_', true, 'never'],
    ['a.*', true, 'refused'],
    ['*.*.a', true, 'refused'],
    ['~a.example', true, 'refused'],
    ['', true, 'refused'],
  ];
  for (const [text, wildcards, wanted] of table) {
    test(`${JSON.stringify(text)}${wildcards ? ' with wildcards' : ''}`, () => {
      const found = readName(text, wildcards);
      assert.deepEqual('names' in found ? found.names : Object.keys(found)[0], wanted);
    });
  }
  test('single protocols out of the ALPN list', () => {
    assert.deepEqual(readAlpn('~\\bh2\\b'), { names: ['h2'] });
    assert.deepEqual(readAlpn('acme-tls/1'), { names: ['acme-tls/1'] });
    assert.ok('refused' in readAlpn('h2,http/1.1'));
    assert.ok('refused' in readAlpn('~^h[23]'));
  });
});

test('a directive of the stream block holds for servers that have none of their own', () => {
  const [first, second] = load(
    `proxy_timeout 1m; server { listen 1; ${to} } server { listen 2; ${to} proxy_timeout 2m; }`,
  ).routes;
  assert.equal((first?.value['limits'] as { idle: string } | undefined)?.idle, '1m');
  assert.equal((second?.value['limits'] as { idle: string } | undefined)?.idle, '2m');
});

test('a variable that nothing fills is empty, so its map leads where "" leads', () => {
  const maps = `map $ssl_preread_server_name $t { a 192.0.2.1:1; default 192.0.2.2:1; } map $ssl_server_name $u { "" 192.0.2.3:1; a 192.0.2.1:1; }`;
  assert.equal(only(`${maps} server { listen 1; proxy_pass $t; }`)['to'], 'tcp://192.0.2.2:1');
  assert.equal(only(`${maps} server { listen 1; proxy_pass $u; }`)['to'], 'tcp://192.0.2.3:1');
});

test('what datagrams cannot do is refused, not left away', () => {
  assert.deepEqual(refusals(`server { listen 1 udp; ${to} proxy_protocol on; }`), ['proxy_protocol on']);
  assert.deepEqual(refusals(`server { listen 1 udp; ${to} proxy_ssl on; }`).includes('proxy_pass 192.0.2.1:1'), true);
});

test('an open relay to whatever name the client sends is refused with its reason', () => {
  const { rows, routes: found } = load(
    'server { listen 443; ssl_preread on; proxy_pass $ssl_preread_server_name:443; }',
  );
  assert.equal(found.length, 0);
  assert.match(rows.find(row => row.directive.startsWith('proxy_pass'))?.reason ?? '', /an open relay/);
});

test('names of routes are unique and can stand in URLs', () => {
  const names = load(
    `upstream "a b/c" { server 192.0.2.1:1; } server { listen 1; proxy_pass "a b/c"; } server { listen 127.0.0.1:2; listen unix:/r/x.sock; proxy_pass "a b/c"; }`,
  ).routes.map(({ name }) => name);
  assert.deepEqual(names, ['a-b-c-1', 'a-b-c-2', 'a-b-c-x.sock']);
});
