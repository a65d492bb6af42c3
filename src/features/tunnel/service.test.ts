// Tunnels over time, with a clock that is moved: they end, are listed for three hours, and survive a restart.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../../test/fixtures/certificates.ts';
import { testGate } from '../../../test/fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../../test/fixtures/quiet.ts';
import { TestClock } from '../../core/clock.ts';
import type { Principal, Target } from '../../core/parts.ts';
import { memoryPair } from '../../net/memory.ts';
import { openStore, type Store } from '../../store/index.ts';
import { tunnelConfig } from './config.ts';
import type { TunnelDeps, TunnelService } from './deps.ts';
import { openTunnels } from './service.ts';

const operator: Principal = { kind: 'user', id: 'operator1', groups: [], attributes: new Map(), credential: 'key:1' };
const hour = 3_600_000;

async function open(more: Partial<TunnelDeps> & { store?: Store; clock?: TestClock; config?: object } = {}) {
  const {
    store = await openStore({ url: 'sqlite::memory:', log: memoryLog() }),
    clock = new TestClock(),
    config = {},
    ...deps
  } = more;
  const gate = testGate();
  const tunnels = await openTunnels(tunnelConfig.parse(config), {
    ...{ store, gate, clock, log: memoryLog(), metrics: memoryMetrics() },
    ...deps,
  });
  return { tunnels, clock, store, gate };
}
const settled = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 5));
const states = (tunnels: TunnelService): string[] => tunnels.list().map(({ state }) => state);

test('a tunnel ends by itself, is listed for three hours more, and is then forgotten', async () => {
  const told: string[] = [];
  const { tunnels, clock } = await open({ record: event => void told.push(event) });
  const { tunnel } = await tunnels.open({ services: ['ssh'], lifetime: hour }, operator);
  assert.equal(tunnel.expires.getTime() - tunnel.created.getTime(), hour);
  clock.move(hour - 1);
  assert.deepEqual(states(tunnels), ['open']);
  clock.move(1);
  assert.deepEqual(states(tunnels), ['closed']);
  assert.deepEqual(told, ['tunnel.expired']);
  await assert.rejects(tunnels.rotate(tunnel.id, ['source']), { code: 'gone' });
  clock.move(3 * hour - 60_000);
  assert.deepEqual(states(tunnels), ['closed']);
  clock.move(120_000);
  assert.deepEqual(states(tunnels), []);
  await tunnels[Symbol.asyncDispose]();
});

test('without a time it lives as long as the configuration says, and rotating does not prolong it', async () => {
  const { tunnels, clock } = await open({ config: { lifetime: '2h' } });
  const { tunnel } = await tunnels.open({ services: [] }, operator);
  clock.move(hour);
  await tunnels.rotate(tunnel.id, ['source', 'destination']);
  assert.equal(tunnels.get(tunnel.id).expires.getTime(), tunnel.created.getTime() + 2 * hour);
  clock.move(hour);
  assert.deepEqual(states(tunnels), ['closed']);
  await tunnels[Symbol.asyncDispose]();
});

test('newest first, by device; erasing forgets at once', async () => {
  const { tunnels, clock } = await open();
  const ids: string[] = [];
  for (const thing of ['a', 'b', 'a']) {
    ids.unshift((await tunnels.open({ thing, services: ['ssh'] }, operator)).tunnel.id);
    clock.move(1000);
  }
  assert.deepEqual(
    tunnels.list().map(({ id }) => id),
    ids,
  );
  assert.deepEqual(
    tunnels.list({ thing: 'a' }).map(({ id }) => id),
    [ids[0], ids[2]],
  );
  await tunnels.close(ids[0] ?? '', { erase: true });
  assert.throws(() => tunnels.get(ids[0] ?? ''), { code: 'missing' });
  await assert.rejects(tunnels.close('none'), { code: 'missing' });
  await tunnels[Symbol.asyncDispose]();
});

