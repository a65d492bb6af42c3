// Real networks, or nearly: another namespace, a bad line, rules by source address, IPv6 on both sides.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGate } from '../fixtures/gate-process.ts';
import { assertTidy, ca, endProperly, leaf, type Row } from './house.ts';
import { inside, layLine, runInside, whyNot } from './namespaces.ts';

const skip = whyNot() ?? false;
const tls = `certificate: { cert: "file:${leaf.fullchainFile}", key: "file:${leaf.keyFile}" }`;
const closings = (rows: readonly Row[]): Row[] => rows.filter(({ event }) => event === 'proxy.closed');

test('20 ms of delay and 1 % of loss each way: bit-exact over TLS, half-close kept, both legs on the bad line', {
  skip,
}, async t => {
  const line = await layLine(t, { delay: 20, loss: 1 });
  t.diagnostic(`the line is spoilt by ${line.by}`);
  // Client and backend stand on the right, the gate on the left: every byte crosses the line four times.
  const server = runInside(t, line.right, 'far-end.ts', { serve: line.rightHost });
  const { port } = (await server.answer()) as { port: number };
  const gate = await startGate(t, {
    under: inside(line.left),
    config:
      'gate: { listen: "tls://127.0.0.1:8443", workers: 2 }\nproxy:\n' +
      `  bad: { listen: "tls://${line.leftHost}:5000", ${tls}, to: "tcp://${line.rightHost}:${port}" }\n`,
  });
  const [bytes, times] = [1_500_000, 6];
  const client = runInside(t, line.right, 'far-end.ts', {
    connect: { host: line.leftHost, port: 5000, ca: ca.cert },
    ...{ bytes, times },
  });
  assert.deepEqual(await client.answer(), { counts: Array(times).fill(bytes) });
  const rows = closings(await assertTidy(gate));
  assert.deepEqual(
    rows.map(({ facts }) => [facts['up'], facts['down'], facts['cause']]),
    Array(times).fill([bytes, bytes, 'ended']),
  );
  await endProperly(gate);
});

test('rules by source address hold for a caller in another namespace, IPv4 and IPv6', {
  skip,
}, async t => {
  const line = await layLine(t);
  const server = runInside(t, line.left, 'far-end.ts', { serve: '127.0.0.1' });
  const { port } = (await server.answer()) as { port: number };
  const to = `to: "tcp://127.0.0.1:${port}"`;
  const route = (name: string, at: number, rules: string): string =>
    `  ${name}: { listen: [ "tcp://0.0.0.0:${at}", "tcp://[::]:${at + 1}" ], ${to}, rules: [ ${rules} ] }\n`;
  const gate = await startGate(t, {
    under: inside(line.left),
    config:
      'gate: { listen: "tls://127.0.0.1:8443", workers: 2 }\nproxy:\n' +
      route('theirs', 5000, 'allow: 10.77.0.2, allow: "fd77::2"').replace(
        /allow: ([^,]+), allow: ("[^"]+")/,
        '{ allow: $1 }, { allow: $2 }',
      ) +
      route('ours', 5010, '{ deny: 10.77.0.0/24 }, { deny: "fd77::/64" }, { allow: all }'),
  });
  const reach = async (namespace: string, host: string, at: number): Promise<boolean> => {
    const answer = await runInside(t, namespace, 'far-end.ts', { connect: { host, port: at }, bytes: 1000 }).answer();
    return JSON.stringify(answer) === '{"counts":[1000]}';
  };
  const table = [
    [line.right, line.leftHost, 5000, true],
    [line.right, line.leftHost6, 5001, true],
    [line.right, line.leftHost, 5010, false],
    [line.right, line.leftHost6, 5011, false],
    [line.left, '127.0.0.1', 5000, false],
    [line.left, '::1', 5001, false],
    [line.left, '127.0.0.1', 5010, true],
    [line.left, '::1', 5011, true],
  ] as const;
  for (const [namespace, host, at, wanted] of table) {
    assert.equal(
      await reach(namespace, host, at),
      wanted,
      `from ${namespace === line.left ? 'here' : 'there'} to ${host}:${at}`,
    );
  }
  const rows = await assertTidy(gate);
  assert.deepEqual(
    closings(rows).map(({ from }) => from.replace(/:\d+$/, '')),
    ['10.77.0.2', '[fd77::2]', '127.0.0.1', '[::1]'],
  );
  await endProperly(gate);
});

test('IPv6 on both sides: [::1] in front and behind, TLS terminated and originated, bytes and addresses right', async t => {
  const { backend, dialPlain, echo, expectPattern, send } = await import('./streams.ts');
  await using server = await backend(echo, { host: '::1' });
  const [near, chain] = await sixPorts(2);
  const gate = await startGate(t, {
    config:
      'gate: { listen: "tls://[::1]:0", workers: 2 }\nproxy:\n' +
      `  near: { listen: "tls://[::1]:${near}", ${tls}, to: "tcp://[::1]:${server.port}" }\n` +
      `  chain: { listen: "tcp://[::1]:${chain}", to: "tls://[::1]:${near}", verify: { ca: "file:${ca.certFile}" } }\n`,
  });
  const socket = await dialPlain(chain ?? 0, '::1')();
  const heard = expectPattern(socket);
  await send(socket, 3_000_000);
  socket.end();
  assert.equal(await heard.whole, 3_000_000);
  const rows = closings(await assertTidy(gate));
  assert.equal(rows.length, 2);
  for (const { from, facts } of rows) {
    assert.match(from, /^\[::1\]:\d+$/);
    assert.match(String(facts['target']), /^\[::1\]:\d+$/);
    assert.deepEqual([facts['up'], facts['down']], [3_000_000, 3_000_000]);
  }
  await endProperly(gate);
});

async function sixPorts(count: number): Promise<number[]> {
  const { backend } = await import('./streams.ts');
  const held = await Promise.all(Array.from({ length: count }, () => backend(() => {}, { host: '::1' })));
  for (const one of held) await one[Symbol.asyncDispose]();
  return held.map(({ port }) => port);
}
