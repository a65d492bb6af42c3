// Sign-in on top of a certificate, and identities that services can check: with curl, python and openssl on a real gate.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Secret, TOTP } from 'otpauth';
import { header, type Origin, openOrigin } from '../e2e/web/rig.ts';
import { makeCa } from '../fixtures/certificates.ts';
import { freePorts, type GateProcess, newFolder, startGate } from '../fixtures/gate-process.ts';
import { type Outcome, run } from '../fixtures/programs.ts';

interface House {
  readonly gate: GateProcess;
  readonly folder: string;
  readonly port: number;
  /** Through the proxy, with this user's certificate. */
  through(user: string, ...args: string[]): Promise<Outcome>;
  /** Straight at the gate. */
  at(user: string | undefined, path: string, ...args: string[]): Promise<Outcome>;
}

const password = 'correct horse battery';

async function openHouse(t: TestContext, config: (port: number) => string): Promise<House> {
  const [port = 0] = await freePorts(1);
  const folder = newFolder();
  const gate = await startGate(t, { folder, config: config(port) });
  for (const user of ['staff01', 'staff02']) {
    const args = ['--ou', '医療事業部', '--pem', join(folder, 'pem')];
    const issued = await gate.run('cert', 'issue', user, ...args);
    assert.equal(issued.status, 0, issued.stderr);
  }
  const ca = join(folder, 'pem/ca.crt');
  const pair = (user: string, prefix: string): string[] => [
    ...[`--${prefix}cert`, join(folder, `pem/${user}.crt`), `--${prefix}key`, join(folder, `pem/${user}.key`)],
  ];
  return {
    ...{ gate, folder, port },
    through: (user, ...args) =>
      run('curl', [
        ...['-sS', '--max-time', '20', '--proxy', `https://localhost:${port}`, '--proxy-cacert', ca],
        ...pair(user, 'proxy-'),
        ...args,
      ]),
    at: (user, path, ...args) =>
      run('curl', [
        ...['-sS', '--max-time', '20', '--cacert', ca, ...(user ? pair(user, '') : []), ...args],
        `https://localhost:${port}${path}`,
      ]),
  };
}

const configFor =
  (origin: Origin, more = '') =>
  (port: number): string =>
    `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }
access: [ { allow: web.request, who: { ou: 医療事業部 }, to: web/* } ]
web:
  forward:
    hosts:
      open.example: tcp://127.0.0.1:${origin.port}
      payroll.example: { to: "tcp://127.0.0.1:${origin.port}", sign-in: { within: 8h } }
    ${more}
`;

