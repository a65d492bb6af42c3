// Issuing for somebody new: the user comes with the certificate, or not at all.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryLog } from '../../test/fixtures/quiet.ts';
import { TestClock } from '../core/clock.ts';
import { openStore } from '../store/index.ts';
import { createDirectory, openAuthority } from '../trust/index.ts';
import { caWarnings, knowingUsers } from './gateway-parts.ts';

test('a certificate brings its user; an order that is refused, or a user that cannot be, leaves nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-issue-'));
  const log = memoryLog();
  await using store = await openStore({ url: 'sqlite::memory:', log });
  await using authority = await openAuthority({ store, dir, log });
  const directory = await createDirectory({ store, dir, authority, log });
  const issuing = knowingUsers(authority, directory);

  await assert.rejects(issuing.issueClient({ user: 'bob', ou: ['a\nb'] }), { code: 'invalid' });
  await assert.rejects(issuing.signCsr({ user: 'bob', csr: 'no request' }));
  assert.equal(directory.find('bob'), undefined);

  await issuing.issueClient({ user: 'bob' });
  assert.equal(directory.find('bob')?.state, 'active');

  const full = knowingUsers(authority, { ensure: () => Promise.reject(new Error('the disk is full')) });
  await assert.rejects(full.issueClient({ user: 'carol' }), /disk is full/);
  assert.ok(authority.list({ user: 'carol' }).every(record => record.revoked));
  rmSync(dir, { recursive: true, force: true });
});

test('whoever was removed is not brought back by the renewal of their certificate', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-renewal-'));
  const log = memoryLog();
  await using store = await openStore({ url: 'sqlite::memory:', log });
  await using authority = await openAuthority({ store, dir, log });
  const directory = await createDirectory({ store, dir, authority, log });
  const issuing = knowingUsers(authority, directory);
  const { serial } = await issuing.issueClient({ user: 'bob', key: 'ecdsa' });
  await Promise.allSettled([
    issuing.issueClient({ user: 'bob', key: 'ecdsa', replaces: serial }),
    directory.remove('bob'),
  ]);
  assert.equal(directory.find('bob'), undefined);
  assert.ok(authority.list({ user: 'bob' }).every(record => record.revoked));
  rmSync(dir, { recursive: true, force: true });
});

const day = 86_400_000;
const year = 365 * day;

test('the CA is spoken of 18 months before its root ends and half a year before its issuing CA does', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-ends-'));
  const [log, clock] = [memoryLog(), new TestClock('2026-11-22T00:00:00Z')];
  await using store = await openStore({ url: 'sqlite::memory:', log, clock });
  const said = async (): Promise<string[]> => {
    await using authority = await openAuthority({ store, dir, log, clock });
    return caWarnings(authority, clock.now());
  };
  await using running = await openAuthority({ store, dir, log, clock });
  const { root, issuing } = running.rotation().ends;
  const before = (end: Date, ms: number): Date => new Date(end.getTime() - ms);

  assert.deepEqual(caWarnings(running, before(issuing, year / 2)), []);
  const late = caWarnings(running, before(issuing, year / 2 - 1));
  assert.match(late.join(), /^the issuing CA ends on 2031-\d\d-\d\d; restart the gate, with ca\/root\.key in place/);
  // Doing so ends the warning.
  clock.move(issuing.getTime() - clock.now().getTime() - year / 2 + 1);
  assert.deepEqual(await said(), []);

  clock.move(before(root, 1.5 * year).getTime() - clock.now().getTime());
  assert.deepEqual(await said(), []);
  clock.move(1);
  assert.match((await said()).join(), /^the gate's root CA ends on 2036-\d\d-\d\d; roll the next one out/);
  {
    await using authority = await openAuthority({ store, dir, log, clock });
    await authority.rotate('prepare');
    assert.match(caWarnings(authority, clock.now()).join(), /^the next root CA is prepared and does not issue yet/);
    await authority.rotate('abandon');
    assert.match(caWarnings(authority, clock.now()).join(), /root CA ends on/);
    await authority.rotate('prepare');
    await authority.rotate('switch');
    assert.match(caWarnings(authority, clock.now()).join(), /^the former root CA still counts, for 0 certificates/);
    await authority.rotate('retire');
    assert.deepEqual(caWarnings(authority, clock.now()), []);
  }
  assert.deepEqual(await said(), [], 'after a restart as well');
  rmSync(dir, { recursive: true, force: true });
});
