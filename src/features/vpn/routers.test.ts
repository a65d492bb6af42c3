// Routers of the file: they stand while their hubs do, and come back with them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryLog } from '../../../test/fixtures/quiet.ts';
import { TestClock } from '../../core/clock.ts';
import type { Attached, Hub } from './hub.ts';
import type { Hubs } from './hubs.ts';
import { openRouters } from './routers.ts';

test('a router stands while all of its hubs are open, and what did not change stays', async () => {
  const events: string[] = [];
  const hub = (name: string): Hub =>
    ({
      name,
      attach(port) {
        events.push(`+${port.name}`);
        return { [Symbol.asyncDispose]: async () => void events.push(`-${port.name}`) } as unknown as Attached;
      },
    }) as Partial<Hub> as Hub;
  const online = new Map<string, Hub>([['left', hub('left')]]);
  let changed = (): void => {};
  const hubs = {
    find: (name: string) => (online.has(name) ? { hub: online.get(name) } : undefined),
    onChange(call: () => void) {
      changed = call;
      return () => {};
    },
  } as unknown as Hubs;
  const seen = (): string[] => events.splice(0).sort();
  const interfaces = [
    { hub: 'left', address: '10.1.0.1/24' },
    { hub: 'right', address: '10.2.0.1/24' },
  ];
  const routers = openRouters({ r: { interfaces, routes: [] } }, hubs, { clock: new TestClock(), log: memoryLog() });
  assert.deepEqual(seen(), []);
  online.set('right', hub('right'));
  changed();
  assert.deepEqual(seen(), ['+r-left', '+r-right']);
  changed();
  routers.replace({ r: { interfaces, routes: [] } });
  assert.deepEqual(seen(), []);
  online.set('right', hub('right'));
  changed();
  await new Promise(setImmediate);
  assert.deepEqual(seen(), ['+r-left', '+r-right', '-r-left', '-r-right']);
  routers.replace({});
  await new Promise(setImmediate);
  assert.deepEqual(seen(), ['-r-left', '-r-right']);
  await routers[Symbol.asyncDispose]();
});