test('a site that wants a sign-in is reached after password and code, by this certificate and no other', async t => {
  await using origin = await openOrigin();
  const house = await openHouse(t, configFor(origin));
  const { gate, through, at, port } = house;
  for (const user of ['staff01', 'staff02']) {
    const socket = ['--unix-socket', join(house.folder, 'data/sekisho.sock'), '-H', 'content-type: application/json'];
    const set = ['-sS', '-X', 'PUT', '-d', JSON.stringify({ password }), `http://localhost/v1/users/${user}/password`];
    assert.match((await run('curl', [...socket, ...set])).stdout, /"changed":true/);
  }
  const enrolled = JSON.parse((await gate.run('user', 'totp', 'staff01', '--json')).stdout);
  assert.match(enrolled.uri, /^otpauth:\/\/totp\/localhost:staff01\?/);
  const code = (steps = 0): string =>
    new TOTP({ secret: Secret.fromBase32(enrolled.secret) }).generate({ timestamp: Date.now() + steps * 30_000 });

  assert.match((await through('staff01', 'http://open.example/')).stdout, /^hello from open\.example/);
  const page = await through('staff01', '-H', 'Accept: text/html', '-w', '%{http_code}', 'http://payroll.example/');
  assert.match(page.stdout, /wants a sign-in[\s\S]*href="https:\/\/localhost:\d+\/sign-in"[\s\S]*403$/);
  assert.match((await through('staff01', '-p', 'http://payroll.example/')).stderr, /403/);
  const before = await at('staff01', '/check');
  assert.match(before.stdout, /payroll\.example[\s\S]*sign in first/);

  const post = (user: string, fields: Record<string, string>, ...args: string[]): Promise<Outcome> =>
    at(
      user,
      '/sign-in',
      ...['-w', '\n%{http_code} %{redirect_url}', '-H', `Origin: https://localhost:${port}`],
      ...Object.entries(fields).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]),
      ...args,
    );
  assert.match((await at('staff01', '/sign-in')).stdout, /staff01[\s\S]*name="code"/);
  assert.match((await at(undefined, '/sign-in')).stdout, /a client certificate is needed/);
  // Forms of other pages, in each way that they could come.
  for (const foreign of [
    ['-H', 'Origin: https://evil.example'],
    ['-H', 'Origin: null'],
    ['-H', `Origin: https://localhost:${port}`, '-H', 'Sec-Fetch-Site: cross-site'],
    ['-H', `Origin: https://localhost:${port}.evil.example`],
  ]) {
    const fields = ['--data-urlencode', `password=${password}`, '--data-urlencode', `code=${code()}`];
    const answer = await at('staff01', '/sign-in', '-w', '%{http_code}', ...foreign, ...fields);
    assert.match(answer.stdout, /pages of other sites[\s\S]*403$/, foreign.join());
  }
  assert.match((await post('staff01', { password: 'wrong password', code: code() })).stdout, /is wrong[\s\S]*403 $/);
  assert.match((await post('staff01', { password, code: '000000' })).stdout, /is wrong[\s\S]*403 $/);
  assert.match(
    (await post('staff02', { password, code: code() })).stdout,
    /is wrong[\s\S]*403 $/,
    'no code of their own',
  );

  const used = code();
  const good = await post('staff01', { password, code: used, back: 'http://payroll.example/list?x=1' });
  assert.match(good.stdout, /303 http:\/\/payroll\.example\/list\?x=1$/);
  assert.match((await through('staff01', 'http://payroll.example/')).stdout, /^hello from payroll\.example/);
  assert.match((await through('staff01', '-p', 'http://payroll.example/')).stdout, /^hello from payroll\.example/);
  assert.equal(
    (await through('staff02', '-o', '/dev/null', '-w', '%{http_code}', 'http://payroll.example/')).stdout,
    '403',
  );
  assert.match(
    (await post('staff01', { password, code: used })).stdout,
    /is wrong[\s\S]*403 $/,
    'a code is taken once',
  );
  const away = await post('staff01', { password, code: code(1), back: 'https://evil.example/' });
  assert.match(away.stdout, /Signed in as staff01[\s\S]*200 $/, 'nobody is sent elsewhere');

  const audit = (await gate.run('audit', 'search', '--json')).stdout;
  assert.match(audit, /web\.signed-in/);
  assert.ok(!audit.includes(enrolled.secret) && !audit.includes(password));
  const database = readFileSync(join(house.folder, 'data/sekisho.db'), 'latin1');
  assert.ok(!database.includes(enrolled.secret), 'the secret lies sealed');

  // Guessing is limited, and says so.
  let last = '';
  for (let tries = 0; tries < 40 && !/429 $/.test(last); tries++)
    last = (await post('staff01', { password, code: '111111' })).stdout;
  assert.match(last, /too many tries[\s\S]*429 $/);
});

