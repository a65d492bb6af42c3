// The CA keeps its keys, its numbers and its word over restarts, and its automatic certificates in good time.
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Authority, type AuthorityOptions, openAuthority } from './authority.ts';
import { parseCrl } from './crl.ts';
import { keyFiles, writeFolder, writeNew } from './key-files.ts';
import { derBlocks } from './pem.ts';
import { expiringWithin } from './renewable.ts';
import { openSealer } from './sealing.ts';
import { createServerCertificates } from './server-certificates.ts';

const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const day = 86_400_000;
const numberIn = async (authority: Authority): Promise<string> => {
  const { der } = await authority.crl();
  // cRLNumber: OID 2.5.29.20, OCTET STRING, INTEGER
  return /551d14040[3-9]02(\d\d)((?:..)+)/.exec(Buffer.from(der).toString('hex'))?.[2]?.slice(0, 2) ?? '';
};

suite('the authority', () => {
  let dir: string;
  let store: Store;
  let clock: TestClock;
  let open: (more?: Partial<AuthorityOptions>) => Promise<Authority>;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sekisho-authority-'));
    clock = new TestClock('2026-11-22T00:00:00Z');
    store = await openStore({ url: 'sqlite::memory:', log, clock });
    open = (more = {}) => openAuthority({ store, dir, clock, log, ...more });
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  test('the same CA is there after a restart, and what it issued and revoked', async () => {
    let fingerprint: string;
    let serial: string;
    {
      await using authority = await open();
      fingerprint = authority.root().fingerprint;
      serial = (await authority.issueClient({ user: 'alice', key: 'ecdsa' })).serial;
      await authority.revoke(serial, 'keyCompromise');
    }
    await using authority = await open();
    assert.equal(authority.root().fingerprint, fingerprint);
    assert.deepEqual(authority.show(serial).revoked, { at: clock.now(), reason: 'keyCompromise' });
    assert.equal(authority.list({ user: 'alice', revoked: true }).length, 1);
    assert.throws(() => authority.show('00'), { code: 'missing' });
    assert.ok(parseCrl((await authority.crl()).der).revoked.has(serial));
  });

  test('two who start at once end up with one CA', async () => {
    const both = await Promise.all([open(), open()]);
    assert.equal(both[0].root().fingerprint, both[1].root().fingerprint);
    for (const authority of both) await authority[Symbol.asyncDispose]();
    assert.deepEqual(
      (await readdir(dir)).filter(name => name.includes('.new')),
      [],
    );
  });

  test('no key file is ever overwritten', async () => {
    assert.equal(await writeNew(join(dir, 'a.key'), 'one'), true);
    assert.equal(await writeNew(join(dir, 'a.key'), 'two'), false);
    assert.equal(await readFile(join(dir, 'a.key'), 'utf8'), 'one');
    assert.equal(await writeFolder(join(dir, 'f'), { x: '1' }), true);
    assert.equal(await writeFolder(join(dir, 'f'), { x: '2', y: '2' }), false);
    assert.equal(await readFile(join(dir, 'f/x'), 'utf8'), '1');
    assert.deepEqual((await readdir(dir)).sort(), ['a.key', 'f']);
  });

  test('a damaged CA folder is refused with what to do, and left as it is', async () => {
    await (await open())[Symbol.asyncDispose]();
    const ca = join(dir, 'ca');
    await chmod(join(ca, 'issuing-1.key'), 0o640);
    await assert.rejects(open(), { code: 'invalid', message: /chmod 600/ });
    await chmod(join(ca, 'issuing-1.key'), 0o600);
    await rename(join(ca, 'issuing-1.key'), join(dir, 'kept'));
    await assert.rejects(open(), { code: 'invalid', message: /issuing-1\.key is missing; restore/ });
    await writeFile(join(ca, 'issuing-1.key'), await readFile(join(ca, 'root.key')), { mode: 0o600 });
    await assert.rejects(open(), { code: 'invalid', message: /does not belong to the certificate/ });
    await rm(join(ca, 'issuing-1.key'));
    await rename(join(dir, 'kept'), join(ca, 'issuing-1.key'));
    await rename(join(ca, 'root.crt'), join(ca, 'root.away'));
    await assert.rejects(open(), { code: 'invalid', message: /no root\.crt/ });
  });

  test('it works with the root key taken away, and a new issuing CA comes when it is time and the key is back', async () => {
    await (await open())[Symbol.asyncDispose]();
    await rename(join(dir, 'ca/root.key'), join(dir, 'offline.key'));
    let old: string;
    {
      await using authority = await open();
      old = (await authority.issueClient({ user: 'alice', key: 'ecdsa' })).serial;
    }
    clock.move(4.5 * 365 * day);
    await (await open())[Symbol.asyncDispose](); // still no new one, and no failure
    await rename(join(dir, 'offline.key'), join(dir, 'ca/root.key'));
    await writeFile(join(dir, 'ca/issuing-2.key'), 'a crash left this', { mode: 0o600 });
    await using authority = await open();
    const issued = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
    assert.equal(new X509Certificate(issued.cert).issuer, 'O=Sekisho\nCN=Sekisho Issuing CA 3');
    assert.equal(authority.trust().builtin.length, 2);
    // Each issuing CA has a list of its own.
    await authority.revoke(issued.serial);
    const lists = derBlocks((await authority.crl()).pem, 'X509 CRL').map(parseCrl);
    assert.deepEqual(
      lists.map(list => list.revoked.has(issued.serial)),
      [true, false],
    );
    assert.ok(authority.show(old));
  });

  test('a certificate never outlives its issuer, nor what was asked', async () => {
    await using authority = await open();
    const short = await authority.issueServer({ names: ['a.example'], days: 1, key: 'ecdsa' });
    assert.equal(short.notAfter.getTime(), clock.now().getTime() + day);
    const leaf = new X509Certificate(short.cert);
    assert.equal(leaf.validFromDate.getTime(), clock.now().getTime() - 300_000);
    const long = await authority.issueClient({ user: 'a', days: 3650, key: 'ecdsa' });
    assert.equal(long.notAfter.getTime(), new X509Certificate(authority.chain()[0] ?? '').validToDate.getTime());
    await assert.rejects(authority.issueServer({ names: ['a.example'], days: 826 }), {
      code: 'invalid',
      message: /825/,
    });
    for (const days of [0, -1, Number.NaN])
      await assert.rejects(authority.issueClient({ user: 'a', days }), { code: 'invalid' });
  });

  test('requests that make no sense are refused', async () => {
    await using authority = await open();
    await assert.rejects(authority.issueServer({ names: [] }), { code: 'invalid' });
    await assert.rejects(authority.issueServer({ names: ['a/b'] }), { code: 'invalid' });
    await assert.rejects(authority.issueClient({}), { code: 'invalid' });
    await assert.rejects(authority.issueClient({ user: 'a', device: 'b' }), { code: 'invalid' });
    await assert.rejects(authority.issueClient({ user: 'a', cn: 'x\n' }), { code: 'invalid' });
    for (const user of ['', 'a/b', '\ud800', 'a b'])
      await assert.rejects(authority.issueClient({ user }), { code: 'invalid' });
    await assert.rejects(authority.issueClient({ user: 'a', ou: ['x'.repeat(65)] }), { code: 'invalid' });
    await assert.rejects(authority.signCsr({ user: 'a', csr: 'nonsense' }), { code: 'invalid' });
    assert.equal(authority.list().length, 0);
  });

  test('revoking is told once, counts at once, and the list’s number only grows', async () => {
    const told: string[] = [];
    let last = 0;
    {
      await using authority = await open();
      authority.onRevoked(credential => told.push(credential));
      const [a, b] = [
        await authority.issueClient({ user: 'a', key: 'ecdsa' }),
        await authority.issueClient({ user: 'b', key: 'ecdsa' }),
      ];
      await Promise.all([authority.revoke(a.serial), authority.revoke(b.serial), authority.revoke(a.serial)]);
      assert.deepEqual(told.sort(), [`cert:${a.fingerprint}`, `cert:${b.fingerprint}`].sort());
      const { der } = await authority.crl();
      assert.deepEqual([...parseCrl(der).revoked].sort(), [a.serial, b.serial].sort());
      last = Number.parseInt(await numberIn(authority), 16);
      assert.ok(last >= 1);
    }
    await using authority = await open();
    assert.ok(Number.parseInt(await numberIn(authority), 16) > last);
  });

  test('the list is new every day, and good for a week', async () => {
    await using authority = await open();
    const first = parseCrl((await authority.crl()).der);
    assert.equal(first.nextUpdate.getTime() - first.thisUpdate.getTime(), 7 * day);
    clock.move(day);
    const second = parseCrl((await authority.crl()).der);
    assert.equal(second.thisUpdate.getTime() - first.thisUpdate.getTime(), day);
  });

  test('automatic certificates are kept over a restart, renewed at two thirds of their life, and replaced when revoked', async () => {
    await using authority = await open();
    const names = ['gate.example', 'localhost', '127.0.0.1', '::1'];
    const serials = (identities: readonly { cert: string }[]): string[] =>
      identities.map(one => new X509Certificate(one.cert).serialNumber);
    let first: string[];
    {
      await using certificates = createServerCertificates({ authority, dir, clock, log });
      const identities = await certificates.auto(names);
      assert.deepEqual(
        identities.map(one => createPrivateKey(one.key).asymmetricKeyType),
        ['rsa', 'ec'],
      );
      assert.equal(identities[0]?.cert.match(/BEGIN CERTIFICATE/g)?.length, 2);
      first = serials(identities);
      assert.deepEqual(serials(await certificates.auto([...names].reverse())), first);
      assert.notDeepEqual(serials(await certificates.auto(['other.example'])), first);
    }
    await using certificates = createServerCertificates({ authority, dir, clock, log });
    assert.deepEqual(serials(await certificates.auto(names)), first);
    for (const file of await readdir(join(dir, 'issued')))
      assert.equal((await stat(join(dir, 'issued', file))).mode & 0o777, 0o600);

    const changes = (count: number): Promise<void> =>
      new Promise(resolve => {
        let left = count;
        const stop = certificates.onChange(() => {
          left -= 1;
          if (left > 0) return;
          stop();
          resolve();
        });
      });
    clock.move(55 * day);
    assert.deepEqual(serials(await certificates.auto(names)), first);
    const renewed = changes(2);
    clock.move(6 * day);
    await renewed;
    const second = serials(await certificates.auto(names));
    assert.equal(second.filter(serial => first.includes(serial)).length, 0);
    const replaced = changes(1);
    await authority.revoke(second[0] ?? '');
    await replaced;
    const third = serials(await certificates.auto(names));
    assert.deepEqual([third[0] === second[0], third[1] === second[1]], [false, true]);
  });

  test('a backup is told of every key that cannot be made again, and of nothing else', async () => {
    assert.deepEqual(await keyFiles(dir), []);
    await using authority = await open();
    await openSealer(dir);
    await using certificates = createServerCertificates({ authority, dir, clock, log });
    await certificates.auto(['gate.example']);
    await writeFile(join(dir, 'ca/issuing-2.key.0123.new'), '');
    const files = ['ca/issuing-1.crt', 'ca/issuing-1.key', 'ca/root.crt', 'ca/root.key', 'secrets.key'];
    assert.deepEqual(await keyFiles(dir), files);
  });

  test('a renewal has the same holder and subject and lives as long; only what counts is renewed', async () => {
    await using authority = await open();
    const order = { user: 'alice', ou: ['医療事業部'], key: 'ecdsa' as const };
    const first = await authority.issueClient({ ...order, days: 30 });
    clock.move(20 * day);
    const second = await authority.issueClient({ ...order, replaces: first.serial });
    assert.equal(second.notAfter.getTime(), clock.now().getTime() + 30 * day);
    assert.equal(authority.show(second.serial).replaces, first.serial);
    const refused = (more: object): Promise<void> =>
      assert.rejects(authority.issueClient({ ...order, replaces: first.serial, ...more }), { code: 'conflict' });
    await refused({ ou: ['other'] });
    await refused({ user: 'bob' });
    await refused({ replaces: (await authority.issueServer({ names: ['a.example'], key: 'ecdsa' })).serial });
    await assert.rejects(authority.issueClient({ ...order, replaces: 'ff00' }), { code: 'missing' });
    clock.move(10 * day);
    await refused({});
    const third = await authority.issueClient({ ...order, replaces: second.serial });
    await authority.revoke(second.serial);
    assert.ok(authority.show(third.serial).revoked, 'with the line');
    assert.equal(authority.show(first.serial).revoked, undefined);
    await refused({ replaces: third.serial });
  });

  test('who renews while their certificate is revoked ends up without any', async () => {
    await using authority = await open();
    const first = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
    const renewing = Array.from({ length: 4 }, () =>
      authority.issueClient({ user: 'alice', key: 'ecdsa', replaces: first.serial }),
    );
    await Promise.allSettled([renewing[0], authority.revoke(first.serial), ...renewing]);
    assert.equal(authority.list({ user: 'alice', revoked: false }).length, 0);
  });

  test('a holder renews ten times a day at most', async () => {
    await using authority = await open();
    let { serial } = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
    const renew = () => authority.issueClient({ user: 'alice', key: 'ecdsa', replaces: serial });
    for (let i = 0; i < 10; i++) ({ serial } = await renew());
    await assert.rejects(renew(), { code: 'limit' });
    clock.move(day + 300_000);
    await renew();
  });

  test('what ends soon is listed by its end, without what has a successor', async () => {
    await using authority = await open();
    const make = (user: string, days: number, more = {}) =>
      authority.issueClient({ user, days, key: 'ecdsa', ...more });
    const [old] = [await make('renewed', 5), await make('b', 9), await make('a', 3), await make('far', 90)];
    await make('renewed', 90, { replaces: old.serial });
    await make('again', 4);
    await make('again', 90);
    await make('other-subject', 8);
    await make('other-subject', 90, { ou: ['x'] });
    await authority.revoke((await make('revoked', 2)).serial);
    const names = (within: number): string[] =>
      expiringWithin(authority.list(), clock.now(), within).map(({ name }) => name);
    assert.deepEqual(names(30 * day), ['a', 'other-subject', 'b']);
    assert.deepEqual(names(3 * day), ['a']);
    clock.move(3 * day);
    assert.deepEqual(names(30 * day), ['other-subject', 'b']);
  });

  test('a prepared root that is abandoned counts no more, is kept aside, and the next attempt is another', async () => {
    const told: string[] = [];
    let first: string;
    let second: string;
    {
      await using authority = await open();
      authority.onRotated(step => told.push(step));
      const before = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
      await assert.rejects(authority.rotate('abandon'), { code: 'conflict' });
      const { cert: present } = authority.root();
      await authority.rotate('prepare');
      first = authority.roots()[1]?.fingerprint ?? '';
      assert.equal(authority.crosses().length, 1);
      assert.equal(authority.trust().builtin.length, 2);
      await authority.rotate('abandon');
      assert.deepEqual(
        authority.roots().map(({ cert }) => cert),
        [present],
      );
      assert.deepEqual([authority.crosses(), authority.trust().builtin.length], [[], 1]);
      assert.equal(authority.rotation().stage, 'steady');
      assert.equal(authority.isFormer(`cert:${before.fingerprint}`), false, 'what was issued before goes on');
      assert.equal(authority.isBuiltin(authority.record(`cert:${before.fingerprint}`)?.issuer ?? ''), true);
      await authority.issueClient({ user: 'bob', key: 'ecdsa' });
      await assert.rejects(authority.rotate('abandon'), { code: 'conflict' });
      const aside = await readdir(join(dir, 'ca/retired'));
      assert.deepEqual(aside.sort(), [
        ...['cross-2.crt', 'issuing-2.crt', 'issuing-2.key'],
        ...['root-2.crt', 'root-2.key'],
      ]);
      await authority.rotate('prepare');
      second = authority.roots()[1]?.fingerprint ?? '';
    }
    assert.notEqual(first, second);
    assert.deepEqual(told, ['prepare', 'abandon', 'prepare']);
    await using authority = await open();
    assert.deepEqual(
      authority.roots().map(({ fingerprint }) => fingerprint),
      [authority.root().fingerprint, second],
    );
    await authority.rotate('switch');
    await assert.rejects(authority.rotate('abandon'), { code: 'conflict' });
  });

  test('with the root key offline the next root is made uncertified, which is said; put back, it certifies', async () => {
    await open().then(authority => authority[Symbol.asyncDispose]());
    const away = join(dir, 'root.key');
    await rename(join(dir, 'ca/root.key'), away);
    const warned: string[] = [];
    const loud: Log = { ...log, child: () => loud, warn: (_facts, text) => void warned.push(String(text)) };
    await using authority = await open({ log: loud });
    assert.equal(authority.rotation().hasRootKey, false);
    await authority.rotate('prepare');
    assert.match(warned.join(), /root key is offline, so the next root is not certified/);
    assert.deepEqual([authority.rotation().stage, authority.rotation().hasCross], ['prepared', false]);
    assert.equal(authority.crosses().length, 0);
    assert.equal(authority.roots().length, 2, 'both count nevertheless');
    // The way back, and again with the key: nothing of the first attempt is left.
    await authority.rotate('abandon');
    await rename(away, join(dir, 'ca/root.key'));
    await using again = await open();
    assert.equal(again.rotation().hasRootKey, true);
    await again.rotate('prepare');
    assert.equal(again.rotation().hasCross, true);
    // Certified by the present root, as OpenSSL judges it.
    const [cross = ''] = again.crosses();
    const issued = new X509Certificate(cross);
    assert.ok(issued.verify(new X509Certificate(again.root().cert).publicKey));
    // Offline once more: the step needs no key of the former root.
    await rename(join(dir, 'ca/root.key'), away);
    await using third = await open();
    await third.rotate('switch');
    const { cert, chain } = await third.issueServer({ names: ['gate.example.com'], key: 'ecdsa' });
    assert.ok(new X509Certificate(cert).verify(new X509Certificate(chain[0] ?? '').publicKey));
    assert.ok(new X509Certificate(chain[0] ?? '').verify(issued.publicKey), 'under the next root');
    await third.rotate('retire');
    assert.deepEqual([third.rotation().stage, third.roots().length], ['steady', 1]);
    // And the next round without a key is told apart from the one before, whose certificate still lies there.
    await rename(join(dir, 'ca/root-3.key'), join(dir, 'root-3.key'));
    await using fourth = await open();
    await fourth.rotate('prepare');
    assert.equal(fourth.rotation().hasCross, false);
  });
});
