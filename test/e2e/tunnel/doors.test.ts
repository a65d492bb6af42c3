// The other ways in: one connection as a WebSocket at the API, tokens in a cookie, and what happens to those who guess.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../../fixtures/gate-process.ts';
import { types } from '../../fixtures/tunnel-peer.ts';
import { tunnelGate } from './rig.ts';

test('one connection of a tunnel as a WebSocket at the API', async t => {
  const house = await tunnelGate(t);
  const { port, ca } = house;
  await house.call('user', 'add', 'operator1', '--role', 'operator');
  await house.call('user', 'add', 'other', '--role', 'operator');
  const tokenOf = async (user: string): Promise<string> =>
    (await house.call<{ token: string }>('token', 'create', user, '--scope', 'tunnel.*')).token;
  const [mine, theirs] = [await tokenOf('operator1'), await tokenOf('other')];
  const api = async (token: string, path: string, body: object): Promise<Record<string, never>> => {
    const { request } = await import('node:https');
    return new Promise((resolve, reject) => {
      const sending = request(
        {
          ...{ host: 'localhost', port, ca, path, method: 'POST', agent: false as const },
          headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        },
        async answer => resolve(JSON.parse(Buffer.concat(await answer.toArray()).toString())),
      );
      sending.on('error', reject).end(JSON.stringify(body));
    });
  };
  const opened = (await api(mine, '/v1/tunnels', { services: ['ssh', 'web'] })) as unknown as {
    tunnel: { id: string; opener: string };
    destinationToken: string;
  };
  assert.equal(opened.tunnel.opener, 'operator1');
  const destination = await house.peer('destination', opened.destinationToken);
  const dial = (query: string, headers: Record<string, string>, protocols: string[] = ['sekisho.stream-1']) => {
    const socket = new WebSocket(`wss://localhost:${port}/v1/tunnels/stream?${query}`, protocols, { ca, headers });
    t.after(() => socket.terminate());
    return new Promise<WebSocket | number>((resolve, reject) => {
      socket.once('open', () => resolve(socket));
      socket.once('unexpected-response', (_, answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      });
      socket.once('error', reject);
    });
  };
  const query = `tunnel=${opened.tunnel.id}&service=ssh`;
  assert.equal(await dial(query, {}), 401);
  assert.equal(await dial(query, { authorization: 'Bearer sks_wrong' }), 401);
  assert.equal(await dial(query, { authorization: `Bearer ${theirs}` }), 403, 'opened by somebody else, and no rule');
  assert.equal(await dial(query, { authorization: `Bearer ${mine}`, origin: 'https://evil.example' }), 403);
  assert.equal(await dial(`tunnel=${opened.tunnel.id}`, { authorization: `Bearer ${mine}` }), 400, 'which service?');
  assert.equal(await dial('tunnel=none&service=ssh', { authorization: `Bearer ${mine}` }), 404);

  for (const way of ['header', 'subprotocol'] as const) {
    const socket =
      way === 'header'
        ? await dial(query, { authorization: `Bearer ${mine}` })
        : await dial(query, { origin: `https://localhost:${port}` }, ['sekisho.stream-1', `sekisho.token.${mine}`]);
    assert.ok(socket instanceof WebSocket, `${way}: ${socket}`);
    assert.equal(socket.protocol, 'sekisho.stream-1', 'the token is not sent back');
    const start = await destination.next(way === 'header' ? types.start : types.connectionStart);
    socket.send(Buffer.from('ls\n'));
    assert.equal(await destination.data(3, { connection: start.connection }), 'ls\n');
    const answer = once(socket, 'message');
    destination.send({
      type: types.data,
      stream: start.stream,
      service: 'ssh',
      connection: start.connection,
      payload: 'a b c',
    });
    assert.equal(String((await answer)[0]), 'a b c');
    const closed = once(socket, 'close');
    if (way === 'header') {
      socket.close(1000);
      assert.equal((await destination.next(types.connectionReset)).connection, start.connection);
    } else {
      destination.send({
        type: types.connectionReset,
        stream: start.stream,
        service: 'ssh',
        connection: start.connection,
      });
    }
    await closed;
  }
  await until('it is written down who used it', async () => {
    const { stdout } = await house.gate.run('audit', 'search', '--resource', `tunnel/${opened.tunnel.id}`, '--json');
    return /"tunnel\.disconnected"/.test(stdout);
  });
});

test('a token in a cookie counts from the gate’s own pages', async t => {
  const house = await tunnelGate(t);
  const { sourceToken } = await house.open(undefined, ['ssh']);
  const peer = await house.peer('source', '', {
    headers: { cookie: `awsiot-tunnel-token=${sourceToken}`, origin: `https://localhost:${house.port}` },
  });
  assert.equal((await peer.next()).type, types.serviceIds);
});

test('who guesses tokens is told to come back later, and a good token from there still counts', async t => {
  const house = await tunnelGate(t, 'trust: { rate-limit: { address: { tries: 5, per: 1m, block: 1m } } }');
  const { sourceToken } = await house.open(undefined, ['ssh']);
  const statuses: number[] = [];
  for (let count = 0; count < 7; count++) {
    const answer = await house.knock('source', `skts_guess${count}`);
    assert.ok('status' in answer);
    statuses.push(answer.status);
  }
  assert.deepEqual(statuses, [403, 403, 403, 403, 403, 503, 503], 'not 429: localproxy would end');
  const good = await house.knock('source', sourceToken);
  assert.ok(!('status' in good), 'nobody locks the others out by guessing');
});

test('who names no key of ours is answered before a byte of the body is asked for', async t => {
  const { port, ca } = await tunnelGate(t);
  const { request } = await import('node:https');
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `AKIDUNKNOWN/${now.slice(0, 8)}/ap-northeast-1/IoTSecuredTunneling/aws4_request`;
  const sending = request({
    ...{ host: 'localhost', port, ca, path: '/', method: 'POST', agent: false as const },
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'content-length': 400_000,
      'x-amz-target': 'IoTSecuredTunneling.ListTunnels',
      'x-amz-date': now,
      authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host;x-amz-date;x-amz-target, Signature=${'0'.repeat(64)}`,
    },
  });
  sending.on('error', () => {});
  sending.flushHeaders();
  const [answer] = await once(sending, 'response');
  assert.equal(answer.statusCode, 403);
  const text = Buffer.concat(await answer.toArray()).toString();
  assert.match(text, /UnrecognizedClientException/);
  sending.destroy();
});

test('status says which tunnels are open: to what, for whom, until when, and why', async t => {
  const house = await tunnelGate(t);
  const { id } = await house.open('pump-7', ['SSH'], '--for', '1h', '--description', 'it is loud');
  const { tunnels, openTunnels } = await house.call<{ tunnels: Record<string, unknown>[]; openTunnels: number }>(
    'status',
  );
  assert.equal(openTunnels, 1);
  const [{ thing, services, opener, description, until } = {}] = tunnels;
  assert.deepEqual([thing, services, description], ['pump-7', ['SSH'], 'it is loud']);
  assert.ok(opener && Date.parse(String(until)) > Date.now());
  const { stdout } = await house.gate.run('status');
  assert.match(stdout, /Tunnels: 1\n.*\n.*pump-7 +SSH +open +in \d+[mh] .*it is loud/);
  await house.call('tunnel', 'close', id);
  assert.doesNotMatch((await house.gate.run('status')).stdout, /Tunnels:/);
});