test('a renamed site that wants a sign-in sends people to the gate and back, and is theirs by a cookie of its own', async t => {
  await using origin = await openOrigin();
  const house = await openHouse(
    t,
    port => `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }
access: [ { allow: web.request, who: { ou: 医療事業部 }, to: web/* } ]
web:
  domain: example.com
  sites:
    payroll: { to: "http://payroll/", at: "tcp://127.0.0.1:${origin.port}", sign-in: { within: 8h }, identity: signed }
    other: { to: "http://other/", at: "tcp://127.0.0.1:${origin.port}", sign-in: { within: 8h } }
`,
  );
  const { gate, folder, port } = house;
  const socket = ['--unix-socket', join(folder, 'data/sekisho.sock'), '-H', 'content-type: application/json'];
  for (const user of ['staff01', 'staff02'])
    await run('curl', [
      ...socket,
      '-sS',
      '-X',
      'PUT',
      '-d',
      JSON.stringify({ password }),
      `http://localhost/v1/users/${user}/password`,
    ]);
  const { secret } = JSON.parse((await gate.run('user', 'totp', 'staff01', '--json')).stdout);
  const browse = (user: string, url: string, ...args: string[]): Promise<Outcome> => {
    const names = ['payroll.example.com', 'other.example.com'].flatMap(name => [
      '--resolve',
      `${name}:${port}:127.0.0.1`,
    ]);
    const pair = ['--cert', join(folder, `pem/${user}.crt`), '--key', join(folder, `pem/${user}.key`)];
    const jar = join(folder, `${user}.jar`);
    const show = ['-w', '\n%{http_code} %{redirect_url}', '-b', jar, '-c', jar];
    return run('curl', [
      '-sS',
      '--max-time',
      '20',
      '--cacert',
      join(folder, 'pem/ca.crt'),
      ...names,
      ...pair,
      ...show,
      ...args,
      url,
    ]);
  };
  const site = `https://payroll.example.com:${port}`;
  const first = await browse('staff01', `${site}/list?x=1`);
  const asked = / (https:\/\/localhost:\d+\/sign-in\?back=\S+)$/.exec(first.stdout)?.[1] ?? '';
  assert.match(first.stdout, /303 /);
  assert.match((await browse('staff01', `${site}/api`, '-X', 'POST', '-d', 'x')).stdout, /wants a sign-in[\s\S]*403 $/);
  assert.match((await browse('staff01', asked)).stdout, /name="back" value="https:\/\/payroll\.example\.com/);
  const back = new URL(asked).searchParams.get('back') ?? '';
  const code = new TOTP({ secret: Secret.fromBase32(secret) }).generate();
  const form = [
    '-H',
    `Origin: https://localhost:${port}`,
    ...Object.entries({ password, code, back }).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]),
  ];
  const signed = await browse('staff01', `https://localhost:${port}/sign-in`, ...form);
  const landing =
    / (https:\/\/payroll\.example\.com:\d+\/\.sekisho\/sign-in\?code=\S+)$/.exec(signed.stdout)?.[1] ?? '';
  assert.notEqual(landing, '', signed.stdout);
  assert.match((await browse('staff02', landing)).stdout, /used up[\s\S]*403 $/, 'the code is of one certificate');
  assert.match((await browse('staff01', landing)).stdout, /used up[\s\S]*403 $/, 'and it is spent by that try');

  // Signed in as they are, the gate sends them over at once, with a new code.
  const again = await browse('staff01', asked);
  const fresh = /303 (https:\S+)$/.exec(again.stdout)?.[1] ?? '';
  const landed = await browse('staff01', fresh, '-i');
  assert.match(landed.stdout, /set-cookie: __Host-sekisho-site=\S+; Path=\/; Secure; HttpOnly; SameSite=Lax/i);
  assert.match(landed.stdout, new RegExp(`303 ${site}/list\\?x=1$`));
  assert.match((await browse('staff01', `${site}/list?x=1`)).stdout, /^hello from payroll\/list\?x=1\n200 $/);
  const seen = origin.seen.at(-1)?.headers ?? [];
  assert.doesNotMatch(seen.join('\n'), /sekisho-site/, 'no service sees the cookie');
  const token = JSON.parse(
    Buffer.from(header(seen, 'x-sekisho-identity')?.split('.')[1] ?? '', 'base64url').toString(),
  );
  assert.deepEqual([token.sub, token.aud], ['staff01', 'payroll.example.com:443']);

  // Stolen: the cookie without its certificate, and on another site.
  const stolen = /__Host-sekisho-site=([^;]+)/.exec(landed.stdout)?.[1] ?? '';
  for (const [user, url] of [
    ['staff02', `${site}/`],
    ['staff01', `https://other.example.com:${port}/`],
  ] as const) {
    const tried = await browse(user, url, '-H', `Cookie: __Host-sekisho-site=${stolen}`);
    assert.match(tried.stdout, /303 https:\/\/localhost/, `${user} ${url}`);
  }
  const open = await browse(
    'staff01',
    `https://localhost:${port}/sign-in?back=${encodeURIComponent('https://evil.example/')}`,
  );
  assert.doesNotMatch(open.stdout, /evil/);
});

test('a signed identity is checked by python and openssl with the gate’s published key', async t => {
  await using origin = await openOrigin();
  const { folder, through, at } = await openHouse(t, configFor(origin, 'identity: signed'));
  const forged = ['-H', 'X-Sekisho-Identity: forged', '-H', 'X_Sekisho_User: root', '-H', 'X-Sekisho-User: root'];
  await through('staff01', ...forged, 'http://open.example/');
  const fields = origin.seen[0]?.headers ?? [];
  assert.equal(fields.filter((name, index) => index % 2 === 0 && /^x[-_]sekisho/i.test(name)).length, 3);
  assert.equal(header(fields, 'x-sekisho-user'), 'staff01');
  const token = header(fields, 'x-sekisho-identity') ?? '';
  const keys = await at(undefined, '/.well-known/jwks.json', '-w', '\n%{content_type}');
  const [json = '', type] = keys.stdout.split(/\n(?=[^\n]*$)/);
  assert.equal(type, 'application/jwk-set+json');
  // A JWK of Ed25519 is 32 bytes; its SubjectPublicKeyInfo has a fixed head (RFC 8410 §4).
  const checked = await run('python3', ['-c', verifier], {
    input: JSON.stringify({ token, jwks: JSON.parse(json), folder }),
  });
  assert.equal(checked.code, 0, checked.stderr);
  const { verified, tampered, head, body } = JSON.parse(checked.stdout);
  assert.deepEqual([verified, tampered], [true, false]);
  assert.deepEqual([head.alg, head.kid], ['EdDSA', JSON.parse(json).keys[0].kid]);
  assert.deepEqual([body.sub, body.aud, body.ou], ['staff01', 'open.example:80', ['医療事業部']]);
  assert.ok(body.exp > Date.now() / 1000 && body.exp - body.iat === 300);
  assert.match(body.iss, /^https:\/\/localhost/);
});

