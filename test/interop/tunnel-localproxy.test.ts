// AWS's real localproxy on either end of our tunnels, mixed with our own ends and with peers written by hand. Left out
// with a line where LOCALPROXY=/path names none.
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, digestServer, echoing, joined, portOf, serverOf } from '../e2e/tunnel/ends.ts';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, until } from '../fixtures/gate-process.ts';
import { type LocalproxyOptions, listens, localproxyAt, withoutLocalproxy } from '../fixtures/localproxy.ts';
import { serving } from '../fixtures/programs.ts';
import { sshServer, trySsh } from '../fixtures/ssh-server.ts';
import { tap } from '../fixtures/tap.ts';
import { againOf, call, type Dialect, dialects, endOf, types } from '../fixtures/tunnel-peer.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

/** Connected; `say` sends and resolves when as much has come back. */
async function talk(t: TestContext, port: number) {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  let heard = '';
  socket
    .on('error', () => {})
    .on('data', chunk => {
      heard += chunk;
    });
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  return {
    ...{ socket, closed, heard: () => heard },
    async say(text: string): Promise<string> {
      heard = '';
      socket.write(text);
      await until(`${text.slice(0, 20)} comes back`, () => heard.length >= text.length, 30_000);
      return heard;
    },
  };
}

const text = (number: number): string => `<${number}>`.repeat(4000);

