// Our own ends with --region, against AWS's data plane as it is known: recorded and hand-written frames under Amazon's name
// behind a proxy. Never run against AWS itself.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { agentFile, startAgentFile } from '../../fixtures/agent.ts';
import { type AwsEndpoint, awsEndpoint } from '../../fixtures/aws-tunnel-endpoint.ts';
import { temporaryFolder } from '../../fixtures/certificates.ts';
import { run, serving } from '../../fixtures/programs.ts';
import { types } from '../../fixtures/tunnel-peer.ts';
import { echoing } from './ends.ts';

const main = join(import.meta.dirname, '../../../src/main.ts');
const region = 'ap-northeast-1';
const call = (stream: number, connection: number, service = 'SSH') => ({ stream, service, connection });

function prepare(aws: AwsEndpoint) {
  const token = join(temporaryFolder('region'), 'token');
  writeFileSync(token, 'AQGAAXh0b2tlbg==\n', { mode: 0o600 });
  return {
    env: { HTTPS_PROXY: aws.proxy, NO_PROXY: '', NODE_EXTRA_CA_CERTS: aws.caFile },
    args: ['--region', region, '--token-file', token],
  };
}

test('the agent joins one tunnel of AWS as its destination', async t => {
  const [aws, echo] = [await awsEndpoint(t, region, ['SSH']), await echoing(t)];
  const { env, args } = prepare(aws);
  const agent = await startAgentFile(
    t,
    [...args, '--dir', temporaryFolder('aws'), '--service', `SSH=127.0.0.1:${echo.port}`],
    { env },
  );
  const first = await aws.join();
  assert.equal(first.url, '/tunnel?local-proxy-mode=destination');
  assert.equal(first.headers['access-token'], 'AQGAAXh0b2tlbg==');
  await agent.logged(/joined a tunnel/);

  // V3: two connections of one stream, each with its own bytes; what one side ends the other hears as AWS says it.
  first.send(
    { type: types.start, ...call(1, 1) },
    { type: types.data, ...call(1, 1), payload: 'one' },
    { type: types.connectionStart, ...call(1, 2) },
    { type: types.data, ...call(1, 2), payload: 'two' },
  );
  const answers = [await first.next(types.data), await first.next(types.data)];
  assert.deepEqual(
    answers.map(({ stream, service, connection, payload }) => [stream, service, connection, String(payload)]).sort(),
    [
      [1, 'SSH', 1, 'one'],
      [1, 'SSH', 2, 'two'],
    ],
  );
  const [application] = echo.live;
  application?.destroy();
  assert.equal((await first.next(types.connectionReset)).stream, 1);
  first.send({ type: types.reset, stream: 1, service: 'SSH' });

  // A V1 source, through AWS unchanged: no name and no number, and none in the answers.
  first.send({ type: types.start, stream: 2 }, { type: types.data, stream: 2, payload: 'old' });
  const old = await first.next(types.data);
  assert.deepEqual([old.stream, old.service, old.connection, String(old.payload)], [2, '', 0, 'old']);

  // A lost connection comes back by itself, with the same pair of tokens; a close frame is the end.
  first.drop();
  const second = await aws.join();
  assert.equal(second.headers['access-token'], first.headers['access-token']);
  assert.equal(second.headers['client-token'], first.headers['client-token']);
  second.send({ type: types.start, ...call(1, 1) }, { type: types.data, ...call(1, 1), payload: 'again' });
  assert.equal(String((await second.next(types.data)).payload), 'again');
  second.close(1000, 'Tunnel closed');
  await agent.logged(/Tunnel closed/);
  assert.equal(await agent.ended, 0);
});

async function talk(t: TestContext, port: number) {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(
    socket.on('error', () => {}),
    'connect',
  );
  return socket;
}

for (const [what, start] of [
  ['sekisho tunnel connect', (aws: AwsEndpoint) => ({ program: [main], ca: ['--ca', aws.caFile] })],
  ['tunnel connect of the agent’s file', async () => ({ program: [await agentFile()], ca: [] })],
] as const) {
  test(`${what} is the source of a tunnel of AWS`, async t => {
    const aws = await awsEndpoint(t, region, ['SSH']);
    const { env, args } = prepare(aws);
    const { program, ca } = await start(aws);
    await using source = await serving(
      process.execPath,
      [...program, 'tunnel', 'connect', ...args, ...ca, '--listen', 'SSH=127.0.0.1:0'],
      /SSH = 127\.0\.0\.1:\d+/,
      { env },
    );
    const peer = await aws.join();
    assert.equal(peer.url, '/tunnel?local-proxy-mode=source');
    const port = Number(/SSH = 127\.0\.0\.1:(\d+)/.exec(source.output())?.[1]);
    const one = await talk(t, port);
    const begun = await peer.next();
    assert.deepEqual([begun.type, begun.service, begun.stream > 0], [types.start, 'SSH', true]);
    one.write('hello');
    assert.equal(String((await peer.next(types.data)).payload), 'hello');
    peer.send({ type: types.data, ...call(begun.stream, begun.connection), payload: 'SSH-2.0' });
    const [banner] = (await once(one, 'data')) as [Buffer];
    assert.equal(String(banner), 'SSH-2.0');
    const two = await talk(t, port);
    const next = await peer.next();
    assert.deepEqual([next.type, next.stream], [types.connectionStart, begun.stream]);
    assert.notEqual(next.connection, begun.connection);
    const over = once(two, 'close');
    peer.send({ type: types.connectionReset, ...call(next.stream, next.connection) });
    await over;
    one.end();
    const end = await peer.next(types.connectionReset);
    assert.deepEqual([end.stream, end.connection], [begun.stream, begun.connection]);
    peer.close(1000, 'Tunnel closed');
    await once(source.child, 'exit');
    assert.equal(source.child.exitCode, 0, source.output());
  });
}

test('what AWS answers to a token that was used is what the user reads', async t => {
  const aws = await awsEndpoint(t, region, ['SSH']);
  const { env, args } = prepare(aws);
  aws.refuse(400, 'Invalid access token: The access token was previously used and can not be used again.');
  const { code, stderr } = await run(process.execPath, [main, 'tunnel', 'connect', ...args, '--ca', aws.caFile], {
    env,
  });
  assert.equal(code, 3);
  assert.match(
    stderr,
    /data\.tunneling\.iot\.ap-northeast-1\.amazonaws\.com:443 .*previously used and can not be used again/,
  );
});

test('a region of China is under its own domain', async t => {
  const aws = await awsEndpoint(t, 'cn-north-1', ['SSH']);
  const { env, args } = prepare(aws);
  const there = ['tunnel', 'connect', '--region', 'cn-north-1', ...args.slice(2), '--ca', aws.caFile];
  await using source = await serving(process.execPath, [main, ...there], /SSH = /, { env });
  assert.equal((await aws.join()).headers.host, 'data.tunneling.iot.cn-north-1.amazonaws.com.cn');
  assert.ok(source);
});
