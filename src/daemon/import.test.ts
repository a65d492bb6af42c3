import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parse } from 'yaml';
import { proxyConfig } from '../features/proxy/config.ts';
import { type Directive, parseNginxConf } from '../wire/nginx-conf.ts';
import { parseConfig } from './config-file.ts';
import { importNginx, importNginxFile } from './import.ts';

const fixtures = join(import.meta.dirname, '../../test/fixtures/nginx');
const files = globSync('*.conf', { cwd: fixtures }).sort();
const load = (text: string) => importNginx({ name: 'nginx.conf', text, folder: '/etc/nginx' });
const codes = (text: string): string[] => load(text).findings.map(({ code, at }) => `${code}:${at.line}`);

for (const file of files) {
  suite(file, () => {
    const result = importNginxFile(join(fixtures, file));
    const yaml = parse(result.yaml) as { proxy: object };

    test('becomes a file that the schema takes, and the gate as a whole', () => {
      const checked = proxyConfig.safeParse(yaml.proxy);
      assert.ok(checked.success, checked.error?.message);
      parseConfig(result.yaml, { name: file, folder: '/' });
      assert.doesNotMatch(result.yaml, /: [&*]\w+$/m, 'it repeats itself in anchors');
    });
    test('gives one row for every directive, with a reason, and for a refusal what to do', () => {
      const text = readFileSync(join(fixtures, file), 'utf8');
      const conf = parseNginxConf({
        file,
        text,
        files: {
          read: path => readFileSync(join(fixtures, path), 'utf8'),
          list: pattern => globSync(pattern, { cwd: fixtures }).sort(),
        },
      });
      const count = (list: readonly Directive[]): number =>
        list.reduce((sum, { name, block = [] }) => sum + 1 + (name === 'mail' ? 0 : count(block)), 0);
      assert.equal(result.rows.length, count(conf.directives) + conf.includes.length);
      const places = result.rows.map(({ at }) => `${at.file}:${at.line}:${at.column}`);
      assert.equal(new Set(places).size, places.length, 'a directive has two rows');
      for (const row of result.rows) {
        assert.notEqual(row.reason, '');
        assert.ok(row.status !== 'refused' || row.todo, `${row.directive}: what to do?`);
      }
    });
  });
}

test('every directive of nginx ends as the fixture says', () => {
  const lines = readFileSync(join(fixtures, 'everything.conf'), 'utf8').split('\n');
  const { rows } = importNginxFile(join(fixtures, 'everything.conf'));
  const said = rows.map(
    ({ at, status, reason }) => `${at.line} ${lines[at.line - 1]?.split('#=')[0]?.trim()}: ${status} (${reason})`,
  );
  const wanted = rows.map(
    ({ at, reason }) =>
      `${at.line} ${lines[at.line - 1]?.split('#=')[0]?.trim()}: ${lines[at.line - 1]?.split('#=')[1]?.trim()} (${reason})`,
  );
  assert.deepEqual(said, wanted);
  const marked = lines.filter(line => line.includes('#=')).length;
  assert.equal(rows.length, marked);
});

test('includes are rows too, and rows stand in the order of the files', () => {
  const { rows } = importNginxFile(join(fixtures, 'includes.conf'));
  assert.deepEqual(
    rows.map(({ at, directive }) => `${at.file}:${at.line} ${directive}`),
    [
      'includes.conf:2 include streams/*.inc',
      'includes.conf:3 events {}',
      'includes.conf:4 stream {}',
      'includes.conf:5 include streams/*.conf',
      'includes.conf:6 server {}',
      'includes.conf:7 listen 127.0.0.1:3306',
      'includes.conf:8 proxy_pass databases',
      'streams/workers.inc:1 worker_processes auto',
      'streams/databases.conf:1 upstream databases {}',
      'streams/databases.conf:2 server 192.0.2.1:3306',
      'streams/databases.conf:3 server 192.0.2.2:3306 backup',
    ],
  );
});