test('AWS’s localproxy', { skip: withoutLocalproxy }, async t => {
  const house = await tunnelGate(t);
  const { open, call: sekisho } = house;
  const here = localproxyAt(t, house);

  await t.test('ssh and scp, both ways, bit by bit', async t => {
    await using server = await sshServer();
    const subprotocol = (version: string): LocalproxyOptions => ({
      settings: { tunneling: { proxy: { websocket: { subprotocol: `aws.iot.securetunneling-${version}` } } } },
    });
    for (const [what, atSource, atDestination] of [
      ['on both ends', {}, {}],
      ['as a V1 source', { args: ['-y', 'V1'] }, {}],
      ['as a V2 source', { args: ['-y', 'V2'] }, {}],
      ['as a V1 destination', {}, { args: ['-y', 'V1'] }],
      ['as a V2 destination', {}, { args: ['-y', 'V2'] }],
      ['as a V1 source and a V1 destination', { args: ['-y', 'V1'] }, { args: ['-y', 'V1'] }],
      ['that offers 1.0 at the source', subprotocol('1.0'), {}],
      ['that offers 2.0 at the destination', {}, subprotocol('2.0')],
    ] as const) {
      await t.test(what, async t => {
        const { sourceToken, destinationToken } = await open('TunnelTestDevice', ['ssh']);
        await here.destination(destinationToken, { ssh: server.port }, atDestination);
        const { ports } = await here.source(sourceToken, ['ssh'], atSource);
        await trySsh(t, server, ports['ssh'] ?? 0, what === 'on both ends' ? 20_000_000 : 3_000_000);
      });
    }
  });

  await t.test('a tunnel without services, by ports alone, as article 002 starts it', async t => {
    await using server = await sshServer();
    const { sourceToken, destinationToken } = await open('TunnelTestDevice', []);
    await here.start(destinationToken, ['-d', `localhost:${server.port}`]);
    const [port = 0] = await freePorts(1);
    await here.start(sourceToken, ['-s', String(port)], { ready: /Listening for new connection/ });
    await trySsh(t, server, port, 3_000_000);
  });

  await t.test('the source, and our own destination: each connection its own bytes; back after a loss', async t => {
    const echo = await echoing(t);
    const { sourceToken, destinationToken } = await open('pump-7', ['echo']);
    await joined(t, house, {
      ...{ mode: 'destination', token: destinationToken },
      services: { echo: { host: '127.0.0.1', port: echo.port } },
    });
    await using line = await tap({ port: house.port, host: '127.0.0.1' });
    const source = await here.source(sourceToken, ['echo'], { port: line.port, clientToken: randomUUID() });
    const port = source.ports['echo'] ?? 0;
    const first = await talk(t, port);
    assert.equal(await first.say(text(1)), text(1));
    line.cut();
    await first.closed;
    await until('it has come back, and listens', () => source.output().split('Listening for').length === 3, 30_000);
    await listens(port);
    await until('the application’s end has gone', () => echo.live.size === 0);
    const talks = await Promise.all([2, 3, 4].map(() => talk(t, port)));
    const heard = await Promise.all(talks.map((one, number) => one.say(text(number))));
    assert.deepEqual(
      heard,
      talks.map((_, number) => text(number)),
    );
  });

  await t.test('our own source, and localproxy as the destination', async t => {
    const [echo, digest] = [await echoing(t), await digestServer(t)];
    const { sourceToken, destinationToken } = await open('pump-7', ['echo', 'digest']);
    await here.destination(destinationToken, { echo: echo.port, digest: digest.port });
    const source = await joined(t, house, { mode: 'source', token: sourceToken });
    const talks = await Promise.all([1, 2, 3].map(() => talk(t, portOf(source, 'echo'))));
    const heard = await Promise.all(talks.map((one, number) => one.say(text(number))));
    assert.deepEqual(
      heard,
      talks.map((_, number) => text(number)),
    );
    // The end is the end of both ways there: what was sent before has arrived, and nobody hangs.
    const closing = await talk(t, portOf(source, 'digest'));
    closing.socket.end(randomBytes(300_000));
    await closing.closed;
    await until('the applications’ end too', () => digest.live.size === 0);
  });

  await t.test('the source, and a device with our agent on its link', async t => {
    const echo = await echoing(t);
    const { code } = await sekisho<{ code: string }>(
      'device',
      'enroll',
      'pump-9',
      '--service',
      `echo=127.0.0.1:${echo.port}`,
    );
    await using agent = await serving(
      process.execPath,
      [
        main,
        'agent',
        '--gate',
        `https://localhost:${house.port}`,
        '--enroll',
        code,
        '--dir',
        join(temporaryFolder('agent'), 'a'),
      ],
      /linked|online/i,
    );
    assert.ok(agent);
    const { sourceToken } = await open('pump-9', ['echo']);
    for (const args of [[], ['-y', 'V1']]) {
      const token = args.length === 0 ? sourceToken : (await open('pump-9', ['echo'])).sourceToken;
      const { ports } = await here.source(token, ['echo'], { args });
      const one = await talk(t, ports['echo'] ?? 0);
      assert.equal(await one.say(text(9)), text(9));
      one.socket.end();
      await one.closed;
      await listens(ports['echo'] ?? 0); // a V1 source listens anew after each connection
      const next = await talk(t, ports['echo'] ?? 0);
      assert.equal(await next.say(text(10)), text(10));
    }
  });

  for (const to of Object.keys(dialects) as Dialect[]) {
    await t.test(`the source, and a ${to} destination by hand`, async t => {
      const { sourceToken, destinationToken } = await open('pump-7', ['SSH']);
      const peer = await house.peer('destination', destinationToken, { protocol: dialects[to].protocol });
      await peer.next(types.serviceIds);
      const { ports } = await here.source(sourceToken, ['SSH']);
      for (const round of [1, 2]) {
        const one = await talk(t, ports['SSH'] ?? 0);
        const start = await peer.next();
        assert.equal(start.type, round === 1 ? types.start : againOf(to));
        one.socket.write('ping');
        assert.equal(String((await peer.next(types.data)).payload), 'ping');
        peer.send({ type: types.data, ...call(to, start.stream, start.connection), payload: 'pong' });
        await until('the answer', () => one.heard() === 'pong');
        if (round === 1) {
          one.socket.destroy();
          const end = await peer.next();
          assert.deepEqual([end.type, end.stream, end.connection], [endOf(to), start.stream, start.connection]);
        } else {
          peer.send({ type: endOf(to), ...call(to, start.stream, start.connection) });
          await one.closed;
        }
      }
    });
  }

  for (const from of Object.keys(dialects) as Dialect[]) {
    await t.test(`a ${from} source by hand, and the destination`, async t => {
      const echo = await echoing(t);
      const { sourceToken, destinationToken } = await open('pump-7', ['SSH']);
      await here.destination(destinationToken, { SSH: echo.port });
      const peer = await house.peer('source', sourceToken, { protocol: dialects[from].protocol });
      await peer.next(types.serviceIds);
      for (const round of [1, 2]) {
        const stream = from === 'V3' ? 1 : round;
        peer.send(
          { type: round === 1 ? types.start : againOf(from), ...call(from, stream, round) },
          { type: types.data, ...call(from, stream, round), payload: `round ${round}` },
        );
        const where = { stream, connection: dialects[from].connection ? round : 0 };
        assert.equal(await peer.data(7, where), `round ${round}`);
        peer.send({ type: endOf(from), ...call(from, stream, round) });
        await until('the application’s connection ends', () => echo.live.size === 0);
      }
    });
  }

  await t.test('three services and 100 connections at once, each with its own bytes', async t => {
    const services = ['one', 'two', 'three'];
    const echoes = await Promise.all(services.map(() => echoing(t)));
    const { sourceToken, destinationToken } = await open('pump-7', services);
    await here.destination(
      destinationToken,
      Object.fromEntries(services.map((name, at) => [name, echoes[at]?.port ?? 0])),
    );
    const { ports } = await here.source(sourceToken, services);
    // It listens with a backlog of none: of connections that come at once the kernel lets some wait for half a minute.
    const talks: Awaited<ReturnType<typeof talk>>[] = [];
    while (talks.length < 100) {
      const next = await Promise.all(services.map(name => talk(t, ports[name] ?? 0)));
      await Promise.all(next.map(one => one.say('hello')));
      talks.push(...next);
    }
    for (const round of [1, 2]) {
      const heard = await Promise.all(talks.map((one, number) => one.say(text(number * round))));
      assert.deepEqual(
        heard,
        talks.map((_, number) => text(number * round)),
      );
    }
    for (const { socket } of talks) socket.destroy();
    await until('all have ended', () => echoes.every(({ live }) => live.size === 0), 30_000);
  });

  await t.test(
    'a token counts once, and again with its client token; who is refused is told why and ends',
    async () => {
      const { sourceToken, destinationToken } = await open('pump-7', ['echo']);
      const refused = { ready: /previously/ };
      await here.source(sourceToken, ['echo']);
      const again = await here.start(sourceToken, ['-s', 'echo=5555', '-b', '127.0.0.1'], refused);
      assert.match(again.output(), /400.*The access token was previously used and can not be used again/);
      assert.equal(await again.ended, 0);

      const clientToken = randomUUID();
      const first = await here.destination(destinationToken, { echo: 1 }, { clientToken });
      first.kill();
      await first.ended;
      const second = await here.destination(destinationToken, { echo: 1 }, { clientToken });
      // The same pair again takes the place of whoever is in, who is told so and ends.
      await here.destination(destinationToken, { echo: 1 }, { clientToken });
      assert.equal(await second.ended, 0);
      assert.match(second.output(), /another connection with the same token has taken over/);
      const stranger = await here.start(destinationToken, ['-d', 'echo=1'], { ...refused, clientToken: randomUUID() });
      assert.equal(await stranger.ended, 0);
      assert.match(stranger.output(), /does not match the client token that was previously set/);
      const guessed = await here.start('guessed', ['-d', 'echo=1'], { ready: /opens no tunnel/ });
      assert.equal(await guessed.ended, 0);
    },
  );

  await t.test('a tunnel that is closed, or whose time is over, ends both with the reason', async t => {
    const echo = await echoing(t);
    const { id, sourceToken, destinationToken } = await open('pump-7', ['echo']);
    const destination = await here.destination(destinationToken, { echo: echo.port });
    const source = await here.source(sourceToken, ['echo']);
    const one = await talk(t, source.ports['echo'] ?? 0);
    await one.say('before');
    await sekisho('tunnel', 'close', id);
    for (const side of [source, destination]) {
      assert.equal(await side.ended, 0);
      assert.match(side.output(), /the tunnel was closed/);
    }
    await one.closed;
  });

  await t.test(
    'what is sent before a client’s end arrives, and the application’s last bytes after its own end do',
    async t => {
      const digest = await digestServer(t);
      const greeting = await serverOf(t, socket => void socket.end(text(5)));
      const { sourceToken, destinationToken } = await open('pump-7', ['digest', 'greeting']);
      await here.destination(destinationToken, { digest: digest.port, greeting: greeting.port });
      const { ports } = await here.source(sourceToken, ['digest', 'greeting']);
      const greeted = await talk(t, ports['greeting'] ?? 0);
      await greeted.closed;
      assert.equal(greeted.heard(), text(5));
      // AWS's protocol has no half-close: the answer to a FIN is lost there, and the connection ends without hanging.
      assert.equal(await ask(ports['digest'] ?? 0, 'a request that ends'), '');
      await until('the application is told', () => digest.live.size === 0);
    },
  );

  await t.test('a service that stands still holds up neither its neighbour nor the gate', async t => {
    const echo = await echoing(t);
    let stuck: Socket | undefined;
    const still = await serverOf(t, socket => {
      socket.pause();
      stuck = socket;
    });
    const { sourceToken, destinationToken } = await open('pump-7', ['echo', 'still']);
    // At our own destination, whose connections have windows: the localproxy at the source goes on.
    await joined(t, house, {
      ...{ mode: 'destination', token: destinationToken },
      services: {
        echo: { host: '127.0.0.1', port: echo.port },
        still: { host: '127.0.0.1', port: still.port },
      },
    });
    const { ports } = await here.source(sourceToken, ['echo', 'still']);
    const one = await talk(t, ports['still'] ?? 0);
    one.socket.write(Buffer.alloc(2_000_000));
    await until('its application is reached', () => stuck !== undefined);
    const other = await talk(t, ports['echo'] ?? 0);
    for (let round = 0; round < 20; round++) assert.equal(await other.say(text(round)), text(round));
  });

  await t.test('a fast side does not kill it: 60 MB to its application, paced, while a neighbour speaks', async t => {
    const bytes = randomBytes(60_000_000);
    const [digest, echo] = [await digestServer(t), await echoing(t)];
    const { sourceToken, destinationToken } = await open('pump-7', ['digest', 'echo']);
    const destination = await here.destination(destinationToken, { digest: digest.port, echo: echo.port });
    const source = await joined(t, house, { mode: 'source', token: sourceToken });
    const hash = createHash('sha256');
    digest.live.clear();
    const sending = connect({ port: portOf(source, 'digest'), host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => sending.destroy());
    sending.on('error', () => {}).resume();
    let over = false;
    const closed = once(sending, 'close').then(() => {
      over = true;
    });
    sending.end(bytes);
    const other = await talk(t, portOf(source, 'echo'));
    for (let round = 0; !over; round++) assert.equal(await other.say(`round ${round}`), `round ${round}`);
    await closed;
    hash.update(bytes);
    assert.match(destination.output(), /Successfully established websocket/);
    assert.equal((destination.output().match(/too long|bad lexical|terminate/g) ?? []).length, 0);
    const again = await talk(t, portOf(source, 'echo'));
    assert.equal(await again.say('still here'), 'still here');
  });
});

test('a gate that starts anew gets its localproxies back, with and without a client token', {
  skip: withoutLocalproxy,
}, async t => {
  const [port = 0] = await freePorts(1);
  const first = await tunnelGate(t, '', { port });
  const here = localproxyAt(t, first);
  const echo = await echoing(t);
  const { id, sourceToken, destinationToken } = await first.open('pump-7', ['echo']);
  await here.destination(destinationToken, { echo: echo.port });
  const { ports } = await here.source(sourceToken, ['echo'], { clientToken: randomUUID() });
  const before = await talk(t, ports['echo'] ?? 0);
  assert.equal(await before.say('before'), 'before');
  first.gate.signal('SIGTERM');
  await first.gate.ended;
  await before.closed;
  const second = await tunnelGate(t, '', { port, folder: first.gate.folder });
  await until(
    'both are back',
    async () => {
      const shown = await second.call<Record<'source' | 'destination', { state: string }>>('tunnel', 'show', id);
      return shown.source.state === 'connected' && shown.destination.state === 'connected';
    },
    120_000,
  );
  const after = await talk(t, ports['echo'] ?? 0);
  assert.equal(await after.say('after'), 'after');
});
