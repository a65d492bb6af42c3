// Hours in minutes: mixed traffic of every kind through one gate, and at the end nothing is left over. SOAK_MINUTES, default 10.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type ConnectionOptions, TLSSocket } from 'node:tls';
import { freePorts, startGate, until } from '../fixtures/gate-process.ts';
import {
  assertTidy,
  ca,
  descriptorsOf,
  endProperly,
  head,
  memoryOf,
  originate,
  plain,
  terminate,
  workersOf,
} from '../lab/house.ts';
import {
  backend,
  type Dial,
  dialPlain,
  dialTls,
  echo,
  expectPattern,
  patternAt,
  send,
  within,
} from '../lab/streams.ts';

const minutes = Number(process.env['SOAK_MINUTES'] ?? 10);
const patience = 60_000;
/**
 * Small heaps, so that what grows is a leak and not garbage that nobody was in a hurry to collect: with Node's defaults
 * three processes gain 18 MB a minute for many minutes and lose them at one full collection.
 */
const tight = { NODE_OPTIONS: '--max-old-space-size=64 --max-semi-space-size=1', MALLOC_ARENA_MAX: '1' };
/** kB a minute that all processes together may still gain after the warm-up: SQLite's pages, fragmentation. */
const mostGrowth = 3000;

interface Kind {
  readonly name: string;
  /** How often, against the others. */
  readonly weight: number;
  /** Throws what is wrong; what broke off as it should is fine. */
  readonly run: () => Promise<void>;
}

/** Sends and hears the pattern; both ends are proper. */
async function whole(socket: Socket, length: number, piece?: number): Promise<void> {
  const seed = randomInt(1_000_000);
  try {
    const heard = expectPattern(socket, seed);
    await Promise.race([send(socket, length, seed, piece).then(() => socket.end()), heard.whole]);
    const count = await within(patience, heard.whole, () => `hangs after ${heard.count()} of ${length} bytes`);
    assert.equal(count, length, 'truncated');
  } finally {
    socket.destroy();
  }
}

/** Most are small, some are large. */
const anySize = (): number => Math.floor(Math.random() ** 4 * 3_000_000) + 1;

/** Sends something, and breaks off in the middle. */
async function breakOff(socket: Socket): Promise<void> {
  socket.write(patternAt(0, randomInt(1, 100_000)));
  await pause(randomInt(30));
  if (socket instanceof TLSSocket || randomInt(2) === 0) socket.destroy();
  else socket.resetAndDestroy();
}

/** The server ends first, then hears the client out. */
async function serverFirst(socket: Socket): Promise<void> {
  try {
    const greeting = 5000;
    const heard = expectPattern(socket);
    assert.equal(await within(patience, heard.whole, () => `no greeting: ${heard.count()}`), greeting);
    await send(socket, 20_000);
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.end();
    await within(patience, closed, () => 'does not close after both ends');
  } finally {
    socket.destroy();
  }
}

async function datagrams(port: number): Promise<void> {
  const socket = createSocket('udp4');
  try {
    for (let index = 0; index < 5; index++) {
      const sent = patternAt(randomInt(1_000_000), randomInt(1, 1200));
      const answer = once(socket, 'message');
      socket.send(sent, port, '127.0.0.1');
      const [data] = await within(patience, answer, () => 'a datagram was lost on loopback');
      assert.ok(sent.equals(data as Buffer), 'corrupted: a datagram');
    }
  } finally {
    socket.close();
  }
}

/** Connects with the session of the last connection, of one TLS version. */
function resuming(port: number, version: 'TLSv1.2' | 'TLSv1.3', seen: { full: number; resumed: number }): Dial {
  let session: Buffer | undefined;
  return async () => {
    const options: ConnectionOptions = { ca: ca.cert, minVersion: version, maxVersion: version };
    const socket = (await dialTls(port, { ...options, ...(session ? { session } : {}) })()) as TLSSocket;
    socket.on('session', next => {
      session = next;
    });
    seen[socket.isSessionReused() ? 'resumed' : 'full']++;
    return socket;
  };
}

