// Our own source and destination against a real gate: half-close, many connections, losses, proxies, restarts.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { type JoinOptions, proxyFor } from '../../../src/features/tunnel/local.ts';
import { freePorts, until } from '../../fixtures/gate-process.ts';
import { tap } from '../../fixtures/tap.ts';
import { ask, digestServer, echoing, joined, portOf, serverOf } from './ends.ts';
import { tunnelGate } from './rig.ts';

test('our own ends of a tunnel', async t => {
  const house = await tunnelGate(t);
  const { open } = house;
  const both = async (
    t: TestContext,
    targets: Record<string, number>,
    between: { source?: number; destination?: number } = {},
  ) => {
    const services = Object.keys(targets);
    const { id, sourceToken, destinationToken } = await open('pump-7', services);
    const destination = await joined(t, house, {
      ...{ mode: 'destination', token: destinationToken },
      ...(between.destination === undefined ? {} : { endpoint: `localhost:${between.destination}` }),
      services: Object.fromEntries(Object.entries(targets).map(([name, port]) => [name, { host: '127.0.0.1', port }])),
    });
    const source = await joined(t, house, {
      ...{ mode: 'source', token: sourceToken },
      ...(between.source === undefined ? {} : { endpoint: `localhost:${between.source}` }),
    });
    return { id, source, destination };
  };

  await t.test('half-close survives both hops, several services at once', async t => {
    const [digest, echo] = [await digestServer(t), await echoing(t)];
    const { source } = await both(t, { digest: digest.port, echo: echo.port });
    const bytes = randomBytes(3_000_000);
    const [there, back] = await Promise.all([
      ask(portOf(source, 'digest'), bytes),
      ask(portOf(source, 'echo'), 'hello'),
    ]);
    assert.equal(there, createHash('sha256').update(bytes).digest('hex'));
    assert.equal(back, 'hello');
  });

  await t.test('300 connections at once, each with its own bytes', async t => {
    const echo = await echoing(t);
    const { source } = await both(t, { echo: echo.port });
    const said = Array.from({ length: 300 }, (_, number) => `${number}:`.repeat(500));
    const heard = await Promise.all(said.map(text => ask(portOf(source, 'echo'), text)));
    assert.deepEqual(heard, said);
  });

  await t.test('a reader that stands still holds up neither its neighbours nor memory', async t => {
    const flood = await serverOf(t, socket => {
      const more = (): void => {
        while (socket.write(Buffer.alloc(65_536))) {
          // until it does not take more
        }
      };
      socket.on('drain', more);
      more();
    });
    const echo = await echoing(t);
    const { source, id } = await both(t, { flood: flood.port, echo: echo.port });
    const stuck = connect(portOf(source, 'flood'), '127.0.0.1');
    t.after(() => stuck.destroy());
    stuck.pause();
    await once(stuck, 'connect');
    for (let round = 0; round < 20; round++)
      assert.equal(await ask(portOf(source, 'echo'), `still here ${round}`), `still here ${round}`);
    const shown = await house.call<{ connections: number }>('tunnel', 'show', id);
    assert.ok(shown.connections >= 1);
  });

  await t.test(
    'lost connections at random moments: both ends come back, and no byte lands in a connection that it is not of',
    async t => {
      const echo = await echoing(t);
      await using left = await tap({ port: house.port, host: '127.0.0.1' });
      await using right = await tap({ port: house.port, host: '127.0.0.1' });
      const { source } = await both(t, { echo: echo.port }, { source: left.port, destination: right.port });
      let finished = 0;
      let broken = 0;
      const life = new AbortController();
      /** Says its own name again and again; whatever comes back must be a beginning of what it said. */
      const talk = async (number: number): Promise<void> => {
        while (!life.signal.aborted) {
          const socket = connect(portOf(source, 'echo'), '127.0.0.1');
          const text = `<${number}.${finished}.${broken}>`.repeat(20_000);
          let heard = '';
          socket
            .on('error', () => {})
            .on('data', chunk => {
              heard += chunk;
            });
          socket.end(text);
          await new Promise(resolve => socket.once('close', resolve));
          assert.ok(text.startsWith(heard), `connection ${number} heard what is not its own`);
          if (heard.length === text.length) finished++;
          else broken++;
        }
      };
      const talkers = Array.from({ length: 8 }, (_, number) => talk(number));
      for (let round = 0; round < 12; round++) {
        const before = finished + broken;
        await until('something is carried', () => finished + broken > before);
        (round % 2 === 0 ? left : right).cut();
      }
      const since = finished;
      await until('it goes on after the last loss', () => finished > since + 8);
      life.abort();
      await Promise.all(talkers);
      assert.ok(finished > 8);
    },
  );

  await t.test('1,000 connections opened and closed leave nothing behind', async t => {
    const echo = await echoing(t);
    const { source, id } = await both(t, { echo: echo.port });
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, async (_, number) => {
          if (number % 3 > 0) return (await ask(portOf(source, 'echo'), 'x')) === 'x';
          const socket = connect(portOf(source, 'echo'), '127.0.0.1');
          socket.on('error', () => {});
          await once(socket, 'connect');
          number % 2 === 0 ? socket.destroy() : socket.resetAndDestroy();
          return true;
        }),
      );
      assert.ok(answers.every(Boolean));
    }
    await until('the applications’ sockets are closed', () => echo.live.size === 0);
    await until(
      'the gate carries none',
      async () => (await house.call<{ connections: number }>('tunnel', 'show', id)).connections === 0,
    );
  });

  await t.test('an application that is not there: the client’s connection ends at once', async t => {
    const [nothing = 0] = await freePorts(1);
    const { source } = await both(t, { ssh: nothing });
    const socket = connect(portOf(source, 'ssh'), '127.0.0.1');
    socket.on('error', () => {});
    await new Promise(resolve => socket.once('close', resolve));
  });

  await t.test('stdin and stdout instead of a port: one connection, and its end is the end', async t => {
    const echo = await echoing(t);
    const { sourceToken, destinationToken } = await open('pump-7', ['ssh']);
    await joined(t, house, {
      mode: 'destination',
      token: destinationToken,
      services: { '*': { host: '127.0.0.1', port: echo.port } },
    });
    const { Duplex } = await import('node:stream');
    const [input, output] = [new PassThrough(), new PassThrough()];
    const source = await joined(t, house, {
      ...{ mode: 'source', token: sourceToken },
      services: { '*': { stream: Duplex.from({ readable: input, writable: output }) } },
    });
    input.end('through stdio');
    let heard = '';
    for await (const chunk of output) heard += chunk;
    assert.equal(heard, 'through stdio');
    assert.equal((await source.ended).cause, 'closed');
  });

  await t.test('a tunnel that is closed ends both ends with the reason', async t => {
    const echo = await echoing(t);
    const { id, source, destination } = await both(t, { echo: echo.port });
    await house.call('tunnel', 'close', id);
    for (const side of [source, destination])
      assert.deepEqual(await side.ended, { cause: 'closed', text: 'the tunnel was closed' });
  });

  await t.test(
    'what will not get better is said at once: a wrong token, an unknown CA, a service that is none, a port in use',
    async t => {
      const { sourceToken } = await open('pump-7', ['ssh']);
      const busy = await echoing(t);
      const attempt = (options: Partial<JoinOptions>): Promise<unknown> =>
        joined(t, house, { mode: 'source', token: sourceToken, ...options });
      await assert.rejects(attempt({ token: 'guessed' }), {
        code: 'denied',
        message: /Invalid access token: It opens no tunnel/,
      });
      await assert.rejects(attempt({ mode: 'destination' }), { code: 'denied', message: /for the source side/ });
      await assert.rejects(attempt({ ca: [] }), {
        code: 'unreachable',
        message: /CA that this machine does not trust/,
      });
      await assert.rejects(attempt({ endpoint: 'localhost/elsewhere' }), { code: 'invalid' });
      await assert.rejects(attempt({ token: sourceToken, services: { telnet: { host: '127.0.0.1', port: 0 } } }), {
        ...{ code: 'invalid', message: /no service "telnet"; this tunnel has: ssh/ },
      });
      const second = await open('pump-7', ['ssh']);
      await assert.rejects(
        attempt({ token: second.sourceToken, services: { ssh: { host: '127.0.0.1', port: busy.port } } }),
        { code: 'conflict', message: /in use/ },
      );
    },
  );

  await t.test('through an HTTP proxy with a user and a password', async t => {
    const echo = await echoing(t);
    const asked: string[] = [];
    const proxy = await serverOf(t, socket => {
      socket.once('data', head => {
        asked.push(String(head));
        if (!/proxy-authorization: Basic dTo6cEBzcw==\r\n/.test(String(head))) {
          socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
          return;
        }
        const far = connect(house.port, '127.0.0.1');
        far.on('error', () => socket.destroy());
        socket.on('error', () => far.destroy());
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        socket.pipe(far).pipe(socket);
      });
    });
    const { sourceToken, destinationToken } = await open('pump-7', ['ssh']);
    const through = { proxy: `http://u:%3Ap%40ss@127.0.0.1:${proxy.port}` };
    await joined(t, house, {
      mode: 'destination',
      token: destinationToken,
      services: { ssh: { host: '127.0.0.1', port: echo.port } },
    });
    const source = await joined(t, house, { mode: 'source', token: sourceToken, ...through });
    assert.equal(await ask(portOf(source, 'ssh'), 'by proxy'), 'by proxy');
    assert.match(asked[0] ?? '', new RegExp(`^CONNECT localhost:${house.port} HTTP/1.1\r\n`));
    await assert.rejects(
      joined(t, house, { mode: 'source', token: sourceToken, proxy: `http://127.0.0.1:${proxy.port}` }),
      { code: 'denied', message: /wants a user and a password/ },
    );
  });
});

