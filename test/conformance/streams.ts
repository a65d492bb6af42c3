// What every pair of a Listener and a way to dial it promises. Each transport of net/ is run through this one suite.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Conn, Listener } from '../../src/core/parts.ts';
import { reset } from '../../src/net/reset.ts';

export interface Transport extends AsyncDisposable {
  readonly listener: Listener;
  /** Turns an accepted conn into the one that is tested (TLS); default: as it is. */
  accept?(conn: Conn): Promise<Conn>;
  dial(): Promise<Conn>;
}
export interface Promises {
  /** Whether conns of this transport know both addresses. */
  readonly addresses: 'host' | 'path';
  /** `end`: the transport has no word for an abort (unix sockets), the other side sees an end at best. */
  readonly abort?: 'error' | 'end';
}

/** Registers the suite. `open` gives a fresh transport for each test. */
export function conformance(name: string, promises: Promises, open: () => Promise<Transport>): void {
  const check = (promise: string, body: (client: Conn, server: Conn) => Promise<void>): void => {
    test(`${name}: ${promise}`, { timeout: 20_000 }, async () => {
      await using transport = await open();
      const [client, server] = await pair(transport);
      try {
        await body(client, server);
      } finally {
        client.stream.destroy();
        server.stream.destroy();
      }
    });
  };

  check('says who is at the other end, and where it was reached', async (client, server) => {
    for (const conn of [client, server]) {
      assert.ok(promises.addresses in conn.peer, JSON.stringify(conn.peer));
      assert.ok(conn.local && promises.addresses in conn.local);
    }
    if (promises.addresses === 'host') {
      assert.deepEqual(client.peer, server.local);
      assert.deepEqual(client.local, server.peer);
    }
  });

  check('keeps the answer when the client half-closes', async (client, server) => {
    client.stream.end('question');
    assert.equal(await text(server), 'question');
    server.stream.end('answer');
    assert.equal(await text(client), 'answer');
  });

  check('keeps the question when the server half-closes first', async (client, server) => {
    server.stream.end('greeting');
    assert.equal(await text(client), 'greeting');
    client.stream.end('late question');
    assert.equal(await text(server), 'late question');
  });

  check('holds the writer back while nobody reads, and loses nothing', async (client, server) => {
    const chunk = Buffer.alloc(65_536, 1);
    let sent = 0;
    while (client.stream.write(chunk) || sent < 32 * chunk.length) {
      sent += chunk.length;
      assert.ok(sent < 256 * 1024 * 1024, 'no back-pressure after 256 MiB');
      await new Promise(setImmediate);
    }
    sent += chunk.length;
    assert.ok(client.stream.writableNeedDrain);
    client.stream.end();
    let received = 0;
    for await (const piece of server.stream) received += (piece as Buffer).length;
    assert.equal(received, sent);
  });

  check('keeps the order of very small writes', async (client, server) => {
    const sent = Array.from({ length: 2000 }, (_, index) => String.fromCharCode(97 + (index % 26)));
    for (const letter of sent) client.stream.write(letter);
    client.stream.end();
    assert.equal(await text(server), sent.join(''));
  });

  check('close says goodbye properly, and is done when the other side has too', async (client, server) => {
    server.stream.write('last words');
    const closed = server.close(AbortSignal.timeout(10_000));
    assert.equal(await text(client), 'last words');
    client.stream.end();
    await closed;
    assert.ok(server.stream.destroyed);
    await client.close(AbortSignal.timeout(10_000));
  });

  check('close gives up at its deadline', async (_client, server) => {
    const deadline = new AbortController();
    const closed = server.close(deadline.signal);
    deadline.abort();
    await closed;
    assert.ok(server.stream.destroyed);
  });

  test(`${name}: disposing the listener ends the accepting and leaves open conns alone`, {
    timeout: 20_000,
  }, async () => {
    await using transport = await open();
    const [client, server] = await pair(transport);
    const next = transport.listener[Symbol.asyncIterator]().next();
    await transport.listener[Symbol.asyncDispose]();
    assert.equal((await next).done, true);
    client.stream.end('still here');
    assert.equal(await text(server), 'still here');
    server.stream.destroy();
    client.stream.destroy();
  });

  if (promises.abort === 'end') return;
  check('carries an abort to the other side as an error, not as an end', async (client, server) => {
    server.stream.write('x');
    await once(client.stream, 'data');
    client.stream.on('end', () => assert.fail('the abort looked like an end'));
    const broken = new Promise<NodeJS.ErrnoException>(resolve => client.stream.once('error', resolve));
    reset(server.stream);
    assert.equal((await broken).code, 'ECONNRESET');
    assert.ok(server.stream.destroyed);
  });
}

async function pair(transport: Transport): Promise<[Conn, Conn]> {
  const accepted = transport.listener[Symbol.asyncIterator]().next();
  const [client, server] = await Promise.all([
    transport.dial(),
    accepted.then(({ value }) => {
      assert.ok(value);
      return transport.accept ? transport.accept(value) : value;
    }),
  ]);
  return [client, server];
}

/** Everything until the end, as text. */
export async function text(conn: Conn): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of conn.stream.iterator({ destroyOnReturn: false })) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}
