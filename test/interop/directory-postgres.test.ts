// The directory and the CA on PostgreSQL: what SQLite promises, it promises too.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openStore } from '../../src/store/index.ts';
import { createDirectory, openAuthority } from '../../src/trust/index.ts';
import { memoryLog } from '../fixtures/quiet.ts';
import { type Postgres, postgresBin, startPostgres } from './postgres.ts';

const log = memoryLog();

describe('trust on PostgreSQL', { skip: postgresBin() ? false : 'PostgreSQL is not installed' }, () => {
  let server: Postgres;
  let dir: string;
  before(async () => {
    server = startPostgres();
    dir = await mkdtemp(join(tmpdir(), 'sekisho-trust-pg-'));
  });
  after(async () => {
    server[Symbol.dispose]();
    await rm(dir, { recursive: true });
  });

  test('users, credentials, codes and certificates live through a restart and end together', async () => {
    const url = server.database();
    let token: string;
    let serial: string;
    {
      await using store = await openStore({ url, log });
      await using authority = await openAuthority({ store, dir, log });
      const directory = await createDirectory({ store, dir, authority, log });
      await directory.add({ name: '太郎', roles: ['operator'], groups: ['医療', 'ops'] });
      await assert.rejects(directory.add({ name: '太郎' }), { code: 'conflict' });
      await directory.setPassword('太郎', 'first password');
      await directory.setPassword('太郎', 'second password');
      token = (await directory.addToken({ user: '太郎', scope: ['*'] })).token;
      const key = await directory.addAccessKey({ user: '太郎' });
      assert.ok(directory.checkAccessKey(key.id, secret => secret === key.secretAccessKey));
      const { code } = await directory.addCode({ purpose: 'login', name: '太郎' });
      const spent = await Promise.all(Array.from({ length: 8 }, () => directory.spendCode('login', code)));
      assert.equal(spent.filter(one => one !== undefined).length, 1);
      serial = (await authority.issueClient({ user: '太郎', key: 'ecdsa' })).serial;
      await authority.crl();
      await authority.crl();
    }
    await using store = await openStore({ url, log });
    await using authority = await openAuthority({ store, dir, log });
    const directory = await createDirectory({ store, dir, authority, log });
    assert.deepEqual(directory.get('太郎').groups, ['ops', '医療']);
    assert.equal(await directory.checkPassword('太郎', 'first password'), undefined);
    assert.equal((await directory.checkPassword('太郎', 'second password'))?.id, '太郎');
    assert.equal(directory.findToken(token)?.id, '太郎');
    await directory.leave('ops', '太郎');
    await directory.remove('太郎');
    assert.equal(directory.findToken(token), undefined);
    assert.ok(authority.show(serial).revoked);
    const rows = await store.db.selectFrom('token').selectAll().execute();
    assert.deepEqual(rows, []);
  });
});