test('the environment’s proxy: https_proxy first, NO_PROXY with names, suffixes and ports', () => {
  const env = {
    https_proxy: 'http://a:1',
    HTTPS_PROXY: 'http://b:2',
    NO_PROXY: 'localhost, .internal,example.com:8443 10.0.0.1',
  };
  assert.equal(proxyFor('gate.example.org', 443, env), 'http://a:1/');
  assert.equal(proxyFor('gate.example.org', 443, { HTTPS_PROXY: 'b:2' }), 'http://b:2/');
  for (const host of ['localhost', 'a.internal', 'internal', '10.0.0.1'])
    assert.equal(proxyFor(host, 443, env), undefined, host);
  assert.equal(proxyFor('example.com', 443, env), 'http://a:1/');
  assert.equal(proxyFor('example.com', 8443, env), undefined);
  assert.equal(proxyFor('gate.example.org', 443, { ...env, NO_PROXY: '*' }), undefined);
  assert.equal(proxyFor('gate.example.org', 443, {}), undefined);
});

test('a gate that starts anew: sides come back with the tokens they have, also without a client token', async t => {
  const [port = 0] = await freePorts(1);
  const first = await tunnelGate(t, '', { port });
  const echo = await echoing(t);
  const { id, sourceToken, destinationToken } = await first.open('pump-7', ['echo']);
  // As a plain localproxy: no client token of its own.
  const plain = await first.peer('destination', destinationToken);
  await plain.next();
  const source = await joined(t, first, {
    mode: 'source',
    token: sourceToken,
    services: { echo: { host: '127.0.0.1', port: 0 } },
  });
  assert.ok(echo.port);
  first.gate.signal('SIGTERM');
  const { code } = await plain.closed;
  assert.equal(code, 1006, 'no close frame, or localproxy would end');
  await first.gate.ended;
  const second = await tunnelGate(t, '', { port, folder: first.gate.folder });
  const back = await second.peer('destination', destinationToken);
  await back.next();
  await until('the source is back', async () => {
    const shown = await second.call<{ source: { state: string } }>('tunnel', 'show', id);
    return shown.source.state === 'connected';
  });
  // Once: after that the token is spent as any other.
  const again = await second.knock('destination', destinationToken);
  assert.ok('status' in again && again.status === 400);
  assert.equal(
    source.log.lines.some(({ level }) => level === 'error'),
    false,
  );
});