suite('the file that is written', () => {
  test('names the line of each key, and what was dropped there', () => {
    const { yaml } = importNginxFile(join(fixtures, 'article-001-terminate.conf'));
    assert.match(yaml, /^ {4}protocols: \[ TLSv1\.2 \] # article-001-terminate\.conf:13: TLSv1, TLSv1\.1 dropped$/m);
    assert.match(yaml, /^ {4}ciphers: AES128-SHA:AES256-SHA # .*:14: RC4-SHA, DES-CBC3-SHA, RC4-MD5 dropped$/m);
    assert.match(yaml, /^ {2}# article-001-terminate\.conf:10 server$/m);
  });
  test('says at its head what was not converted', () => {
    const { yaml } = load('stream { server { listen 1;\n return x; } }');
    assert.match(yaml, /^# NOT CONVERTED:\n(# - .*\n)*# - nginx\.conf:2 return x: .* To do: /m);
  });
  test('is not broken by what stands in names and arguments', () => {
    const { yaml } = load(
      '"a\n: b" "x\ny: z # \u2028";\nstream { upstream "b\nc" { server 192.0.2.1:1; } server { listen 1; proxy_pass "b\nc"; "odd\nproxy:" x; } }',
    );
    const { proxy } = parse(yaml) as { proxy: Record<string, object> };
    assert.deepEqual(Object.keys(proxy), ['b-c-1']);
  });
  test('never shows a key that is written into the file', () => {
    const { yaml, rows } = load(
      'stream { server { listen 1 ssl; ssl_certificate x; ssl_certificate_key "data:-----BEGIN PRIVATE KEY"; } }',
    );
    assert.doesNotMatch(yaml + JSON.stringify(rows), /BEGIN PRIVATE/);
  });
  test('resolves relative paths at the folder of nginx.conf, as nginx does', () => {
    const { yaml } = load(
      'stream { server { listen 1 ssl; ssl_certificate c.pem; ssl_certificate_key /k.pem; proxy_pass 192.0.2.1:1; } }',
    );
    assert.match(yaml, /cert: file:\/etc\/nginx\/c\.pem\n +key: file:\/k\.pem/);
  });
  test('lets holders of a certificate in by a rule, since the gate lets nobody in without one', () => {
    const { yaml } = load(
      'stream { server { listen 1 ssl; ssl_certificate c; ssl_certificate_key k; ssl_verify_client on; ssl_client_certificate ca; proxy_pass 192.0.2.1:1; } }',
    );
    const { access } = parse(yaml) as { access: unknown };
    assert.deepEqual(access, [{ allow: 'proxy.connect', who: { issuer: '*' }, to: 'proxy/192.0.2.1-1' }]);
  });
  test('leaves the number of workers to the machine', () =>
    assert.deepEqual(parse(load('worker_processes 3; stream {}').yaml), { proxy: {} }));
});

suite('http {}', () => {
  test('in the clear nothing is passed on, and the report says so', () => {
    const { rows, refused } = load('http { server { listen 80; location / { proxy_pass http://x; } } }');
    assert.equal(rows.length, 5);
    assert.equal(refused, 4);
    assert.match(rows[1]?.reason ?? '', /nothing is served in the clear/);
  });
  test('a pattern over the printed subject is found: it can be forged', () => {
    assert.deepEqual(codes('http { server {\n if ($ssl_client_s_dn !~ "OU=Staff") { return 403; } } }'), [
      'forgeable-subject:2',
    ]);
    assert.deepEqual(codes('http { map $ssl_client_s_dn $ok {\n default 0; ~OU=Staff 1; } }'), ['forgeable-subject:1']);
    assert.deepEqual(codes('http { server { if ($ssl_client_s_dn = "CN=x") { return 403; } } }'), []);
  });
  test('optional client certificates and old protocols are found', () =>
    assert.deepEqual(
      codes('http { ssl_verify_client optional_no_ca;\n ssl_verify_client optional;\n ssl_protocols TLSv1 TLSv1.2; }'),
      ['client-certificate-unchecked:1', 'client-certificate-optional:2', 'weak-protocol:3'],
    ));
});

test('a file that is not a main file says which one to import', () => {
  const { rows } = load('upstream a { server 192.0.2.1:1; }');
  assert.match(rows[0]?.todo ?? '', /import the main nginx\.conf/);
});