/** kB a minute, by least squares. */
function slope(points: readonly (readonly [minute: number, kB: number])[]): number {
  const mean = (at: 0 | 1): number => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return over / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

test(`${minutes} minutes of everything: no corrupted byte, no hanging connection, no leak, and the audit is whole`, async t => {
  await using server = await backend(echo);
  await using rude = await backend(socket => {
    socket.resume();
    setTimeout(() => (randomInt(2) === 0 ? socket.resetAndDestroy() : socket.destroy()), randomInt(40));
  });
  await using greeter = await backend(socket => {
    void expectPattern(socket).whole.catch(() => {});
    send(socket, 5000).then(
      () => socket.end(),
      () => {},
    );
  });
  const udp = createSocket('udp4').on('message', (data, { port }) => udp.send(data, port, '127.0.0.1'));
  udp.bind(0, '127.0.0.1');
  await once(udp, 'listening');
  t.after(() => udp.close());
  const [
    tls = 0,
    chain = 0,
    direct = 0,
    rudeTls = 0,
    rudeChain = 0,
    first = 0,
    firstChain = 0,
    datagram = 0,
    metrics = 0,
  ] = await freePorts(9);
  const gate = await startGate(t, {
    env: tight,
    config:
      head(2, `, metrics: "tcp://127.0.0.1:${metrics}"`) +
      terminate('tls', tls, server.port) +
      originate('chain', chain, tls) +
      plain('direct', direct, server.port) +
      terminate('rude', rudeTls, rude.port, ', balance: round-robin') +
      originate('rude-chain', rudeChain, rudeTls) +
      terminate('first', first, greeter.port) +
      originate('first-chain', firstChain, first) +
      `  udp: { listen: "udp://127.0.0.1:${datagram}", to: "udp://127.0.0.1:${udp.address().port}", limits: { idle: 2s } }\n`,
  });
  const seen = { full: 0, resumed: 0 };
  const twelve = resuming(tls, 'TLSv1.2', seen);
  const thirteen = resuming(tls, 'TLSv1.3', seen);
  const own = { ca: ca.cert };
  const over = (dial: Dial, body: (socket: Socket) => Promise<void>) => async () => body(await dial());
  const kinds: readonly Kind[] = [
    { name: 'TLS 1.2', weight: 4, run: over(twelve, socket => whole(socket, anySize())) },
    { name: 'TLS 1.3', weight: 6, run: over(thirteen, socket => whole(socket, anySize())) },
    { name: 'chain', weight: 8, run: over(dialPlain(chain), socket => whole(socket, anySize())) },
    { name: 'plain', weight: 3, run: over(dialPlain(direct), socket => whole(socket, anySize())) },
    { name: 'tiny writes', weight: 3, run: over(thirteen, socket => whole(socket, randomInt(1, 400), 1)) },
    {
      name: 'tiny writes, chain',
      weight: 2,
      run: over(dialPlain(chain), socket => whole(socket, randomInt(1, 400), 1)),
    },
    { name: 'client breaks off', weight: 3, run: over(dialTls(tls, own), breakOff) },
    { name: 'client breaks off, chain', weight: 3, run: over(dialPlain(chain), breakOff) },
    {
      name: 'server breaks off',
      weight: 3,
      run: over(dialPlain(rudeChain), socket => whole(socket, 100_000).catch(expectBroken)),
    },
    { name: 'server ends first', weight: 4, run: over(dialTls(first, own), serverFirst) },
    { name: 'server ends first, chain', weight: 4, run: over(dialPlain(firstChain), serverFirst) },
    { name: 'datagrams', weight: 3, run: () => datagrams(datagram) },
    { name: 'leaves in the handshake', weight: 2, run: over(dialPlain(tls), breakOff) },
  ];
  const deck = kinds.flatMap(kind => Array<Kind>(kind.weight).fill(kind));
  const [base, workers] = [descriptorsOf(gate), workersOf(gate)];
  const failures: string[] = [];
  const counts = new Map<string, number>();
  const started = performance.now();
  const elapsed = (): number => (performance.now() - started) / 60_000;
  const client = async (): Promise<void> => {
    while (elapsed() < minutes) {
      const kind = deck[randomInt(deck.length)] as Kind;
      await kind.run().catch(error => failures.push(`${kind.name}: ${(error as Error).message}`));
      counts.set(kind.name, (counts.get(kind.name) ?? 0) + 1);
    }
  };
  const memory: [number, number][] = [];
  const sampling = setInterval(() => memory.push([elapsed(), memoryOf(gate)]), 2000);
  await Promise.all(Array.from({ length: 16 }, client));
  clearInterval(sampling);

  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  t.diagnostic(`${total} connections: ${[...counts].map(([name, count]) => `${name} ${count}`).join(', ')}`);
  t.diagnostic(`TLS: ${seen.full} full handshakes, ${seen.resumed} resumed`);
  assert.deepEqual(failures, []);
  assert.ok(seen.resumed > seen.full, 'sessions are resumed');
  assert.deepEqual(workersOf(gate), workers, 'no worker died');

  const warm = memory.filter(([minute]) => minute > minutes / 3);
  const growth = slope(warm);
  const [low, high] = [Math.min(...warm.map(([, kB]) => kB)), Math.max(...warm.map(([, kB]) => kB))];
  t.diagnostic(`resident after warm-up: ${low} to ${high} kB, ${growth.toFixed(0)} kB a minute`);
  await until('open descriptors are back at the base', () => descriptorsOf(gate) <= base + 8);
  const rows = await assertTidy(gate);
  const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  const live = text.split('\n').filter(line => /^\w*(sessions|connections|conns)\{[^}]*\} [1-9]/.test(line));
  assert.deepEqual(live, [], 'no gauge counts somebody who has gone');
  t.diagnostic(`${rows.length} audit rows`);
  assert.ok(minutes < 3 || growth < mostGrowth, `memory grows by ${growth.toFixed(0)} kB a minute`);
  await endProperly(gate);
});

function expectBroken(error: Error): void {
  if (/corrupted|hangs/.test(error.message)) throw error;
}
