// The rows of endpoints on PostgreSQL: what SQLite keeps, it keeps too.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Endpoint, endpointStore } from '../../src/features/endpoint/index.ts';
import { openStore } from '../../src/store/index.ts';
import { memoryLog } from '../fixtures/quiet.ts';
import { type Postgres, postgresBin, startPostgres } from './postgres.ts';

const log = memoryLog();
const start = Date.parse('2026-11-22T09:00:00Z');

const endpoint = (id: string, more: Partial<Endpoint> = {}): Endpoint => ({
  id,
  state: 'open',
  created: start,
  opened: start + 1,
  until: start + 1_800_000,
  ended: undefined,
  cause: undefined,
  owner: { kind: 'user', id: '太郎', credential: 'token:1', groups: [], from: '203.0.113.7:4000' },
  target: 'device://pump-7/ssh',
  resource: 'device/pump-7/ssh',
  wanted: 1_800_000,
  reason: '弁が動かない',
  tls: 'end',
  port: 21_000,
  name: `${id}.ep.gate.test`,
  limits: {
    ...{ sources: ['203.0.113.7/32'], latch: true, once: false, connections: 5, idle: 0, rate: 0, perMinute: 0 },
    ...{ certificate: false, users: [], signIn: true, drain: false },
  },
  latched: undefined,
  used: false,
  approval: undefined,
  session: 's-1',
  napter: { simId: '89', port: 22, strategy: 'DYNAMIC' },
  ...more,
});

describe('endpoints on PostgreSQL', { skip: postgresBin() ? false : 'PostgreSQL is not installed' }, () => {
  let server: Postgres;
  before(() => {
    server = startPostgres();
  });
  after(() => server[Symbol.dispose]());

  for (const kind of ['sqlite', 'postgres']) {
    test(`every field comes back as it was written (${kind})`, async () => {
      await using store = await openStore({ url: kind === 'sqlite' ? 'sqlite::memory:' : server.database(), log });
      const rows = endpointStore(store);
      const [one, two] = [
        endpoint('aaaa'),
        endpoint('bbbb', { state: 'waiting', port: 'wanted', approval: 'ap-1', napter: undefined }),
      ];
      await rows.add(one);
      await rows.add(two);
      await assert.rejects(rows.add(one), 'an id is given once');
      assert.deepEqual(await rows.live(), [one, two]);
      const latched = { ...one, latched: '203.0.113.7', used: true, until: start + 3_600_000 };
      await rows.change(latched);
      assert.deepEqual(await rows.get('aaaa'), latched);
      for (const who of ['ann', 'bob']) await rows.unlock({ endpoint: 'aaaa', address: '203.0.113.7', who, at: start });
      assert.deepEqual(await rows.unlocks(), [{ endpoint: 'aaaa', address: '203.0.113.7', who: 'bob', at: start }]);
      const over: Endpoint = { ...latched, state: 'closed', ended: start + 5000, cause: 'expired' };
      await rows.change(over);
      assert.deepEqual(await rows.live(), [two]);
      assert.deepEqual(await rows.ended({ limit: 5, owner: '太郎' }), [over]);
      assert.deepEqual(await rows.ended({ limit: 5, owner: 'nobody' }), []);
      assert.deepEqual(await rows.portsSince(start), [{ port: 21_000, owner: '太郎', ended: start + 5000 }]);
      assert.deepEqual(await rows.portsSince(start + 5000), []);
      await rows.prune(start + 5001);
      assert.equal(await rows.get('aaaa'), undefined);
      assert.deepEqual(await rows.unlocks(), []);
      assert.deepEqual(await rows.get('bbbb'), two);
    });
  }
});