test('what is kept of a token is its hash, and everything else comes back after a restart', async () => {
  const file = join(temporaryFolder('tunnels'), 'sekisho.db');
  const clock = new TestClock();
  const store = await openStore({ url: `sqlite:${file}`, log: memoryLog() });
  const first = await open({ store, clock });
  const opened = await first.tunnels.open(
    { thing: 'pump-7', services: ['ssh'], description: 'd', tags: [{ key: 'k', value: 'v' }], lifetime: hour },
    operator,
  );
  const rows = JSON.stringify([
    await store.db.selectFrom('tunnel').selectAll().execute(),
    await store.db.selectFrom('tunnel_side').selectAll().execute(),
  ]);
  assert.equal(rows.includes(opened.sourceToken) || rows.includes(opened.destinationToken), false);
  const before = first.tunnels.get(opened.tunnel.id);
  await first.tunnels[Symbol.asyncDispose]();
  clock.move(hour / 2);
  const second = await open({ store, clock });
  assert.deepEqual(second.tunnels.get(opened.tunnel.id), before);
  clock.move(hour / 2);
  assert.deepEqual(states(second.tunnels), ['closed'], 'its time goes on while the gate is down');
  await second.tunnels[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

test('limits: tunnels at a time, services of one, tags', async () => {
  const { tunnels } = await open({ config: { limits: { tunnels: 2, services: 2 } } });
  await assert.rejects(tunnels.open({ services: ['a', 'b', 'c'] }, operator), { code: 'limit' });
  await assert.rejects(tunnels.open({ services: ['a', 'a'] }, operator), { code: 'invalid' });
  const { tunnel } = await tunnels.open({ services: ['a'] }, operator);
  await tunnels.open({ services: ['a'] }, operator);
  await assert.rejects(tunnels.open({ services: ['a'] }, operator), { code: 'limit' });
  await tunnels.close(tunnel.id);
  await tunnels.open({ services: ['a'] }, operator);
  const many = Array.from({ length: 200 }, (_, index) => ({ key: `k${index}`, value: '' }));
  await tunnels.tag(tunnel.id, many);
  await assert.rejects(tunnels.tag(tunnel.id, [{ key: 'one more', value: '' }]), { code: 'limit' });
  await tunnels[Symbol.asyncDispose]();
});

test('devices are told; one that cannot be told has its tunnel all the same', async () => {
  const published: { topic: string; payload: string }[] = [];
  let broken = false;
  const { tunnels } = await open({
    notifier: () => ({
      async publish(topic, payload) {
        if (broken) throw new Error('no broker');
        published.push({ topic, payload });
      },
    }),
  });
  const { destinationToken, tunnel } = await tunnels.open({ thing: 'pump-7', services: ['ssh'] }, operator);
  assert.deepEqual(published, [
    {
      topic: '$aws/things/pump-7/tunnels/notify',
      payload: JSON.stringify({
        clientAccessToken: destinationToken,
        clientMode: 'destination',
        region: 'ap-northeast-1',
        services: ['ssh'],
      }),
    },
  ]);
  await tunnels.open({ services: ['ssh'] }, operator);
  assert.equal(published.length, 1, 'nobody to tell');
  broken = true;
  const second = await tunnels.open({ thing: 'pump-8', services: ['ssh'] }, operator);
  assert.equal(second.tunnel.state, 'open');
  await assert.rejects(tunnels.notify(second.tunnel.id), /no broker/);
  for (const topic of ['$aws/things/pump-7/x', '$aws/things/pump-8/#', 'elsewhere']) {
    await assert.rejects(tunnels.notify(second.tunnel.id, topic), { code: 'invalid' });
  }
  assert.ok(tunnel);
  await tunnels[Symbol.asyncDispose]();
});

test('a device on its own link: the tunnel is connected at once, and its services are dialled under the session', async () => {
  let isOnline = false;
  const dialled: { target: Target; session: string }[] = [];
  const far: ReturnType<typeof memoryPair>[1][] = [];
  const { tunnels, gate, clock } = await open({
    devices: () => ({
      isOnline: name => name === 'pump-7' && isOnline,
      dialer: {
        async dial(target, session) {
          dialled.push({ target, session: session.id });
          const [near, other] = memoryPair();
          far.push(other);
          return near;
        },
      },
    }),
  });
  const { tunnel } = await tunnels.open({ thing: 'pump-7', services: ['ssh', 'web'] }, operator);
  assert.equal(tunnel.destination.state, 'disconnected');
  isOnline = true;
  assert.equal(tunnels.get(tunnel.id).destination.state, 'connected');
  const session = await gate.admit({
    who: operator,
    action: 'tunnel.use',
    resource: `tunnel/${tunnel.id}`,
    from: { path: '' },
  });
  await assert.rejects(tunnels.connect(tunnel.id, undefined, session), { code: 'invalid', message: /ssh, web/ });
  await assert.rejects(tunnels.connect(tunnel.id, 'telnet', session), { code: 'invalid' });
  const stream = await tunnels.connect(tunnel.id, 'web', session);
  assert.deepEqual(dialled, [{ target: { kind: 'device', device: 'pump-7', service: 'web' }, session: session.id }]);
  stream.write('hello');
  const [said] = await once(far[0]?.stream as NodeJS.ReadableStream, 'data');
  assert.equal(String(said), 'hello');
  isOnline = false;
  const waiting = tunnels.connect(tunnel.id, 'ssh', session);
  const failed = assert.rejects(waiting, { code: 'unreachable' });
  for (let step = 0; step < 40; step++) {
    await settled();
    clock.move(500);
  }
  await failed;
  await tunnels[Symbol.asyncDispose]();
});

test('a token’s principal counts as long as its tunnel is open and its token is the current one', async () => {
  const { tunnels, gate } = await open();
  const { tunnel } = await tunnels.open({ services: ['ssh'] }, operator);
  const who = (credential: string): Principal => ({ ...operator, kind: 'token', credential });
  assert.throws(() => tunnels.standing(who(`tunnel:${tunnel.id}/source/ffff`)), { code: 'unknown-caller' });
  assert.throws(() => tunnels.standing(who('tunnel:none/source/00')), { code: 'unknown-caller' });
  assert.throws(() => tunnels.standing(who('key:1')), { code: 'unknown-caller' });
  assert.equal(gate.admissions.length, 0);
  await tunnels[Symbol.asyncDispose]();
});
