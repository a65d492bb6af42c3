// Which process carries which route.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ListenAddress, parseListen } from '../core/address.ts';
import { placeRoutes } from './placement.ts';
import { workerCount } from './workers.ts';

const plan = (name: string, ...listens: string[]) => ({
  name,
  listens: listens.map(text => ({ address: parseListen(text) })),
});
type Plan = ReturnType<typeof plan>;
const names = (
  plans: readonly Plan[],
  stays: (address: ListenAddress) => boolean = () => false,
  held: readonly Plan[] = [],
) => {
  const { gate, workers } = placeRoutes(plans, stays, held);
  return { gate: gate.map(({ name }) => name), workers: workers.map(({ name }) => name) };
};

test('TCP listeners go to workers; the gate port, unix sockets and datagrams stay', () => {
  const plans = [
    plan('a', 'tls://:443'),
    plan('b', 'gate'),
    plan('c', 'unix:/s'),
    plan('d', 'udp://:53'),
    plan('e', 'tcp://:1'),
  ];
  assert.deepEqual(names(plans), { gate: ['b', 'c', 'd'], workers: ['a', 'e'] });
});

test('a route that leads to a device stays with the link', () => {
  const device = { ...plan('a', 'tls://:1'), outward: { upstreams: [{ target: { kind: 'device' } }] } };
  const { gate, workers } = placeRoutes([device, plan('b', 'tls://:2')], () => false);
  assert.deepEqual([gate.map(({ name }) => name), workers.map(({ name }) => name)], [['a'], ['b']]);
});

test('routes that share an address are carried together, over several steps', () => {
  const plans = [
    plan('a', 'tls://:1', 'tls://:2'),
    plan('b', 'tcp://:2', 'tls://:3'),
    plan('c', 'tls://:3', 'unix:/s'),
    plan('d', 'tls://:4'),
  ];
  assert.deepEqual(names(plans), { gate: ['a', 'b', 'c'], workers: ['d'] });
});

test('what systemd opened stays, and so does what the gate process holds already', () => {
  const plans = [plan('a', 'tcp://:1'), plan('b', 'tcp://:2'), plan('c', 'tcp://:3')];
  const stays = (address: ListenAddress) => 'port' in address && address.port === 1;
  assert.deepEqual(names(plans, stays, [plan('before', 'unix:/s', 'tls://:2')]), { gate: ['a', 'b'], workers: ['c'] });
});

test('auto is a worker a core, and none where there is one core', () => {
  assert.deepEqual(
    [workerCount('auto', 1), workerCount('auto', 8), workerCount(0, 8), workerCount(3, 1)],
    [0, 8, 0, 3],
  );
});
