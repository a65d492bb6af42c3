// Other people's certificates and lists, made by openssl and shown in real handshakes: parsed, told apart, refused when revoked.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, suite, test } from 'node:test';
import tls from 'node:tls';
import type { Conn, Listener, Log, Principal } from '../../src/core/parts.ts';
import { listenTcp } from '../../src/net/tcp.ts';
import { upgradeTls } from '../../src/net/tls.ts';
import { openStore, type Store } from '../../src/store/index.ts';
import { parseCertificate } from '../../src/trust/certificate.ts';
import { parseCrls } from '../../src/trust/crl.ts';
import {
  type Authority,
  type ClientTrust,
  clientTrustSource,
  identifyByCertificate,
  openAuthority,
  principalOf,
} from '../../src/trust/index.ts';
import { derBlocks } from '../../src/trust/pem.ts';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';

const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const metrics = { count() {}, gauge() {}, observe() {} };
const dir = temporaryFolder('foreign');
const openssl = (...words: string[]): string =>
  execFileSync('openssl', words, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

let store: Store;
let authority: Authority;
before(async () => {
  store = await openStore({ url: 'sqlite::memory:', log });
  authority = await openAuthority({ store, dir, log });
});
after(async () => {
  await authority[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});
const trustOf = (cas: readonly string[], more: Partial<ClientTrust> = {}): ClientTrust => ({
  ...{ mode: 'required', crls: [], crlGrace: 0, depth: 3, builtin: authority.trust().builtin },
  cas: [...authority.trust().cas, ...cas],
  ...more,
});

suite('names as openssl writes them', () => {
  const make = (mask: string, subject: string, extra = ''): Principal => {
    const config = `[req]\nprompt=no\nutf8=yes\nstring_mask=${mask}\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n${subject}\n[v3]\nbasicConstraints=CA:FALSE\n${extra}`;
    writeFileSync(join(dir, 'name.cnf'), config);
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'n.key',
      '-out',
      'n.pem',
      '-config',
      'name.cnf',
    );
    return principalOf(derBlocks(readFileSync(join(dir, 'n.pem')), 'CERTIFICATE')[0] ?? new Uint8Array(), trustOf([]));
  };

  test('every string type gives the same text', () => {
    for (const mask of ['utf8only', 'MASK:0x800', 'MASK:0x100']) {
      const { attributes } = make(mask, '0.OU=医療事業部\n1.OU=経理\nCN=太郎');
      assert.deepEqual([attributes.get('ou'), attributes.get('cn')], [['医療事業部', '経理'], ['太郎']], mask);
    }
    assert.deepEqual(make('MASK:0x4', 'CN=Büro').attributes.get('cn'), ['Büro']);
    assert.deepEqual(make('MASK:0x2', 'CN=Sales').attributes.get('cn'), ['Sales']);
  });

  test('a multi-valued RDN gives all its values', () => {
    const { attributes } = make('utf8only', 'CN=太郎\n+0.OU=甲\n1.OU=乙\nO=東都');
    assert.deepEqual([...(attributes.get('ou') ?? [])].sort(), ['乙', '甲']);
    assert.deepEqual(attributes.get('cn'), ['太郎']);
  });

  test('a forged CN stays a CN, and alternative names keep their kind', () => {
    const names =
      'subjectAltName=DNS:a.example,email:x@a.example,URI:https://a.example/,IP:192.0.2.1,IP:2001:db8::1,dirName:dn,otherName:1.2.3;UTF8:hi';
    const { attributes, id } = make('utf8only', 'CN=x\\,OU=医療事業部/OU=医療事業部', names);
    assert.deepEqual(attributes.get('cn'), ['x,OU=医療事業部/OU=医療事業部']);
    assert.deepEqual(attributes.get('ou'), []);
    assert.deepEqual(attributes.get('san'), [
      'DNS:a.example',
      'email:x@a.example',
      'URI:https://a.example/',
      'IP:192.0.2.1',
      'IP:2001:db8::1',
    ]);
    assert.equal(id, '');
  });
});

suite('lists as openssl signs them', () => {
  const kinds: [string, string[], string[]][] = [
    ['RSA with SHA-256', ['-newkey', 'rsa:2048'], ['-md', 'sha256']],
    ['RSA with SHA-512', ['-newkey', 'rsa:2048'], ['-md', 'sha512']],
    [
      'RSA-PSS',
      ['-newkey', 'rsa:2048'],
      ['-md', 'sha256', '-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:-1'],
    ],
    ['ECDSA P-384', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384'], ['-md', 'sha384']],
    ['Ed25519', ['-newkey', 'ed25519'], ['-md', 'default']],
  ];
  const list = (key: string[], signing: string[]): { ca: ReturnType<typeof parseCertificate>; crl: Buffer } => {
    writeFileSync(
      join(dir, 'ca.cnf'),
      '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_crl_days=7\n[req]\ndistinguished_name=dn\n[dn]\n',
    );
    writeFileSync(
      join(dir, 'index.txt'),
      'R\t300101000000Z\t260101000000Z,keyCompromise\t00C0FFEE\tunknown\t/CN=lost\n',
    );
    writeFileSync(join(dir, 'number'), '01\n');
    openssl(
      'req',
      '-x509',
      ...key,
      '-nodes',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
      '-subj',
      '/CN=Lists',
      '-config',
      'ca.cnf',
    );
    openssl(
      'ca',
      '-gencrl',
      ...signing,
      '-config',
      'ca.cnf',
      '-cert',
      'ca.pem',
      '-keyfile',
      'ca.key',
      '-out',
      'ca.crl',
    );
    const [der = new Uint8Array()] = derBlocks(readFileSync(join(dir, 'ca.pem')), 'CERTIFICATE');
    return { ca: parseCertificate(der), crl: readFileSync(join(dir, 'ca.crl')) };
  };

  for (const [name, key, signing] of kinds) {
    test(`${name} is checked against the CA`, () => {
      const { ca, crl } = list(key, signing);
      const [read] = parseCrls(crl);
      assert.ok(read?.isFrom(ca));
      assert.deepEqual([...(read?.revoked ?? [])], ['c0ffee']);
      assert.ok(!read?.isFrom(list(['-newkey', 'ed25519'], ['-md', 'default']).ca));
    });
  }

  test('a list signed with SHA-1 is refused with what is accepted', () => {
    const { ca, crl } = list(['-newkey', 'rsa:2048'], ['-md', 'sha1']);
    assert.throws(() => parseCrls(crl)[0]?.isFrom(ca), { code: 'invalid', message: /SHA-256 or better/ });
  });

  test('DER files and PEM files are both read', async () => {
    const { crl } = list(['-newkey', 'rsa:2048'], ['-md', 'sha256']);
    openssl('crl', '-in', 'ca.crl', '-outform', 'DER', '-out', 'ca.crl.der');
    openssl('x509', '-in', 'ca.pem', '-outform', 'DER', '-out', 'ca.der');
    const source = clientTrustSource(authority, {
      clients: ['builtin', 'file:ca.der'],
      crl: ['file:ca.crl.der'],
      'crl-grace': 0,
    });
    const read = async (reference: string): Promise<Buffer> => readFileSync(join(dir, reference.replace('file:', '')));
    const trust = await source.clients({ mode: 'required', depth: 3 }, read);
    assert.equal(trust.cas.length, 3);
    assert.deepEqual(parseCrls(trust.crls[0] ?? '')[0]?.revoked, parseCrls(crl)[0]?.revoked);
    // A route with CAs of its own does not inherit lists that belong to others.
    const own = await source.clients({ mode: 'optional', depth: 1, ca: ['builtin'] }, read);
    assert.deepEqual([own.cas.length, own.crls.length, own.builtin.length], [2, 0, 1]);
    const wrong = source.clients({ mode: 'optional', depth: 1, ca: ['file:ca.crl'] }, read);
    await assert.rejects(wrong, { code: 'invalid', message: /file:ca\.crl is not a CA certificate/ });
    const stray = source.clients({ mode: 'optional', depth: 1, ca: ['builtin'], crl: ['file:ca.crl'] }, read);
    await assert.rejects(stray, { code: 'invalid', message: /not among the trusted client CAs/ });
  });
});

suite('a door that asks for certificates', () => {
  const corp = makeCa('Corp Root', { key: 'ec' });
  const middle = corp.intermediate('Corp Issuing');
  let listener: Listener;
  let seen: Promise<Principal>[];
  afterEach(() => listener[Symbol.asyncDispose]());

  const open = async (trust: ClientTrust): Promise<number> => {
    const server = await authority.issueServer({ names: ['localhost'], key: 'ecdsa' });
    const upgrade = upgradeTls({
      identities: [{ cert: server.cert + server.chain.join(''), key: server.key }],
      clients: { mode: trust.mode, ca: [...trust.cas], depth: trust.depth },
      session: { tickets: true, cache: 0, timeout: 300_000 },
      ...{ context: 'test', handshake: 10_000 },
    });
    const identify = identifyByCertificate(trust);
    seen = [];
    listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
    const serve = async (raw: Conn): Promise<void> => {
      const signal = AbortSignal.timeout(10_000);
      const who = Promise.withResolvers<Principal>();
      who.promise.catch(() => {});
      seen.push(who.promise);
      try {
        const conn = await upgrade(raw, signal);
        who.resolve(await identify(conn, signal));
        conn.stream.end(conn.tls?.resumed ? 'resumed' : 'full');
        await conn.close(signal);
      } catch (error) {
        who.reject(error);
        raw.stream.destroy();
      }
    };
    void (async () => {
      for await (const conn of listener) void serve(conn);
    })();
    return 'port' in listener.address ? listener.address.port : 0;
  };
  const connect = async (
    port: number,
    identity: { cert: string; key: string },
    more: tls.ConnectionOptions = {},
  ): Promise<{ said: string; session: Buffer | undefined }> => {
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: authority.root().cert,
      ...identity,
      ...more,
    });
    let session: Buffer | undefined;
    socket.on('session', data => {
      session = data;
    });
    let said = '';
    socket.on('data', chunk => {
      said += chunk;
    });
    socket.on('error', () => {}); // a refused client is cut off
    await once(socket, 'close');
    return { said, session };
  };

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${version}: our user is our user and a foreign namesake is not, in full and resumed handshakes`, async () => {
      const port = await open(trustOf([corp.cert]));
      const mine = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
      const foreign = middle.issue({
        cn: 'alice',
        ou: '医療事業部',
        san: ['URI:sekisho:user/alice'],
        client: true,
        key: 'ec',
      });
      const cases: [{ cert: string; key: string }, string][] = [
        [{ cert: mine.cert + mine.chain.join(''), key: mine.key }, 'alice'],
        [{ cert: foreign.fullchain, key: foreign.key }, ''],
      ];
      for (const [identity, id] of cases) {
        const options = { minVersion: version, maxVersion: version };
        const first = await connect(port, identity, options);
        const second = await connect(port, identity, { ...options, session: first.session });
        assert.deepEqual([first.said, second.said], ['full', 'resumed']);
        for (const who of await Promise.all(seen.splice(0))) {
          assert.equal(who.id, id);
          assert.deepEqual(who.attributes.get('cn'), ['alice']);
        }
      }
    });
  }

  test('a revoked certificate is refused in full and resumed handshakes, by a list of openssl’s', async () => {
    const lost = middle.issue({ cn: 'lost', client: true, key: 'ec' });
    const kept = middle.issue({ cn: 'kept', client: true, key: 'ec' });
    // The issuing CA must be among the trusted ones, or nobody could check its list; and every CA needs one.
    const crls = [middle.crl({ revoked: [lost] }).pem, corp.crl({ revoked: [] }).pem];
    const port = await open(trustOf([corp.cert, middle.cert], { crls }));
    const first = await connect(port, { cert: lost.fullchain, key: lost.key });
    const again = await connect(port, { cert: lost.fullchain, key: lost.key }, { session: first.session });
    await connect(port, { cert: kept.fullchain, key: kept.key });
    const results = await Promise.allSettled(seen);
    assert.deepEqual(
      results.map(one => one.status),
      ['rejected', 'rejected', 'fulfilled'],
    );
    for (const one of results.slice(0, 2)) assert.match(String((one as PromiseRejectedResult).reason), /revoked/);
    assert.equal(again.said, '');
  });
});
