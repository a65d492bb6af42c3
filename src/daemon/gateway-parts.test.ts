// Issuing for somebody new: the user comes with the certificate, or not at all.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryLog } from '../../test/fixtures/quiet.ts';
import { openStore } from '../store/index.ts';
import { createDirectory, openAuthority } from '../trust/index.ts';
import { knowingUsers } from './gateway-parts.ts';

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