/** Splits the token, and lets openssl say whether its signature is the published key's. */
const verifier = `
import base64, json, subprocess, sys
given = json.load(sys.stdin)
bytes_of = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
head, body, signature = given['token'].split('.')
key = next(k for k in given['jwks']['keys'] if k['kid'] == json.loads(bytes_of(head))['kid'])
der = bytes.fromhex('302a300506032b6570032100') + bytes_of(key['x'])
path = given['folder'] + '/'
open(path + 'jwk.der', 'wb').write(der)
open(path + 'jwt.sig', 'wb').write(bytes_of(signature))
def verify(text):
    open(path + 'jwt.txt', 'wb').write(text.encode())
    return subprocess.run(['openssl', 'pkeyutl', '-verify', '-pubin', '-keyform', 'DER', '-inkey', path + 'jwk.der',
        '-rawin', '-in', path + 'jwt.txt', '-sigfile', path + 'jwt.sig'], capture_output=True).returncode == 0
print(json.dumps({'verified': verify(head + '.' + body), 'tampered': verify(head + '.' + body + 'A'),
    'head': json.loads(bytes_of(head)), 'body': json.loads(bytes_of(body))}))
`;

test('a Japanese OU is matched, a CN that contains "OU=…" is not, and a rule keeps its hours', async t => {
  await using origin = await openOrigin();
  const company = makeCa('Company CA');
  const folder = newFolder();
  const issue = (name: string, subject: { cn: string; ou?: string }): void => {
    const { fullchain, key } = company.issue({ ...subject, client: true });
    writeFileSync(join(folder, `${name}.crt`), fullchain);
    writeFileSync(join(folder, `${name}.key`), key);
  };
  issue('real', { cn: 'Yamamoto', ou: '医療事業部' });
  issue('forged', { cn: 'x, OU=医療事業部' });
  issue('escaped', { cn: 'OU=\\E5\\8C\\BB OU=医療事業部 /OU=医療事業部' });
  issue('other', { cn: 'Yamamoto', ou: '医療事業部2' });
  issue('night', { cn: 'Night', ou: '夜勤' });
  // Hours that cannot be now, whatever the time is: they begin in six hours.
  const hour = (more: number): string => `${String((new Date().getUTCHours() + more) % 24).padStart(2, '0')}:00`;
  const house = await openHouse(
    t,
    port => `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }
trust: { clients: [ builtin, "file:${company.certFile}" ] }
access:
  - { allow: web.request, who: { ou: 医療事業部 }, to: web/* }
  - { allow: web.request, who: { ou: 夜勤 }, to: web/*, when: { hours: "${hour(6)}-${hour(8)}", zone: UTC } }
web: { forward: { hosts: { open.example: "tcp://127.0.0.1:${origin.port}" } } }
`,
  );
  const status = async (name: string): Promise<string> => {
    const args = ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '--proxy', `https://localhost:${house.port}`];
    const ca = ['--proxy-cacert', join(house.folder, 'pem/ca.crt')];
    const pair = ['--proxy-cert', join(folder, `${name}.crt`), '--proxy-key', join(folder, `${name}.key`)];
    return (await run('curl', [...args, ...ca, ...pair, 'http://open.example/'])).stdout;
  };
  const seen: Record<string, string> = {};
  for (const name of ['real', 'forged', 'escaped', 'other', 'night']) seen[name] = await status(name);
  assert.deepEqual(seen, { real: '200', forged: '403', escaped: '403', other: '403', night: '403' });
  assert.equal(origin.seen.length, 1);
  const why = await house.gate.run('web', 'check', 'http://open.example/', '--as', 'staff01');
  assert.match(why.stdout, /reached: allowed by access\[0\]/);
});
