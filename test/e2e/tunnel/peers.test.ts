// Frames written by hand against a real gate: V1, V2 and V3 on either end of one tunnel, and each rule that keeps AWS's
// localproxy alive (it is fragile where the protocol is vague).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { until } from '../../fixtures/gate-process.ts';
import { againOf, call, type Dialect, dialects, endOf, frame, type Peer, types } from '../../fixtures/tunnel-peer.ts';
import { type TunnelGate, tunnelGate } from './rig.ts';

/** Both sides of a fresh tunnel. */
async function pair(
  { open, peer }: TunnelGate,
  from: Dialect = 'V3',
  to: Dialect = 'V3',
  services: readonly string[] = ['SSH'],
): Promise<{ source: Peer; destination: Peer; id: string; tokens: { source: string; destination: string } }> {
  const { id, sourceToken, destinationToken } = await open('pump-7', services);
  const destination = await peer('destination', destinationToken, { protocol: dialects[to].protocol });
  const source = await peer('source', sourceToken, { protocol: dialects[from].protocol });
  assert.deepEqual((await source.next(types.serviceIds)).services, services);
  assert.deepEqual((await destination.next(types.serviceIds)).services, services);
  return { source, destination, id, tokens: { source: sourceToken, destination: destinationToken } };
}

async function speak(house: TunnelGate, from: Dialect, to: Dialect): Promise<void> {
  const { source, destination } = await pair(house, from, to);
  source.send({ type: types.start, ...call(from, 1, 1) });
  const start = await destination.next();
  const { service, connection } = dialects[to];
  assert.equal(start.type, types.start);
  assert.ok(start.stream > 0);
  assert.equal(start.service, service ? 'SSH' : '');
  assert.equal(start.connection > 0, connection);
  source.send({ type: types.data, ...call(from, 1, 1), payload: 'ping' });
  const there = await destination.next(types.data);
  assert.deepEqual(
    [there.stream, there.service, there.connection, String(there.payload)],
    [...[start.stream, start.service, start.connection, 'ping']],
  );
  destination.send({ type: types.data, ...call(to, start.stream, start.connection), payload: 'pong' });
  const back = await source.next(types.data);
  assert.deepEqual(
    [back.stream, back.service, back.connection, String(back.payload)],
    [...[1, dialects[from].service ? 'SSH' : '', dialects[from].connection ? 1 : 0, 'pong']],
  );
  // The end is said as the other one says ends.
  source.send({ type: endOf(from), ...call(from, 1, 1) });
  const end = await destination.next();
  assert.deepEqual([end.type, end.stream, end.connection], [endOf(to), start.stream, start.connection]);
  // And the next connection is a new one.
  source.send({
    type: againOf(from),
    ...call(from, from === 'V3' ? 1 : 2, 2),
  });
  const next = await destination.next();
  assert.equal(next.type, againOf(to));
  destination.send({ type: endOf(to), ...call(to, next.stream, next.connection) });
  const over = await source.next();
  assert.deepEqual([over.type, over.stream], [endOf(from), from === 'V3' ? 1 : 2]);
}

