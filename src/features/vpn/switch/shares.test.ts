// Senders to a port that cannot keep up: who sends little loses nothing, who sends much gets like shares of the rest.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryPort } from '../../../../test/fixtures/memory-port.ts';
import { memoryLog, memoryMetrics } from '../../../../test/fixtures/quiet.ts';
import { TestClock } from '../../../core/clock.ts';
import { encodeEthernet } from '../../../wire/ethernet.ts';
import type { HubPort } from '../hub.ts';
import { defaultSecurity } from '../softether/policy.ts';
import { Shares } from './shares.ts';
import { Switch } from './switch.ts';

const macOf = (index: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 0, index);
const target = 200;
const frame = (from: number, to = target): Uint8Array =>
  encodeEthernet({ target: macOf(to), source: macOf(from), type: 0x88b5, payload: new Uint8Array(1000) });

/** A hub with a port that lets `perTurn` frames out a turn and keeps `most`; senders send so many frames a turn. */
async function compete(rates: readonly number[], perTurn = 100, most = 1000): Promise<readonly number[]> {
  const clock = new TestClock();
  const net = new Switch('test', { clock, log: memoryLog(), metrics: memoryMetrics() });
  const policy = { kind: 'member', session: 's', user: '', groups: [], security: defaultSecurity } as const;
  const got = new Map<number, number>();
  let waiting: number[] = [];
  const slow: HubPort = {
    ...memoryPort('slow'),
    backlog: () => waiting.length / most,
    sendBatch(frames) {
      const taken = frames.slice(0, most - waiting.length);
      for (const one of taken) waiting.push(one[11]!);
      return taken.length;
    },
  };
  const tell = memoryPort('tell');
  net.plug({ ...slow, receiveBatch: tell.receiveBatch!.bind(tell) }, policy);
  tell.put(frame(target, 1)); // where it is
  const senders = rates.map((_, index) => {
    const port = memoryPort(`s${index}`);
    net.plug(port, policy);
    return port;
  });
  for (let turn = 0; turn < 600; turn++) {
    for (const [index, rate] of rates.entries())
      senders[index]!.put(...Array.from({ length: rate }, () => frame(index + 1)));
    await new Promise(setImmediate);
    clock.move(2);
    for (const one of waiting.slice(0, perTurn)) got.set(one, (got.get(one) ?? 0) + 1);
    waiting = waiting.slice(perTurn);
  }
  return rates.map((_, index) => (got.get(index + 1) ?? 0) / 600);
}

test('one sender alone has all there is', async () => {
  const [only = 0] = await compete([400]);
  assert.ok(only > 99, `${only} of 100 a turn`);
});

test('who sends little beside a flood loses nothing', async () => {
  const [flood = 0, little = 0] = await compete([1500, 10]);
  assert.ok(little > 9.5, `${little} of 10`);
  assert.ok(flood > 85, `${flood} of 90`);
});

test('floods of different force have like shares, whatever their order', async () => {
  for (const rates of [
    [1500, 150],
    [150, 1500],
    [1000, 200, 80],
  ]) {
    const shares = await compete(rates);
    const sum = shares.reduce((total, one) => total + one, 0);
    const fairness = sum ** 2 / (shares.length * shares.reduce((total, one) => total + one ** 2, 0));
    assert.ok(sum > 98 && fairness > 0.95, `${rates}: ${shares}`);
  }
});

test('shares are remembered for a while only, and of those who were there', () => {
  const shares = new Shares();
  for (let sender = 0; sender < 1000; sender++) shares.take(sender, 1500, 0, 1);
  assert.equal(shares.size, 1000);
  shares.take(1, 1500, 0, 1000);
  assert.equal(shares.size, 1);
});
