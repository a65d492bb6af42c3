// What users prove themselves with, and that it stops counting at once when it should.
import assert from 'node:assert/strict';
import { argon2Sync } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, mock, suite, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { Fault } from '../core/fault.ts';
import type { Address, Claim, Log, Principal } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import {
  type Authority,
  type ClientTrust,
  certificateChecker,
  createAuthenticator,
  createDirectory,
  createLimiter,
  type Directory,
  localAdministrator,
  openAuthority,
  trustConfig,
} from './index.ts';
import { derBlocks } from './pem.ts';
import { sealerWith } from './sealing.ts';

const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const from: Address = { host: '203.0.113.7', port: 4000 };
const signal = AbortSignal.timeout(60_000);

suite('the directory', () => {
  let dir: string;
  let clock: TestClock;
  let store: Store;
  let authority: Authority;
  let directory: Directory;
  let prove: (claim: Claim) => Promise<Principal>;
  let ended: string[];

  const open = async (): Promise<void> => {
    authority = await openAuthority({ store, dir, log, clock });
    const device = (name: string): string | undefined => (name === 'pump-7' ? name : undefined);
    directory = await createDirectory({ store, dir, authority, log, clock, device, idle: () => 3_600_000 });
    const limiter = createLimiter(trustConfig.parse({})['rate-limit']);
    const trust: ClientTrust = { mode: 'optional', ...authority.trust(), crls: [], crlGrace: 0, depth: 3 };
    const checker = certificateChecker(trust, clock);
    const authenticator = createAuthenticator({ directory, limiter, certificates: () => checker, log });
    prove = claim => authenticator.prove(claim, signal);
    ended = [];
    directory.onRevoked(credential => ended.push(credential));
  };
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sekisho-directory-'));
    clock = new TestClock('2026-11-22T00:00:00Z');
    store = await openStore({ url: `sqlite:${join(dir, 'gate.db')}`, log, clock });
    await open();
  });
  afterEach(async () => {
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });
  const password = (user: string, text: string): Claim => ({ kind: 'password', user, password: text, from });
  const token = (text: string): Claim => ({ kind: 'token', token: text, from });
  const unknown = { code: 'unknown-caller' };

  test('a browser that was left alone is signed out, one that is used goes on, and programs are let be', async () => {
    await directory.add({ name: 'alice' });
    const add = (bound: string) => directory.addToken({ user: 'alice', kind: 'login', for: 12 * 3_600_000, bound });
    const [used, left, program] = [await add('x'), await add('y'), await add('')];
    for (let minutes = 0; minutes < 120; minutes += 30) {
      clock.move(30 * 60_000);
      assert.ok(directory.findToken(used.token), `${minutes} minutes`);
    }
    assert.equal(directory.findToken(left.token), undefined);
    assert.ok(directory.findToken(program.token));
    clock.move(61 * 60_000);
    assert.equal(directory.findToken(used.token), undefined);
  });

  test('a password proves its user, with roles and groups, and a wrong one says no more than no', async () => {
    await directory.add({ name: 'alice', roles: ['operator'], groups: ['ops', 'night'] });
    await directory.setPassword('alice', 'correct horse');
    const who = await prove(password('alice', 'correct horse'));
    assert.equal(who.kind, 'user');
    assert.equal(who.id, 'alice');
    assert.deepEqual(who.groups, ['night', 'ops', 'role:operator']);
    const texts = new Set<string>();
    for (const claim of [password('alice', 'wrong horse'), password('nobody', 'correct horse')]) {
      await prove(claim).catch((error: Error) => texts.add(error.message));
    }
    assert.equal(texts.size, 1);
  });

  test('a new password ends the old one’s sessions and sign-ins, but not API tokens', async () => {
    await directory.add({ name: 'alice' });
    await directory.setPassword('alice', 'first password');
    const before = await prove(password('alice', 'first password'));
    const login = await directory.addToken({ user: 'alice', kind: 'login' });
    const api = await directory.addToken({ user: 'alice', scope: ['session.*'] });
    await directory.setPassword('alice', 'second password');
    assert.deepEqual(ended.sort(), [before.credential, `token:${login.id}`].sort());
    assert.throws(() => directory.standing(before), unknown);
    await assert.rejects(prove(password('alice', 'first password')), unknown);
    await assert.rejects(prove(token(login.token)), unknown);
    assert.equal((await prove(token(api.token))).id, 'alice');
  });

  test('a password that was hashed more weakly is hashed anew when it is used, and nobody is signed out', async () => {
    await directory.add({ name: 'alice' });
    await directory.setPassword('alice', 'correct horse');
    const cost = { parallelism: 1, memory: 1024, passes: 1, tagLength: 32 };
    const hash = argon2Sync('argon2id', { ...cost, message: 'correct horse', nonce: 'saltsaltsaltsalt' });
    const base64 = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');
    const weak = `$argon2id$v=19$m=1024,t=1,p=1$${base64(Buffer.from('saltsaltsaltsalt'))}$${base64(hash)}`;
    await store.db.updateTable('password').set({ hash: weak }).execute();
    await authority[Symbol.asyncDispose]();
    await open();
    const who = await prove(password('alice', 'correct horse'));
    const row = await store.db.selectFrom('password').selectAll().executeTakeFirstOrThrow();
    assert.match(row.hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    assert.equal(directory.standing(who).id, 'alice');
    assert.equal((await prove(password('alice', 'correct horse'))).credential, who.credential);
    assert.deepEqual(ended, []);
  });

  test('a token carries its scope, ends at its end, and is nowhere to be read', async () => {
    await directory.add({ name: 'robot' });
    const made = await directory.addToken({ user: 'robot', scope: ['cert.*', 'audit.search'], for: 3_600_000 });
    const who = await prove(token(made.token));
    assert.deepEqual([who.kind, who.id], ['user', 'robot']);
    assert.deepEqual(who.attributes.get('scope'), ['cert.*', 'audit.search']);
    assert.doesNotMatch((await readFile(join(dir, 'gate.db'))).toString('latin1'), new RegExp(made.token));
    clock.move(3_600_000);
    assert.throws(() => directory.standing(who), unknown);
    await assert.rejects(prove(token(made.token)), unknown);
    await assert.rejects(directory.addToken({ user: 'robot', scope: ['*.*'] }), { code: 'invalid' });
  });

  test('an access key’s secret is encrypted at rest, survives a restart and proves by signing', async () => {
    await directory.add({ name: 'operator1', roles: ['operator'] });
    const made = await directory.addAccessKey({ user: 'operator1' });
    assert.match(made.id, /^AKIA[A-Z2-7]{16}$/);
    assert.equal(made.secretAccessKey.length, 40);
    const claim = (secret: string): Claim => ({
      kind: 'access-key',
      accessKeyId: made.id,
      verify: text => text === secret,
      from,
    });
    await authority[Symbol.asyncDispose]();
    await open();
    assert.equal((await prove(claim(made.secretAccessKey))).id, 'operator1');
    await assert.rejects(prove(claim('other')), unknown);
    for (const file of ['gate.db', 'gate.db-wal']) {
      assert.doesNotMatch(
        (await readFile(join(dir, file))).toString('latin1'),
        new RegExp(made.secretAccessKey.slice(0, 12).replace(/\+/g, '\\+')),
      );
    }
    assert.equal((await stat(join(dir, 'secrets.key'))).mode & 0o777, 0o600);
    await directory.revokeAccessKey(made.id);
    assert.deepEqual(ended, [`key:${made.id}`]);
    await assert.rejects(prove(claim(made.secretAccessKey)), unknown);
  });

  test('of many who spend one code at once, one gets it, and only for its purpose and in its time', async () => {
    await directory.add({ name: 'alice' });
    const code = (text: string, purpose = 'login'): Claim => ({ kind: 'code', purpose, code: text, from });
    const made = await directory.addCode({ purpose: 'login', name: 'alice' });
    await assert.rejects(prove(code(made.code, 'enrol')), unknown);
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => prove(code(made.code))));
    assert.equal(tries.filter(one => one.status === 'fulfilled').length, 1);
    const late = await directory.addCode({ purpose: 'login', name: 'alice' });
    clock.move(15 * 60_000);
    await assert.rejects(prove(code(late.code)), unknown);
    const device = await directory.addCode({ purpose: 'enrol', kind: 'device', name: 'pump-7' });
    const who = await prove(code(device.code, 'enrol'));
    assert.deepEqual([who.kind, who.id], ['device', 'pump-7']);
  });

  test('a certificate of ours names its user, until it is revoked, ends, or the user goes', async () => {
    await directory.add({ name: 'alice', groups: ['ops'] });
    const issued = await authority.issueClient({ user: 'alice', ou: ['医療事業部'], key: 'ecdsa', days: 10 });
    const [leaf = new Uint8Array()] = derBlocks(issued.cert, 'CERTIFICATE');
    const who = await prove({ kind: 'certificate', leaf, from });
    assert.deepEqual([who.id, who.groups, who.attributes.get('ou')], ['alice', ['ops', 'role:member'], ['医療事業部']]);
    await authority.revoke(issued.serial);
    assert.deepEqual(ended, [`cert:${issued.fingerprint}`]);
    assert.throws(() => directory.standing(who), unknown);
    const second = await authority.issueClient({ user: 'alice', key: 'ecdsa', days: 10 });
    const again = { ...who, credential: `cert:${second.fingerprint}` };
    assert.equal(directory.standing(again).id, 'alice');
    // The record belongs to alice; nobody else can stand on it.
    await directory.add({ name: 'bob' });
    assert.throws(() => directory.standing({ ...again, id: 'bob' }), unknown);
    clock.move(11 * 86_400_000);
    assert.throws(() => directory.standing(again), unknown);
  });

  test('a removed user takes every credential along, and a namesake inherits none', async () => {
    await directory.add({ name: 'alice', roles: ['admin'], groups: ['ops'] });
    await directory.setPassword('alice', 'correct horse');
    const held = await directory.addToken({ user: 'alice', scope: ['*'] });
    const key = await directory.addAccessKey({ user: 'alice' });
    const code = await directory.addCode({ purpose: 'login', name: 'alice' });
    const issued = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
    const [leaf = new Uint8Array()] = derBlocks(issued.cert, 'CERTIFICATE');
    const who = await prove(token(held.token));
    await directory.remove('alice');
    for (const credential of [`token:${held.id}`, `key:${key.id}`, `cert:${issued.fingerprint}`])
      assert.ok(ended.includes(credential), credential);
    await directory.add({ name: 'alice' });
    assert.throws(() => directory.standing(who), unknown);
    await assert.rejects(prove(token(held.token)), unknown);
    await assert.rejects(prove(password('alice', 'correct horse')), unknown);
    await assert.rejects(prove({ kind: 'code', purpose: 'login', code: code.code, from }), unknown);
    await assert.rejects(prove({ kind: 'certificate', leaf, from }), unknown);
    assert.deepEqual(directory.groups(), []);
  });

  test('a disabled user is nobody until enabled again', async () => {
    await directory.add({ name: 'alice' });
    const held = await directory.addToken({ user: 'alice', scope: ['*'] });
    const who = await prove(token(held.token));
    await directory.change('alice', { state: 'disabled' });
    assert.deepEqual(ended, [`token:${held.id}`]);
    assert.throws(() => directory.standing(who), unknown);
    await assert.rejects(prove(token(held.token)), unknown);
    await directory.change('alice', { state: 'active' });
    assert.equal(directory.standing(who).id, 'alice');
  });

  test('everything is there again after a restart', async () => {
    await directory.add({ name: 'さくら', display: 'Sakura', roles: ['auditor', 'member'], groups: ['医療'] });
    await directory.setPassword('さくら', 'パスワード一二三');
    const held = await directory.addToken({ user: 'さくら', scope: ['audit.*'] });
    await authority[Symbol.asyncDispose]();
    await open();
    assert.deepEqual(directory.get('さくら').groups, ['医療']);
    assert.deepEqual(directory.get('さくら').roles, ['auditor', 'member']);
    assert.equal((await prove(password('さくら', 'パスワード一二三'))).id, 'さくら');
    assert.deepEqual((await prove(token(held.token))).groups, ['医療', 'role:auditor', 'role:member']);
  });

  test('groups come with their first member and go with their last', async () => {
    await directory.add({ name: 'alice' });
    const twice = await Promise.all([directory.join('ops', 'alice'), directory.join('ops', 'alice')]);
    assert.deepEqual(twice[1], { name: 'ops', members: ['alice'] });
    assert.deepEqual(directory.groups(), [{ name: 'ops', members: ['alice'] }]);
    await assert.rejects(directory.join('role:admin', 'alice'), { code: 'invalid' });
    const less: string[] = [];
    const stop = directory.onLess(user => less.push(user));
    await directory.leave('ops', 'alice');
    await directory.change('alice', { roles: ['member'] });
    await directory.change('alice', { display: 'Alice' });
    assert.deepEqual(less, ['alice', 'alice']);
    stop();
    assert.deepEqual(directory.groups(), []);
    await assert.rejects(directory.leave('ops', 'alice'), { code: 'missing' });
  });

  test('names that look alike, or cannot stand in a URL, are refused', async () => {
    const both = await Promise.allSettled([directory.add({ name: 'alice' }), directory.add({ name: 'alice' })]);
    assert.deepEqual(both.map(one => (one.status === 'rejected' ? (one.reason as Fault).code : 'added')).sort(), [
      'added',
      'conflict',
    ]);
    for (const name of [
      'alice',
      'ａｌｉｃｅ',
      'a/b',
      'a b',
      '',
      '*',
      '../x',
      'role:admin',
      'a\u0000',
      `a${'b'.repeat(63)}`,
    ]) {
      await assert.rejects(directory.add({ name }), /conflict|cannot be a user|already/, name);
    }
    await assert.rejects(directory.add({ name: 'bob', roles: ['root' as 'admin'] }), { code: 'invalid' });
  });

  test('standing lets nobody through on a made-up credential', () => {
    const make = (kind: Principal['kind'], id: string, credential: string): Principal => ({
      kind,
      id,
      credential,
      groups: [],
      attributes: new Map(),
    });
    const made = [
      make('user', 'alice', ''),
      make('user', 'alice', 'cert:00'),
      make('device', '', 'cert:00'),
      make('user', '', 'token:x'),
      make('user', 'alice', 'code:x'),
      make('user', 'alice', 'local'),
      make('user', '', 'constructor:x'),
      make('anonymous', '', 'token:x'),
      make('token', 'alice', 'token:x'),
      make('node', '', 'node:x'),
    ];
    for (const who of made) assert.throws(() => directory.standing(who), unknown, who.credential);
    assert.equal(directory.standing(make('anonymous', '', '')).kind, 'anonymous');
    assert.equal(directory.standing(make('user', '', 'cert:00')).id, ''); // a foreign CA's certificate
    assert.deepEqual(directory.standing(localAdministrator).groups, ['role:admin']);
  });

  test('too many wrong passwords shut out the address and the name, and say until when', async () => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.parse('2026-11-22T00:00:00Z') });
    try {
      await directory.add({ name: 'alice' });
      await directory.setPassword('alice', 'correct horse');
      const at = (host: string, text: string): Promise<Principal> =>
        prove({ ...password('alice', text), from: { host, port: 1 } });
      for (let i = 0; i < 9; i += 1) await assert.rejects(at(`198.51.100.${i}`, 'wrong'), unknown);
      await at('198.51.100.200', 'correct horse'); // in time: forgotten
      for (let i = 0; i < 10; i += 1) await assert.rejects(at(`198.51.100.${i}`, 'wrong'), unknown);
      await assert.rejects(at('198.51.100.99', 'correct horse'), { code: 'limit', message: /try again in 600 s/ });
      assert.equal((await at('198.51.100.200', 'correct horse')).id, 'alice', 'not where she has signed in before');
      mock.timers.tick(600_000);
      assert.equal((await at('198.51.100.99', 'correct horse')).id, 'alice');
    } finally {
      mock.timers.reset();
    }
  });

  test('wrong proofs of every kind are limited by address, an IPv6 /64 as one; right ones that nobody guesses pass', async () => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.parse('2026-11-22T00:00:00Z') });
    try {
      await directory.add({ name: 'alice' });
      const good = await directory.addToken({ user: 'alice', scope: ['*'] });
      const host = (i: number): Address => ({ host: `2001:db8:0:1::${(i + 1).toString(16)}`, port: 1 });
      for (let i = 0; i < 10; i += 1) {
        await assert.rejects(prove({ ...token('sks_wrong'), from: host(i) }), unknown);
        await assert.rejects(prove({ kind: 'code', purpose: 'login', code: 'skc_wrong', from: host(i) }), unknown);
        await assert.rejects(
          prove({ kind: 'access-key', accessKeyId: `AKIA${i}`, verify: () => false, from: host(i) }),
          unknown,
        );
      }
      const limited = { code: 'limit' };
      await assert.rejects(prove({ ...token('sks_wrong'), from: host(999) }), limited);
      await assert.rejects(prove({ ...password('alice', 'correct horse'), from: host(999) }), limited);
      assert.equal((await prove({ ...token(good.token), from: host(999) })).id, 'alice');
      const code = await directory.addCode({ purpose: 'login', name: 'alice' });
      assert.equal((await prove({ kind: 'code', purpose: 'login', code: code.code, from: host(999) })).id, 'alice');
      await assert.rejects(prove({ kind: 'code', purpose: 'login', code: code.code, from: host(999) }), limited);
      // Who knows a key's id, which is no secret, cannot lock its owner out by wrong signatures from anywhere.
      const key = await directory.addAccessKey({ user: 'alice' });
      const signed = (fits: boolean, from: string) =>
        prove({ kind: 'access-key', accessKeyId: key.id, verify: () => fits, from: { host: from, port: 1 } });
      for (let i = 0; i < 10; i += 1) await assert.rejects(signed(false, `198.51.100.${i}`), unknown);
      await assert.rejects(signed(false, '198.51.100.77'), limited);
      assert.equal((await signed(true, '198.51.100.77')).id, 'alice');
      // Good proofs cost nothing, however many.
      for (let i = 0; i < 100; i += 1) await prove(token(good.token));
    } finally {
      mock.timers.reset();
    }
  });
});

test('a sealed secret opens under its own key and for its own row only', () => {
  const sealer = sealerWith(Buffer.alloc(32, 1));
  const sealed = sealer.seal('秘密', 'access-key:A');
  assert.equal(sealer.unseal(sealed, 'access-key:A'), '秘密');
  assert.throws(() => sealer.unseal(sealed, 'access-key:B'), { code: 'invalid' });
  assert.throws(() => sealerWith(Buffer.alloc(32, 2)).unseal(sealed, 'access-key:A'), { code: 'invalid' });
  assert.throws(() => sealer.unseal(`${sealed.slice(0, -2)}AA`, 'access-key:A'), { code: 'invalid' });
});

test('a secrets.key that others can read is refused with what to do', async () => {
  const { openSealer } = await import('./sealing.ts');
  const dir = await mkdtemp(join(tmpdir(), 'sekisho-seal-'));
  try {
    await writeFile(join(dir, 'secrets.key'), Buffer.alloc(32), { mode: 0o644 });
    await assert.rejects(openSealer(dir), { code: 'invalid', message: /chmod 600/ });
  } finally {
    await rm(dir, { recursive: true });
  }
});