test('peers of AWS’s protocol', async t => {
  const house = await tunnelGate(t);
  const { open, peer, knock } = house;

  for (const from of Object.keys(dialects) as Dialect[]) {
    for (const to of Object.keys(dialects) as Dialect[]) {
      await t.test(`a ${from} source and a ${to} destination speak with each other, each in its own dialect`, () =>
        speak(house, from, to),
      );
    }
  }

  await t.test('SERVICE_IDS comes at once, once and alone, also where there are no services', async () => {
    const { source, destination } = await pair(house, 'V3', 'V3', []);
    source.send(
      { type: types.start, stream: 1, connection: 1 },
      { type: types.data, stream: 1, connection: 1, payload: 'x' },
    );
    const start = await destination.next();
    assert.deepEqual([start.type, start.service, start.connection > 0], [types.start, '', true]);
    await destination.next(types.data);
    assert.deepEqual(destination.perMessage, [1, 1, 1], 'one tunnel message in each WebSocket message');
    assert.equal(destination.heard.filter(({ type }) => type === types.serviceIds).length, 1);
  });

  await t.test(
    'several connections of several services, V3: one stream a service, numbers never used twice',
    async () => {
      const { source, destination } = await pair(house, 'V3', 'V3', ['SSH', 'WEB']);
      source.send(
        { type: types.start, ...call('V3', 1, 1) },
        { type: types.connectionStart, ...call('V3', 1, 2) },
        { type: types.start, ...call('V3', 1, 3, 'WEB') },
      );
      const [first, second, third] = [await destination.next(), await destination.next(), await destination.next()];
      assert.deepEqual([first.type, second.type, third.type], [types.start, types.connectionStart, types.start]);
      assert.equal(first.stream, second.stream);
      assert.equal(new Set([first.connection, second.connection, third.connection]).size, 3);
      for (const [number, one] of [first, second, third].entries()) {
        const service = one.service;
        destination.send({
          type: types.data,
          stream: one.stream,
          service,
          connection: one.connection,
          payload: `for ${number}`,
        });
      }
      assert.equal(await source.data(5, { connection: 1 }), 'for 0');
      assert.equal(await source.data(5, { connection: 2 }), 'for 1');
      assert.equal(await source.data(5, { connection: 3, service: 'WEB' }), 'for 2');
    },
  );

  await t.test('a V2 destination gets one connection after the other, and none is lost', async () => {
    const { source, destination } = await pair(house, 'V3', 'V2');
    source.send(
      { type: types.start, ...call('V3', 1, 1) },
      { type: types.connectionStart, ...call('V3', 1, 2) },
      { type: types.data, ...call('V3', 1, 2), payload: 'patience' },
    );
    const first = await destination.next();
    assert.equal(first.type, types.start);
    destination.send({ type: types.reset, ...call('V2', first.stream, 0) });
    const second = await destination.next();
    assert.equal(second.type, types.start);
    assert.notEqual(second.stream, first.stream);
    assert.equal(String((await destination.next(types.data)).payload), 'patience');
  });

  await t.test('a destination that answers in an older dialect is understood', async () => {
    // localproxy -y V1 offers 3.0 all the same.
    const { source, destination } = await pair(house, 'V3', 'V3');
    source.send({ type: types.start, ...call('V3', 1, 1) });
    const start = await destination.next();
    destination.send({ type: types.data, stream: start.stream, payload: 'old' });
    assert.equal(await source.data(3, { connection: 1, service: 'SSH' }), 'old');
  });

  await t.test(
    'localproxy -y V1 as a destination, which hears nothing after its own STREAM_RESET, is let begin anew',
    async () => {
      const { sourceToken, destinationToken } = await open('pump-7', ['SSH']);
      const userAgent = 'localproxy Linux 64-bit/boost-1.74';
      const first = await peer('destination', destinationToken, { userAgent });
      const source = await peer('source', sourceToken);
      source.send({ type: types.start, ...call('V3', 1, 1) });
      const start = await first.next(types.start);
      // Without the service's name, and with the number, as it does when it was started with both.
      const own = { stream: start.stream, connection: start.connection };
      first.send({ type: types.data, ...own, payload: 'hello' });
      assert.equal(await source.data(5), 'hello');
      source.send({ type: types.connectionStart, ...call('V3', 1, 2) });
      source.send({ type: types.data, ...call('V3', 1, 2), payload: 'next' });
      first.send({ type: types.reset, ...own });
      assert.equal((await first.closed).code, 1006, 'a close frame would end it');
      assert.equal((await source.next(types.connectionReset)).connection, 1);
      const before = first.heard.filter(({ type }) => type === types.start || type === types.connectionStart);
      assert.equal(before.length, 1, 'the next connection is not sent to who cannot hear it');
      // Its token counts once more, though it has no client token; and who waited is served.
      const second = await peer('destination', destinationToken, { userAgent });
      assert.equal((await second.next(types.start)).service, 'SSH');
      assert.equal(await second.data(4), 'next');
      const third = await knock('destination', destinationToken, { userAgent });
      assert.ok('status' in third && third.status === 400);
    },
  );

  await t.test(
    'a source that comes back: the destination hears the end of the old connections before anything new',
    async () => {
      const { open: openOne } = house;
      const { sourceToken, destinationToken } = await openOne('pump-7', ['SSH']);
      const clientToken = randomUUID();
      const destination = await peer('destination', destinationToken);
      const source = await peer('source', sourceToken, { clientToken });
      await destination.next(types.serviceIds);
      source.send({ type: types.start, ...call('V3', 1, 1) });
      const first = await destination.next();
      source.drop();
      const end = await destination.next();
      assert.deepEqual([end.type, end.connection], [types.connectionReset, first.connection]);
      // Ids begin again at 1, and mean something else.
      const again = await peer('source', sourceToken, { clientToken });
      await again.next(types.serviceIds);
      again.send({ type: types.start, ...call('V3', 1, 1) }, { type: types.data, ...call('V3', 1, 1), payload: 'new' });
      const next = await destination.next();
      assert.equal(next.type, types.connectionStart);
      assert.notEqual(next.connection, first.connection);
      assert.equal(await destination.data(3, { connection: next.connection }), 'new');
      // What the old connection still says goes nowhere.
      destination.send(
        { type: types.data, ...call('V3', first.stream, first.connection), payload: 'OLD' },
        { type: types.data, ...call('V3', next.stream, next.connection), payload: 'mine' },
      );
      assert.equal(await again.data(4), 'mine');
    },
  );

  await t.test(
    'a destination that is gone: open connections of the source end one by one, never by STREAM_RESET',
    async () => {
      const { source, destination } = await pair(house);
      source.send({ type: types.start, ...call('V3', 1, 1) }, { type: types.connectionStart, ...call('V3', 1, 2) });
      await destination.next(types.start);
      await destination.next(types.connectionStart);
      destination.drop();
      const ends = [await source.next(), await source.next()];
      assert.deepEqual(ends.map(({ type, connection }) => [type, connection]).sort(), [
        [types.connectionReset, 1],
        [types.connectionReset, 2],
      ]);
      assert.equal(
        source.heard.some(({ type }) => type === types.reset || type === types.sessionReset),
        false,
      );
    },
  );

  await t.test('a connection that comes before its destination waits for it', async () => {
    const { sourceToken, destinationToken } = await open('pump-7', ['SSH']);
    const source = await peer('source', sourceToken);
    source.send(
      { type: types.start, ...call('V3', 1, 1) },
      { type: types.data, ...call('V3', 1, 1), payload: 'early' },
    );
    const destination = await peer('destination', destinationToken);
    assert.equal((await destination.next(types.data)).payload.toString(), 'early');
  });

  await t.test('what was sent before an end arrives before it', async () => {
    const { source, destination } = await pair(house);
    const big = Buffer.alloc(64_512, 'b');
    source.send({ type: types.start, ...call('V3', 1, 1) });
    for (let count = 0; count < 20; count++) source.send({ type: types.data, ...call('V3', 1, 1), payload: big });
    source.send({ type: types.connectionReset, ...call('V3', 1, 1) });
    await destination.next(types.connectionReset);
    const bytes = destination.heard
      .filter(({ type }) => type === types.data)
      .reduce((sum, { payload }) => sum + payload.length, 0);
    assert.equal(bytes, 20 * 64_512);
  });

  await t.test('frames that are cut anywhere, and many in one message, are read as a stream', async () => {
    const { source, destination } = await pair(house);
    const bytes = Buffer.concat([
      frame({ type: types.start, ...call('V3', 1, 1) }),
      frame({ type: types.data, ...call('V3', 1, 1), payload: 'a' }),
      frame(Buffer.alloc(0)),
      frame({ type: 99, stream: 1, ignorable: true, payload: 'from the future' }),
      frame({ type: types.data, ...call('V3', 1, 1), payload: 'b' }),
    ]);
    for (let at = 0; at < bytes.length; at += 7) source.raw(bytes.subarray(at, at + 7));
    source.raw(Buffer.concat(['c', 'd'].map(payload => frame({ type: types.data, ...call('V3', 1, 1), payload }))));
    assert.equal(await destination.data(4), 'abcd');
  });

  await t.test('pings are echoed with their payload, and none is sent', async () => {
    const { source } = await pair(house);
    let pings = 0;
    source.socket.on('ping', () => pings++);
    const pong = new Promise<string>(resolve => source.socket.once('pong', data => resolve(String(data))));
    source.socket.ping('1795379464860');
    assert.equal(await pong, '1795379464860');
    assert.equal(pings, 0);
  });

  const violations: Readonly<Record<string, (source: Peer, destination: Peer) => void>> = {
    'bytes that are no message': source => source.raw(frame(Buffer.from([0xff, 0xff]))),
    'a field that no version has': source => source.raw(frame(Buffer.from([0x08, 1, 0x10, 1, 0x40, 1]))),
    'a payload beyond 64,512 bytes': source =>
      source.send({ type: types.data, ...call('V3', 1, 1), payload: Buffer.alloc(64_513) }),
    SESSION_RESET: source => source.send({ type: types.sessionReset }),
    SERVICE_IDS: source => source.send({ type: types.serviceIds }),
    'a stream id of zero': source => source.send({ type: types.start, service: 'SSH', connection: 1 }),
    'a service that the tunnel does not have': source =>
      source.send({ type: types.start, ...call('V3', 1, 1, 'TELNET') }),
    'DATA for a service that was never started': source =>
      source.send({ type: types.data, ...call('V3', 1, 1), payload: 'x' }),
    'an unknown type that may not be ignored': source => source.send({ type: 42, stream: 1 }),
    'a service where the stream was started without': source =>
      source.send({ type: types.start, stream: 1 }, { type: types.data, stream: 1, service: 'SSH', payload: 'x' }),
  };
  for (const [what, say] of Object.entries(violations)) {
    await t.test(`a source that sends ${what} is told so and let go`, async () => {
      const { source, destination } = await pair(house);
      say(source, destination);
      const { code, reason } = await source.closed;
      assert.equal(code, 1008);
      assert.notEqual(reason, '');
      assert.equal(destination.socket.readyState, 1, 'the other side is not punished');
    });
  }
  await t.test('a destination that starts streams is told so and let go', async () => {
    const { destination } = await pair(house);
    destination.send({ type: types.start, ...call('V3', 1, 1) });
    assert.equal((await destination.closed).code, 1008);
  });
  await t.test('text, and messages beyond 131,076 bytes, end the socket', async () => {
    const { source, destination } = await pair(house);
    source.socket.send('hello');
    assert.equal((await source.closed).code, 1003);
    destination.raw(Buffer.alloc(131_077));
    assert.equal((await destination.closed).code, 1009);
  });

  await t.test('closing the tunnel tells both sides with a reason', async () => {
    const { source, destination, id } = await pair(house);
    await house.call('tunnel', 'close', id);
    for (const side of [source, destination]) {
      const { code, reason } = await side.closed;
      assert.deepEqual([code, reason], [1000, 'the tunnel was closed']);
    }
  });

  await t.test(
    'tokens: one use, one side, one tunnel; the same client token may come again, another may not',
    async () => {
      const one = await open('pump-7', ['SSH']);
      const two = await open('pump-7', ['SSH']);
      const clientToken = randomUUID();
      const expect = async (
        status: number,
        text: RegExp,
        ...[mode, token, more]: Parameters<typeof knock>
      ): Promise<void> => {
        const answer = await knock(mode, token, more);
        assert.ok('status' in answer, 'was let in');
        assert.equal(answer.status, status, answer.text);
        assert.match(answer.text, text);
        assert.ok(!answer.text.includes('\n'), 'one line');
        assert.ok(answer.headers['channel-id'], 'has a channel-id');
      };
      await expect(403, /opens no tunnel/, 'source', 'skts_guessed');
      await expect(403, /for the destination side/, 'source', one.destinationToken);
      await expect(400, /query must have/, 'source', one.sourceToken, { path: '/tunnel?local-proxy-mode=both' });
      await expect(400, /query must have/, 'source', one.sourceToken, { path: '/tunnel' });
      await expect(400, /subprotocols/, 'source', one.sourceToken, { protocol: 'bogus' });
      await expect(400, /subprotocols/, 'source', one.sourceToken, { protocol: '' });
      await expect(400, /is missing/, 'source', '');
      await expect(400, /32 to 128/, 'source', one.sourceToken, { clientToken: 'short' });
      await expect(400, /longer than 4096/, 'source', one.sourceToken, { headers: { 'x-long': 'x'.repeat(4200) } });
      await expect(400, /More than one access token/, 'source', one.sourceToken, {
        headers: { cookie: `awsiot-tunnel-token=${two.sourceToken}` },
      });
      const cookie = { cookie: `a=b; awsiot-tunnel-token=${two.sourceToken}` };
      await expect(403, /pages of this gate/, 'source', '', { headers: { ...cookie, origin: 'https://evil.example' } });
      await expect(403, /pages of this gate/, 'source', '', { headers: cookie });

      const first = await peer('source', one.sourceToken, { clientToken });
      assert.match(String(first.headers['channel-id']), /^[0-9a-f-]{36}$/);
      assert.equal(first.socket.protocol, 'aws.iot.securetunneling-3.0');
      await expect(400, /client token that was previously set/, 'source', one.sourceToken);
      await expect(400, /client token that was previously set/, 'source', one.sourceToken, {
        clientToken: randomUUID(),
      });
      await expect(400, /in use by another tunnel/, 'source', two.sourceToken, { clientToken });
      // The same pair again takes the place of the first.
      const second = await peer('source', one.sourceToken, { clientToken });
      assert.equal((await first.closed).code, 4001);
      assert.equal(second.socket.readyState, 1);

      const once = await peer('destination', one.destinationToken);
      await expect(400, /previously used and can not be used again/, 'destination', one.destinationToken);
      await expect(400, /previously used/, 'destination', one.destinationToken, { clientToken: randomUUID() });
      assert.equal(once.socket.readyState, 1, 'who is in stays in');
      const byCookie = await peer('source', '', {
        token: two.sourceToken,
        headers: { cookie: `awsiot-tunnel-token=${two.sourceToken}`, origin: `https://localhost:${house.port}` },
      }).catch(error => String(error));
      assert.match(String(byCookie), /More than one/);
    },
  );

  await t.test('rotating: the old token is worth nothing, who is in stays until the new one is used', async () => {
    const { id, sourceToken } = await open('pump-7', ['SSH']);
    const first = await peer('source', sourceToken);
    const { sourceToken: fresh } = await house.call<{ sourceToken: string }>(
      'tunnel',
      'rotate',
      id,
      '--side',
      'source',
    );
    const old = await knock('source', sourceToken);
    assert.ok('status' in old && old.status === 403);
    assert.equal(first.socket.readyState, 1);
    await peer('source', fresh);
    assert.equal((await first.closed).code, 4001);
  });

  await t.test('what is carried is counted, and the audit says who joined and left', async () => {
    const { source, destination, id } = await pair(house);
    source.send(
      { type: types.start, ...call('V3', 1, 1) },
      { type: types.data, ...call('V3', 1, 1), payload: 'count me' },
    );
    await destination.data(8);
    source.send({ type: types.connectionReset, ...call('V3', 1, 1) });
    await destination.next(types.connectionReset);
    await house.call('tunnel', 'close', id);
    await source.closed;
    await until('the audit has both ends', async () => {
      const { stdout } = await house.gate.run('audit', 'search', '--resource', `tunnel/${id}`, '--json');
      return (stdout.match(/"tunnel\.left"/g) ?? []).length === 2;
    });
    const { stdout } = await house.gate.run('audit', 'search', '--resource', `tunnel/${id}`, '--json');
    assert.match(stdout, /"tunnel\.joined"/);
    assert.match(stdout, /"up": ?8|"up":8/);
  });
});
