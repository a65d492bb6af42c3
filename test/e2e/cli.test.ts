// Promises of the command line against a real API: what people type, what they read, what scripts get.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { displayWidth } from '../../src/cli/width.ts';
import { type Outcome, run } from '../fixtures/programs.ts';
import { openHouse } from './api-house.ts';
import { type RunOptions, runSekisho } from './cli-run.ts';

async function open(t: { after(call: () => unknown): void }, options: Parameters<typeof openHouse>[1] = {}) {
  const house = await openHouse(t, options);
  const sekisho = (line: string | readonly string[], more: RunOptions = {}) =>
    runSekisho([...(typeof line === 'string' ? line.split(' ') : line), '--data', house.dir], more);
  return { house, sekisho, path: (name: string) => join(house.dir, name) };
}
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

test('cert issue writes a PKCS#12 file that openssl opens with the password from stdin, and with no other', async t => {
  const { sekisho, path } = await open(t);
  const line = ['cert', 'issue', 'staff01', '--ou', '医療事業部', '--out', path('staff01.p12')];
  const told = await sekisho(line, { input: 'correct horse\r\nmore' });
  assert.equal(told.status, 0, told.err);
  assert.match(told.out, /^certificate for staff01 in .*staff01\.p12\nserial [0-9a-f]+, valid until \d{4}-/);
  assert.equal(await modeOf(path('staff01.p12')), 0o600);
  const openssl = (password: string) =>
    execFileSync('openssl', ['pkcs12', '-in', path('staff01.p12'), '-nodes', '-passin', `pass:${password}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const content = openssl('correct horse');
  assert.match(content, /BEGIN PRIVATE KEY/);
  assert.equal(content.match(/BEGIN CERTIFICATE/g)?.length, 3);
  assert.throws(() => openssl('wrong horse'));
});

test('the password of a new file is asked for twice on a terminal, without echo, and must be the same', async t => {
  const { sekisho, path } = await open(t);
  const line = ['cert', 'issue', 'staff01', '--out', path('a.p12')];
  const good = await sekisho(line, { typed: ['correkt\x7f\x7fct horse\r', 'correct horse\r'] });
  assert.equal(good.status, 0, good.err);
  assert.deepEqual(good.raw, [true, false, true, false]);
  assert.doesNotMatch(good.err, /horse/);
  execFileSync('openssl', ['pkcs12', '-in', path('a.p12'), '-noout', '-passin', 'pass:correct horse']);
  const bad = await sekisho(['cert', 'issue', 'x', '--out', path('b.p12')], { typed: ['one\r', 'two\r'] });
  assert.deepEqual([bad.status, existsSync(path('b.p12'))], [2, false]);
  assert.match(bad.err, /the two differ/);
  const stopped = await sekisho(['cert', 'issue', 'x', '--out', path('c.p12')], { typed: ['abc\x03'] });
  assert.deepEqual([stopped.status, stopped.raw.at(-1), existsSync(path('c.p12'))], [130, false, false]);
});

test('cert issue --pem writes NAME.crt, NAME.key for its owner only, and ca.crt, that belong together', async t => {
  const { sekisho, path } = await open(t);
  const told = await sekisho(['cert', 'issue', 'staff01', '--pem', path('new/pem')]);
  assert.equal(told.status, 0, told.err);
  assert.deepEqual((await readdir(path('new/pem'))).sort(), ['ca.crt', 'staff01.crt', 'staff01.key']);
  assert.equal(await modeOf(path('new/pem/staff01.key')), 0o600);
  const [cert, key, ca] = await Promise.all(
    ['staff01.crt', 'staff01.key', 'ca.crt'].map(name => readFile(path(`new/pem/${name}`), 'utf8')),
  );
  assert.ok(new X509Certificate(cert ?? '').checkPrivateKey(createPrivateKey(key ?? '')));
  const args = [
    'verify',
    '-CAfile',
    path('new/pem/ca.crt'),
    '-untrusted',
    path('new/pem/staff01.crt'),
    path('new/pem/staff01.crt'),
  ];
  assert.match(execFileSync('openssl', args, { encoding: 'utf8' }), /: OK/);
  assert.equal((await sekisho('cert ca')).out, ca);
});

test('cert issue --pem --password encrypts the key', async t => {
  const { sekisho, path } = await open(t);
  await sekisho(['cert', 'issue', 'x', '--pem', path('pem'), '--password'], { input: 'correct horse\n' });
  const key = await readFile(path('pem/x.key'), 'utf8');
  assert.match(key, /BEGIN ENCRYPTED PRIVATE KEY/);
  assert.ok(createPrivateKey({ key, passphrase: 'correct horse' }));
});

test('nothing is issued when its files cannot be written, and nothing is overwritten unless told so', async t => {
  const { house, sekisho, path } = await open(t);
  await writeFile(path('x.p12'), 'mine');
  const taken = await sekisho(['cert', 'issue', 'x', '--out', path('x.p12')], { input: 'correct horse' });
  assert.equal(taken.status, 4);
  assert.match(taken.err, /exists already; choose another name, or --force/);
  assert.equal(await readFile(path('x.p12'), 'utf8'), 'mine');
  const nowhere = await sekisho(['cert', 'issue', 'x', '--out', path('no/such/x.p12')], { input: 'correct horse' });
  assert.equal(nowhere.status, 2);
  assert.deepEqual(house.authority.list(), []);
  const forced = await sekisho(['cert', 'issue', 'x', '--out', path('x.p12'), '--force'], { input: 'correct horse' });
  assert.equal(forced.status, 0);
  assert.equal(await modeOf(path('x.p12')), 0o600);
  const refused = await sekisho(['cert', 'issue', 'not a host!', '--server', '--out', path('y.p12')], { input: 'pw' });
  assert.deepEqual([refused.status, existsSync(path('y.p12'))], [2, false]);
});

test('a refused order makes no folder and takes no file away, forced or not', async t => {
  const { house, sekisho, path } = await open(t);
  const refused = await sekisho(['cert', 'issue', 'not a host!', '--server', '--pem', path('a/b/c')]);
  assert.deepEqual([refused.status, existsSync(path('a'))], [2, false]);
  await mkdir(path('mine'));
  for (const name of ['x.key', 'x.crt', 'ca.crt']) await writeFile(path(`mine/${name}`), 'mine');
  house.gate.drain(AbortSignal.abort());
  const closed = await sekisho(['cert', 'issue', 'x', '--pem', path('mine'), '--force']);
  assert.equal(closed.status, 6, closed.err);
  assert.deepEqual((await readdir(path('mine'))).sort(), ['ca.crt', 'x.crt', 'x.key']);
  for (const name of ['x.key', 'x.crt', 'ca.crt']) assert.equal(await readFile(path(`mine/${name}`), 'utf8'), 'mine');
});

test('a signing request keeps its key where it is', async t => {
  const { sekisho, path } = await open(t);
  const made = [
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=ignored',
  ];
  execFileSync('openssl', [...made, '-keyout', path('k.pem'), '-out', path('k.csr')], { stdio: 'ignore' });
  const told = await sekisho(['cert', 'issue', 'pump-7', '--csr', path('k.csr')]);
  assert.equal(told.status, 0, told.err);
  assert.ok(new X509Certificate(told.out).checkPrivateKey(createPrivateKey(await readFile(path('k.pem')))));
  assert.doesNotMatch(told.out, /PRIVATE/);
});

test('tables line up in any script, and fit a narrow terminal', async t => {
  const { house, sekisho } = await open(t);
  await house.authority.issueClient({ user: 'staff01', ou: ['医療事業部'] });
  await house.authority.issueClient({ user: '山田', cn: '山田太郎' });
  const { out } = await sekisho('cert list');
  const [head = '', ...lines] = out.trimEnd().split('\n');
  assert.equal(lines.length, 2);
  const at = displayWidth(head.slice(0, head.indexOf('UNTIL')));
  for (const line of lines) assert.equal(displayWidth(line.slice(0, /\d{4}-\d\d-\d\d/.exec(line)?.index)), at, line);
  const narrow = (await sekisho('cert list', { columns: 70, env: { NO_COLOR: '1' } })).out;
  for (const line of narrow.trimEnd().split('\n')) assert.ok(displayWidth(line) <= 70, line);
  assert.match(narrow, /…/);
});

test('colours are for terminals that want them', async t => {
  const { sekisho } = await open(t);
  assert.match((await sekisho('status', { columns: 120 })).out, /\x1b\[/);
  assert.doesNotMatch((await sekisho('status', { columns: 120, env: { NO_COLOR: '1' } })).out, /\x1b/);
  assert.doesNotMatch((await sekisho('status', { columns: 120, env: { TERM: 'dumb' } })).out, /\x1b/);
  assert.doesNotMatch((await sekisho('status')).out, /\x1b/);
});

test('names that strangers chose cannot play with the terminal', async t => {
  const { house, sekisho } = await open(t);
  const from = { host: '203.0.113.7', port: 1 };
  const who = { kind: 'user', id: '', groups: [], attributes: new Map(), credential: 'cert:aa' } as const;
  house.gate.refuse({ who, action: 'proxy.connect', resource: 'proxy/\x1b]0;owned\x07\u202edb', from }, 'bad \x1b[2J');
  await house.gate.drain(AbortSignal.abort());
  const { out } = await sekisho('audit search');
  assert.doesNotMatch(out, /[\x1b\x07\u202e]/);
  assert.match(out, /owned/);
  // What was typed or pasted is shown back, and so is what JSON leaves as it is; on a terminal with colours, too.
  const evil = 'x\x1b[2J\x9b2J\u202e\x07';
  for (const line of [
    [evil],
    ['status', `--${evil}`],
    ['session', 'cut', evil],
    ['check', '-c', evil],
    ['audit', 'verify', '--head', evil],
    ['user', 'remove', evil],
    ['cert', 'issue', 'x', '--pem', evil, '--out', evil],
    ['audit', 'search', '--json'],
    ['audit', 'search'],
  ]) {
    const told = await sekisho(line, { columns: 200 });
    assert.doesNotMatch(
      told.out.replaceAll(/\x1b\[\d+m/g, '') + told.err,
      /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/,
      line[0],
    );
  }
});

test('status is the whole answer for people and for programs', async t => {
  const { house, sekisho } = await open(t);
  await house.signedIn('staff01', 'member');
  const who = {
    kind: 'user',
    id: 'staff01',
    groups: [],
    attributes: new Map(),
    credential: `token:${house.directory.tokens()[0]?.id}`,
  } as const;
  const asked = {
    who,
    action: 'proxy.connect',
    resource: 'proxy/db',
    from: { host: '203.0.113.7', port: 40_000 },
  } as const;
  await using session = await house.gate.admit({ ...asked, opened: 'proxy/db' });
  session.note('target', 'tcp://10.0.0.5:5432');
  const { out } = await sekisho('status');
  for (const part of [
    'gate.example.com  ok',
    '! the certificate of gate.example.com',
    'tls://127.0.0.1:8443',
    'tcp://10.0.0.6:5432',
    'failed, backup',
    'Open now: 1',
    '203.0.113.7:40000',
    'proxy/db',
  ]) {
    assert.ok(out.includes(part), `${part} is missing in\n${out}`);
  }
  const { json } = await sekisho('status --json');
  assert.deepEqual([json.sessions[0].resource, json.sessions[0].id], ['proxy/db', session.id]);
  house.house.healthy = 'down';
  assert.equal((await sekisho('status')).status, 1);
});

test('an access key pair is made for a user who was missing, shown once, as JSON for scripts', async t => {
  const { house, sekisho } = await open(t);
  const { json } = await sekisho('user key operator1 --json');
  assert.match(json.accessKeyId, /^AKIA/);
  assert.equal(json.secretAccessKey.length, 40);
  assert.deepEqual(house.directory.get('operator1').roles, ['operator']);
  const shown = await sekisho('user show operator1');
  assert.match(shown.out, new RegExp(json.accessKeyId));
  assert.ok(!shown.out.includes(json.secretAccessKey));
  assert.equal((await sekisho(`user key operator1 --revoke ${json.accessKeyId}`)).status, 0);
});

test('users, groups, roles and tokens from the terminal', async t => {
  const { house, sekisho } = await open(t, { now: new Date() });
  const added = await sekisho('user add alice --role operator --role approver --group night --password', {
    input: 'correct horse\n',
  });
  assert.match(added.out, /user alice is added as operator, approver/);
  assert.ok(house.directory.hasPassword('alice'));
  assert.equal((await sekisho('user add alice')).status, 4);
  assert.match((await sekisho('user role alice auditor')).out, /alice: auditor/);
  assert.equal((await sekisho('user role alice king')).status, 2);
  assert.match((await sekisho('group add day alice')).out, /day: alice/);
  assert.match((await sekisho('user list')).out, /alice +auditor +day, night +yes/);
  assert.equal((await sekisho('user passwd alice', { input: 'another horse' })).status, 0);
  assert.match((await sekisho('user passwd alice', { input: 'short' })).err, /at least 8/);
  assert.match((await sekisho('user passwd nobody', { input: 'another horse' })).err, /no user "nobody"/);
  const token = await sekisho('token create alice --scope audit.*,session.list --for 1h --note ci');
  assert.match(token.out, /^sks_[\w-]{43}\n$/);
  assert.match((await sekisho('token list')).out, /alice +audit\.\*, session\.list +in 1h +active +ci/);
  const [one] = house.directory.tokens('alice');
  assert.equal((await sekisho(`token revoke ${one?.id}`)).status, 0);
  assert.equal((await sekisho('user remove alice --yes')).status, 0);
  assert.equal((await sekisho('user show alice')).status, 4);
});

test('the record from the terminal: searched by time and pattern, exported, and checked without the gate', async t => {
  const { house, sekisho, path } = await open(t, { now: new Date() });
  await sekisho('user add alice');
  const found = await sekisho(['audit', 'search', '--event', 'user.added', '--since', '1h', '--resource', 'user/*']);
  assert.match(found.out, /^ +2 {2}\d{4}-.* {2}user\.added +user\/alice {2}local administrator {2}by role:admin/);
  assert.equal((await sekisho('audit search --until 1h')).out, '');
  assert.equal((await sekisho('audit search --since yesterday')).status, 2);
  const tail = (await sekisho('audit tail --last 1 --json')).json;
  assert.equal(tail.event, 'user.added');
  await writeFile(path('head.json'), (await sekisho('audit head --json')).out);
  assert.match(
    (await sekisho(['audit', 'verify', '--head', path('head.json')])).out,
    /^the record is whole: 2 rows \(1 to 2\), 1 signed head$/m,
  );
  const exported = await sekisho(['audit', 'export', '--out', path('audit.jsonl'), '--public-key', path('audit.pub')]);
  assert.equal(exported.status, 0, exported.err);
  assert.equal(await modeOf(path('audit.jsonl')), 0o600);
  const line = [
    'audit',
    'verify',
    '--file',
    path('audit.jsonl'),
    '--key',
    path('audit.pub'),
    '--head',
    path('head.json'),
  ];
  assert.match((await sekisho(line)).out, /^the record is whole/);
  // The head's file brings the key that an export is checked with.
  const short = ['audit', 'verify', '--file', path('audit.jsonl'), '--head', path('head.json')];
  assert.match((await sekisho(short)).out, /^the record is whole/);
  // OpenSSL alone, for either format: the text that was signed, and the digest of all that stands before the last line.
  for (const format of ['csv', 'jsonl']) {
    const [file, proof] = [path(`proven.${format}`), path(`proof-${format}`)];
    const args = ['audit', 'export', '--format', format, '--out', file, '--proof', proof];
    assert.equal((await sekisho(args)).status, 0);
    const check = ['-verify', '-pubin', '-inkey', path('audit.pub'), '-rawin'];
    const verify = (): Promise<Outcome> =>
      run('openssl', ['pkeyutl', ...check, '-in', `${proof}.txt`, '-sigfile', `${proof}.sig`]);
    assert.match((await verify()).stdout, /Signature Verified Successfully/);
    const digest = (await readFile(`${proof}.txt`, 'utf8')).split('\n')[3];
    const digestOf = async (): Promise<string | undefined> =>
      (await run('sh', ['-c', 'head -n -1 "$0" | openssl dgst -sha256 -r', file])).stdout.split(' ')[0];
    assert.equal(await digestOf(), digest);
    const whole = await readFile(file, 'utf8');
    assert.match(whole, /user\/alice/);
    await writeFile(file, whole.replace('user/alice', 'user/mallo'));
    assert.notEqual(await digestOf(), digest, 'a changed row');
    await writeFile(`${proof}.txt`, (await readFile(`${proof}.txt`, 'utf8')).replace(/^all$/m, 'range'));
    assert.doesNotMatch((await verify()).stdout, /Verified Successfully/);
  }
  const text = await readFile(path('audit.jsonl'), 'utf8');
  await writeFile(path('audit.jsonl'), text.replace('user/alice', 'user/mallo'));
  const changed = await sekisho(line);
  assert.equal(changed.status, 1);
  assert.match(changed.out, /^the record is NOT whole/);
  await writeFile(path('audit.jsonl'), text.split('\n').slice(0, -2).join('\n'));
  assert.equal((await sekisho(line)).status, 1);
  assert.match((await sekisho(['audit', 'verify', '--file', path('audit.jsonl')])).err, /--key audit\.pub/);
  assert.equal(house.sessions.size, 0);
});

test('what others must approve is listed and approved from the terminal', async t => {
  const access = [{ allow: 'cert.issue', who: { user: 'bob' }, approve: { group: 'chiefs', count: 1 } }];
  const { house, sekisho } = await open(t, { access });
  const bob = await house.signedIn('bob', 'member');
  await house.remote('/v1/certs', { token: bob, body: { name: 'bob' } });
  const list = await sekisho('approval list');
  assert.match(list.out, /bob +cert\.issue +cert\/bob .* 0 of 1 from chiefs +waiting/);
  const { json } = await sekisho('approval list --json');
  const refused = await sekisho(`approval approve ${json.approvals[0].id}`);
  assert.equal(refused.status, 3, 'the local administrator is no member of chiefs');
  assert.equal((await sekisho('approval list --state refused')).out, 'nothing waits\n');
});

test('reload, backup and restore from the terminal', async t => {
  const { house, sekisho, path } = await open(t);
  assert.match((await sekisho('reload')).out, /^reloaded: added web; 1 kept\n$/);
  const made = await sekisho(['backup', path('gate.backup')], { input: 'a long passphrase\n' });
  assert.equal(made.status, 0, made.err);
  assert.deepEqual([await readFile(path('gate.backup'), 'utf8'), await modeOf(path('gate.backup'))], ['sealed', 0o600]);
  const short = await sekisho(['backup', path('b')], { input: 'short\n' });
  assert.deepEqual([short.status, existsSync(path('b'))], [2, false]);
  await writeFile(path('pass'), 'a long passphrase\nnot this\n');
  assert.equal((await sekisho(['backup', path('c'), '--passphrase-file', path('pass')])).status, 0);
  const bad = await sekisho(['restore', path('gate.backup')], { input: 'x' });
  assert.match(bad.err, /not empty|not a backup/);
  assert.ok(house);
});

test('signing in pins the CA by its fingerprint, keeps the token private, and out again ends it', async t => {
  const { house } = await open(t, { now: new Date(), tls: true });
  const env = { XDG_CONFIG_HOME: join(house.dir, 'config') };
  const gate = `https://localhost:${house.tlsPort}`;
  const sekisho = (line: string, more: RunOptions = {}) => runSekisho(line.split(' '), { env, ...more });
  await house.directory.add({ name: 'alice', roles: ['auditor'] });
  await house.directory.setPassword('alice', 'correct horse');
  const { fingerprint } = house.authority.root();

  const unknown = await sekisho(`login --gate ${gate} --user alice`, { input: 'correct horse' });
  assert.equal(unknown.status, 3);
  assert.match(unknown.err, /was not confirmed/);
  const wrong = await sekisho(`login --gate ${gate} --user alice --fingerprint ${'00'.repeat(32)}`, {
    input: 'correct horse',
  });
  assert.match(wrong.err, /not the one given; do not sign in/);
  const declined = await sekisho(`login --gate ${gate} --user alice`, { typed: ['n\n'] });
  assert.equal(declined.status, 3);
  assert.deepEqual(house.directory.tokens('alice'), []);

  const good = await sekisho(`login --gate ${gate} --user alice`, { typed: ['y\n', 'correct horse\r'] });
  assert.equal(good.status, 0, good.err);
  assert.equal(
    good.err.replaceAll(':', '').toLowerCase().includes(fingerprint.replaceAll(':', '').toLowerCase()),
    true,
  );
  const file = join(env.XDG_CONFIG_HOME, 'sekisho', 'logins.json');
  assert.equal(await modeOf(file), 0o600);
  assert.match((await sekisho('whoami')).out, new RegExp(`gate +${gate}\nwho +alice\nroles +auditor`));
  assert.equal((await sekisho('user add bob')).status, 3);
  assert.equal((await sekisho('audit search --json')).status, 0);
  const out = await sekisho('logout');
  assert.match(out.out, /^signed out of /);
  assert.equal((await sekisho('whoami')).status, 6, 'nobody is signed in, and no gate runs here');
  assert.ok(house.directory.tokens('alice')[0]?.revoked);

  const again = await sekisho(`login --gate ${gate} --user alice --fingerprint ${fingerprint}`, {
    input: 'wrong horse',
  });
  assert.deepEqual([again.status, again.err], [3, 'sekisho: prove who you are: sign in, or send a valid token\n']);
});

test('a gate whose certificate is for another name or of another CA is not spoken to', async t => {
  const { house } = await open(t, { now: new Date(), tls: true });
  const other = await openHouse(t, { now: new Date(), tls: true });
  const env = { XDG_CONFIG_HOME: join(house.dir, 'config') };
  const foreign = join(house.dir, 'foreign.pem');
  await writeFile(foreign, other.authority.root().cert);
  const gate = `https://localhost:${house.tlsPort}`;
  const told = await runSekisho(['login', '--gate', gate, '--user', 'a', '--ca', foreign], {
    env,
    input: 'correct horse',
  });
  assert.equal(told.status, 6);
  assert.match(told.err, /is not verified: its CA is not one that this machine trusts/);
  const { fingerprint } = house.authority.root();
  const named = ['login', '--gate', `https://127.0.0.2:${house.tlsPort}`, '--user', 'a', '--fingerprint', fingerprint];
  assert.notEqual((await runSekisho(named, { env, input: 'correct horse' })).status, 0);
});

test('scripts elsewhere use a token and a CA from the environment, and are never unverified', async t => {
  const { house } = await open(t, { now: new Date(), tls: true });
  const token = await house.signedIn('ci', 'operator');
  const ca = join(house.dir, 'ca.pem');
  await writeFile(ca, house.authority.root().cert);
  const env = {
    ...{ SEKISHO_GATE: `https://localhost:${house.tlsPort}`, SEKISHO_TOKEN: token },
    XDG_CONFIG_HOME: join(house.dir, 'config'),
  };
  const blind = await runSekisho(['session', 'list'], { env });
  assert.equal(blind.status, 6);
  assert.match(blind.err, /is not verified: .*try: sekisho login .* --ca ca\.pem/);
  const good = await runSekisho(['session', 'list'], { env: { ...env, SEKISHO_CA: ca } });
  assert.deepEqual([good.status, good.out], [0, 'nobody is in\n']);
});
