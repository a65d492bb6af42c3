// Hostile text never makes the nginx reader or the importer throw anything but an `invalid` Fault, hang or lose a row.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse as parseYaml } from 'yaml';
import { Fault } from '../../src/core/fault.ts';
import { importNginx } from '../../src/daemon/import.ts';
import { proxyConfig } from '../../src/features/proxy/config.ts';
import { type Directive, parseNginxConf } from '../../src/wire/nginx-conf.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 300);
const count = (list: readonly Directive[]): number =>
  list.reduce((sum, one) => sum + 1 + (one.name === 'http' ? 0 : count(one.block ?? [])), 0);

const soup = fc.string({
  unit: fc.constantFrom(...'ab1 $;{}"\'\\#\n~*.:/-_=', 'include ', 'lua_block', '😀', '\0'),
  maxLength: 200,
});

test('any text is read or refused', () => {
  fc.assert(
    fc.property(fc.oneof(soup, fc.string({ unit: 'binary', maxLength: 200 })), text => {
      try {
        parseNginxConf({ file: 'f', text });
      } catch (error) {
        assert.ok(error instanceof Fault && error.code === 'invalid', String(error));
      }
    }),
    { numRuns },
  );
});

const value = fc.oneof(
  fc.constantFrom(
    'on',
    'off',
    'auto',
    '10m',
    '0',
    '1',
    '127.0.0.1:1',
    'backend',
    'unix:/x',
    '[::1]:1',
    '[::]:5',
    '5',
    '7-9',
    '*:5',
    'ssl',
    'udp',
    'proxy_protocol',
    'default_server',
    '$ssl_preread_server_name',
    '$x',
    '$server_port',
    'a.example',
    '*.example',
    '~^a\\.b$',
    'zone=z:1m',
    'z',
    'shared:a:1m',
    'TLSv1',
    'TLSv1.3',
    'RC4:HIGH',
    'all',
    '10.0.0.0/8',
    '::/0',
    'optional',
    'optional_no_ca',
    '/a.pem',
    'b.pem',
    'data:$x',
    'weight=2',
    'backup',
    'max_fails=0',
    '',
  ),
  fc.string({ maxLength: 6 }),
);
const names = (
  'listen proxy_pass server_name ssl_preread ssl_certificate ssl_certificate_key ssl_password_file ssl_protocols ssl_ciphers ' +
  'ssl_verify_client ssl_client_certificate ssl_crl ssl_verify_depth ssl_session_cache ssl_session_timeout ssl_alpn ssl_ocsp ' +
  'ssl_reject_handshake ssl_dhparam ssl_conf_command proxy_ssl proxy_ssl_verify proxy_ssl_name proxy_ssl_server_name ' +
  'proxy_ssl_trusted_certificate proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_ciphers proxy_timeout ' +
  'proxy_connect_timeout proxy_protocol proxy_bind proxy_upload_rate proxy_requests proxy_next_upstream allow deny limit_conn ' +
  'set_real_ip_from set resolver return js_access tcp_nodelay access_log unheard_of'
).split(' ');
const line = fc.tuple(fc.constantFrom(...names), fc.array(value, { maxLength: 3 }));
const quote = (text: string): string => `"${text.replace(/[\\"]/g, char => `\\${char}`)}"`;
const write = ([name, args]: readonly [string, readonly string[]]): string => `${name} ${args.map(quote).join(' ')};`;

test('any stream block gives one row a directive, and a file that the schema takes', () => {
  const server = fc
    .array(line, { maxLength: 12 })
    .map(lines => `server { listen ${3000 + lines.length}; proxy_pass 127.0.0.1:1; ${lines.map(write).join(' ')} }`);
  const upstream = fc
    .array(fc.array(value, { maxLength: 3 }), { maxLength: 3 })
    .map(rows => `upstream backend { ${rows.map(row => write(['server', row])).join(' ')} }`);
  const entry = fc.tuple(value, value).map(([from, to]) => `${quote(from)} ${quote(to)};`);
  const map = fc
    .tuple(value, fc.array(entry, { maxLength: 5 }))
    .map(([source, rows]) => `map ${quote(source)} $x { ${rows.join(' ')} }`);
  const stream = fc.array(fc.oneof(server, server, upstream, map, line.map(write)), { maxLength: 6 });
  fc.assert(
    fc.property(stream, parts => {
      const text = `worker_processes auto; stream { limit_conn_zone $binary_remote_addr zone=z:1m; ${parts.join('\n')} }`;
      const { directives } = parseNginxConf({ file: 'f', text });
      const { rows, yaml } = importNginx({ name: 'f', text, folder: '/etc/nginx' });
      assert.equal(rows.length, count(directives), 'one row a directive');
      for (const row of rows) assert.ok(row.reason !== '' && row.directive !== '', JSON.stringify(row));
      for (const row of rows) assert.ok(row.status !== 'refused' || row.todo, `${row.directive} says what to do`);
      const written = proxyConfig.safeParse((parseYaml(yaml) as { proxy: unknown }).proxy);
      assert.ok(written.success, written.error?.message);
    }),
    { numRuns },
  );
});
