// A whole gate on a real PostgreSQL: its record is pruned by age, survives kill -9, and stays whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { echoServer, freePorts, startGate, talk, until } from '../fixtures/gate-process.ts';
import { postgresBin, startPostgres } from './postgres.ts';

interface Row {
  readonly seq: number;
  readonly event: string;
  readonly session: string | null;
  readonly facts: Record<string, unknown>;
}

test('old rows are pruned at the start and a checkpoint stands for them; a killed gate gets its ends; all of it verifies', {
  skip: postgresBin() === undefined && 'psql is not installed', // bin/run.cjs leaves this file out by that name: 'psql'
}, async t => {
  using server = startPostgres();
  const url = server.database();
  const echo = await echoServer(t);
  const [port = 0] = await freePorts(1);
  const config = (more = ''): string => `gate: { listen: "tls://127.0.0.1:0", workers: 1 }
store: env:GATE_STORE
${more}proxy: { a: { listen: "tcp://127.0.0.1:${port}", to: "tcp://127.0.0.1:${echo.port}" } }
`;
  const env = { GATE_STORE: url };
  const first = await startGate(t, { config: config(), env });
  const { folder } = first;
  const rowsOf = async (gate: typeof first): Promise<Row[]> =>
    (JSON.parse((await gate.run('audit', 'search', '--limit', '1000', '--json')).stdout) as { rows: Row[] }).rows;
  for (let at = 0; at < 5; at++) {
    const { socket, say, over } = await talk(t, port);
    await say('x');
    socket.end();
    await over;
  }
  const carried = await talk(t, port);
  await carried.say('still open');
  await until(
    'all is written',
    async () => (await rowsOf(first)).filter(row => row.event === 'proxy.closed').length === 5,
  );
  const before = await rowsOf(first);
  first.signal('SIGKILL');
  await first.ended;

  const second = await startGate(t, { folder, env, config: config() });
  const [session] = before.filter(({ event }) => event === 'proxy.opened').map(row => row.session);
  const end = (await rowsOf(second)).find(row => row.session === session && row.event === 'proxy.closed');
  assert.equal(end?.facts['cause'], 'gate-gone');
  const known = (await rowsOf(second)).length;
  second.signal('SIGTERM');
  assert.equal(await second.ended, 0);

  const third = await startGate(t, { folder, env, config: config('audit: { retention: 1ms }\n') });
  await third.logged(/old audit rows were pruned; a checkpoint stands for them/);
  const rows = await rowsOf(third);
  assert.ok(
    rows.every(({ seq }) => seq > known),
    'what is older is gone',
  );
  assert.ok(
    rows.some(({ event }) => event === 'audit.pruned'),
    JSON.stringify(rows),
  );
  const verified = await third.run('audit', 'verify');
  assert.equal(verified.status, 0, verified.stdout);
  assert.match((await third.run('audit', 'export')).stdout, /"checkpoint":/);
  assert.deepEqual((JSON.parse((await third.run('status', '--json')).stdout) as { warnings: string[] }).warnings, []);
  carried.socket.destroy();
});
