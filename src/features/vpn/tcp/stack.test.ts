// TCP in user space against itself over good and bad lines, and against hand-made segments.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import fc from 'fast-check';
import { conformance } from '../../../../test/conformance/streams.ts';
import { tcpHand } from '../../../../test/fixtures/tcp-hand.ts';
import { systemClock } from '../../../core/clock.ts';
import type { Conn, Listener } from '../../../core/parts.ts';
import { ConnQueue } from '../../../net/queue.ts';
import { encodeEthernet, etherTypes } from '../../../wire/ethernet.ts';
import { FrameView } from '../../../wire/frame-view.ts';
import { encodeIpv4, parseIpv4 } from '../../../wire/ipv4.ts';
import { encodeTcp, tcpFlags } from '../../../wire/tcp.ts';
import { Scoreboard } from './scoreboard.ts';
import { type TcpRequest, TcpStack } from './stack.ts';

const macs = [Uint8Array.of(2, 0, 0, 0, 0, 1), Uint8Array.of(2, 0, 0, 0, 0, 2)] as const;
const [hostA, hostB] = [parseIpv4('10.0.0.1'), parseIpv4('10.0.0.2')];
const never = new AbortController().signal;

interface Line {
  readonly a: TcpStack;
  readonly b: TcpStack;
  readonly frames: { sent: number; lost: number };
  connect(port?: number): Promise<[near: Conn, far: Conn]>;
}

/** Two stacks with a line between them that loses, doubles and reorders. */
function line({ loss = 0, reorder = 0, double = 0, memory = 64 * 1024 * 1024 } = {}): Line {
  const frames = { sent: 0, lost: 0 };
  const requests: TcpRequest[] = [];
  const waiting: ((request: TcpRequest) => void)[] = [];
  const view = new FrameView();
  const stacks: TcpStack[] = [];
  const turns: (() => void)[] = [];
  const toward: Uint8Array[][] = [[], []];
  let seed = 12_345;
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) / 2 ** 24;
  };
  let isAsked = false;
  const turn = (): void => {
    isAsked = false;
    for (const stack of stacks) stack.turn();
    for (const [index, queue] of toward.entries()) {
      const arrived = queue.splice(0);
      for (let at = 0; at < arrived.length; at++) {
        if (random() < reorder) {
          const other = Math.min(arrived.length - 1, at + 1 + Math.floor(random() * 4));
          [arrived[at], arrived[other]] = [arrived[other]!, arrived[at]!];
        }
      }
      for (const frame of arrived) {
        for (let times = random() < double ? 2 : 1; times > 0; times--) {
          assert.ok(view.read(frame));
          stacks[index]!.input(view, 'owner');
        }
      }
    }
    if (toward.some(queue => queue.length > 0)) ask();
  };
  const ask = (): void => {
    if (isAsked) return;
    isAsked = true;
    setImmediate(turn);
  };
  turns.push(turn);
  for (const index of [0, 1] as const) {
    stacks.push(
      new TcpStack({
        mac: macs[index],
        mtu: 1500,
        clock: systemClock,
        memory,
        emit: frame => {
          frames.sent++;
          if (random() < loss) frames.lost++;
          else toward[1 - index]!.push(frame);
          ask();
        },
        askTurn: ask,
        onRequest: request => {
          const taker = waiting.shift();
          if (taker) taker(request);
          else requests.push(request);
        },
      }),
    );
  }
  const [a, b] = stacks as [TcpStack, TcpStack];
  return {
    a,
    b,
    frames,
    async connect(port = 80) {
      const asked = new Promise<TcpRequest>(resolve => {
        const early = requests.shift();
        if (early) resolve(early);
        else waiting.push(resolve);
      });
      const dialled = a.dial({ mac: macs[1], host: hostB, port }, { host: hostA }, 'owner', never);
      const far = (await asked).accept();
      return [await dialled, far];
    },
  };
}

const digest = async (conn: Conn): Promise<string> => {
  const hash = createHash('sha256');
  // The iterator would destroy the stream at its end, and with it what is still to be sent.
  for await (const chunk of conn.stream.iterator({ destroyOnReturn: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
};
async function send(conn: Conn, bytes: number, chunk = 65_536): Promise<string> {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= chunk) {
    const part = randomBytes(Math.min(left, chunk));
    hash.update(part);
    if (!conn.stream.write(part)) await once(conn.stream, 'drain');
  }
  conn.stream.end();
  return hash.digest('hex');
}

conformance('user-space TCP', { addresses: 'host' }, async () => {
  const wire = line();
  const queue = new ConnQueue(16);
  const listener: Listener = {
    address: { host: '10.0.0.2', port: 80 },
    [Symbol.asyncIterator]: () => queue[Symbol.asyncIterator](),
    [Symbol.asyncDispose]: async () => queue.close(),
  };
  return {
    listener,
    async dial() {
      const [near, far] = await wire.connect();
      queue.push(far);
      return near;
    },
    async [Symbol.asyncDispose]() {
      queue.close();
      wire.a.reset();
      wire.b.reset();
    },
  };
});

for (const [name, spoilt, bytes] of [
  ['a good line', {}, 24 * 1024 * 1024],
  ['a line that loses 2 %', { loss: 0.02 }, 4 * 1024 * 1024],
  ['a line that reorders and doubles', { reorder: 0.05, double: 0.03 }, 8 * 1024 * 1024],
  ['a line that loses 5 %, reorders and doubles', { loss: 0.05, reorder: 0.05, double: 0.02 }, 1024 * 1024],
] as const) {
  test(`carries bytes exactly, both ways at once, over ${name}`, { timeout: 110_000 }, async () => {
    const wire = line(spoilt);
    const [near, far] = await wire.connect();
    const [up, down, gotUp, gotDown] = await Promise.all([
      send(near, bytes),
      send(far, bytes),
      digest(far),
      digest(near),
    ]);
    assert.equal(gotUp, up);
    assert.equal(gotDown, down);
    await new Promise(resolve => setTimeout(resolve, 10));
    assert.equal(wire.a.held, 0);
    assert.equal(wire.b.held, 0);
    wire.a.reset();
    wire.b.reset();
  });
}

test('a reader that stops holds no more than a window, and loses nothing when it goes on', {
  timeout: 60_000,
}, async () => {
  const wire = line();
  const [near, far] = await wire.connect();
  const sum = send(near, 16 * 1024 * 1024);
  // Until both buffers are full: nothing is sent any more.
  let before = -1;
  while (before !== wire.frames.sent) {
    before = wire.frames.sent;
    await new Promise(resolve => setTimeout(resolve, 30));
  }
  assert.ok(wire.b.held <= 1024 * 1024 + 65_536, `${wire.b.held} bytes are held`);
  assert.equal(await digest(far), await sum);
  wire.a.reset();
  wire.b.reset();
});

test('many small writes are not many pieces', { timeout: 60_000 }, async () => {
  const wire = line();
  const [near, far] = await wire.connect();
  const sum = send(near, 60_000, 3);
  assert.equal(await digest(far), await sum);
  wire.a.reset();
  wire.b.reset();
});

test('a connection that nobody takes is refused at once', async () => {
  const frames: Uint8Array[] = [];
  const view = new FrameView();
  const nobody = new TcpStack({ mac: macs[1], mtu: 1500, clock: systemClock, emit: f => frames.push(f), askTurn() {} });
  const caller: TcpStack = new TcpStack({
    mac: macs[0],
    mtu: 1500,
    clock: systemClock,
    emit(frame) {
      view.read(frame);
      nobody.input(view, 1);
      for (const answer of frames.splice(0)) {
        setImmediate(() => {
          view.read(answer);
          caller.input(view, 1);
        });
      }
    },
    askTurn() {},
  });
  await assert.rejects(caller.dial({ mac: macs[1], host: hostB, port: 9 }, { host: hostA }, 1, never), {
    code: 'unreachable',
  });
});

// --- By hand --------------------------------------------------------------------------------------------------------

const { fin, syn, rst, psh, ack } = tcpFlags;

test('the handshake says what it can: MSS, scale and SACK only where they were offered', () => {
  const plain = tcpHand();
  const { answer } = plain.connect({ mss: 1000 });
  assert.equal(answer.flags, syn | ack);
  assert.deepEqual(answer.options, { mss: 1460 });
  assert.equal(answer.acknowledgement, 1000);
  const full = tcpHand();
  assert.deepEqual(full.connect({ mss: 1460, windowScale: 7, sackPermitted: true }).answer.options, {
    mss: 1460,
    windowScale: 6,
    sackPermitted: true,
  });
});

test('a SYN is answered only when the request is, and a repeated one is the same request', () => {
  const { give, requests, out } = tcpHand();
  give({ flags: syn, sequence: 1 });
  give({ flags: syn, sequence: 1 });
  assert.equal(requests.length, 1);
  assert.equal(out.length, 0);
  requests[0]?.refuse();
  assert.equal(out[0]?.flags, rst | ack);
  assert.equal(out[0]?.acknowledgement, 2);
});

test('a caller that gives up ends its request', () => {
  const { give, requests } = tcpHand();
  give({ flags: syn, sequence: 1 });
  give({ flags: rst, sequence: 2 });
  assert.ok(requests[0]?.signal.aborted);
  assert.throws(() => requests[0]?.accept(), { code: 'gone' });
});

test('three duplicates bring the lost segment again, and a partial acknowledgement the next one', () => {
  const { connect, give, out, turn } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000 });
  conn.stream.write(Buffer.alloc(8000, 1));
  turn();
  assert.equal(out.length, 8);
  out.length = 0;
  for (let times = 0; times < 2; times++) give({ sequence: 1000, acknowledgement: theirs });
  assert.equal(out.length, 0);
  give({ sequence: 1000, acknowledgement: theirs });
  assert.equal(out[0]?.sequence, theirs);
  out.length = 0;
  give({ sequence: 1000, acknowledgement: theirs + 3000 });
  assert.equal(out[0]?.sequence, theirs + 3000);
  conn.stream.destroy();
});

test('what is missing by SACK comes again at once, each hole once, and lies change nothing', () => {
  const { connect, give, out, turn } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000, sackPermitted: true });
  conn.stream.write(Buffer.from(Array.from({ length: 10 }, (_, index) => 'x'.repeat(999) + index).join('')));
  turn();
  assert.equal(out.length, 10);
  out.length = 0;
  const at = (index: number): number => (theirs + index * 1000) >>> 0;
  const part = (index: number): readonly [number, number] => [at(index), at(index + 1)];
  const heard = (...sack: (readonly [number, number])[]): void =>
    give({ sequence: 1000, acknowledgement: theirs, options: { sack } });
  // Lost: 0, 2, 4 and 6.
  heard(part(1));
  heard(part(3), part(1), [at(50), at(60)]);
  heard(part(5), part(3), part(1));
  heard([at(7), at(8)], part(5), part(3));
  heard([at(7), at(9)], part(5), part(3));
  heard([at(7), at(10)], part(5), part(3));
  assert.deepEqual(
    out.map(({ sequence }) => sequence),
    [at(0), at(2), at(4), at(6)],
  );
  assert.deepEqual(
    out.map(({ payload }) => payload.at(-1)),
    [...'0246'].map(digit => digit.charCodeAt(0)),
  );
  out.length = 0;
  give({ sequence: 1000, acknowledgement: at(2), options: { sack: [[at(7), at(10)], part(5), part(3)] } });
  assert.equal(out.length, 0, 'it is on its way');
  give({ sequence: 1000, acknowledgement: at(10) });
  assert.equal(out.length, 0);
  conn.stream.destroy();
});

test('the scoreboard knows the same holes as a list of all bytes', () => {
  const range = fc.tuple(fc.integer({ min: -5, max: 60 }), fc.integer({ min: 0, max: 20 }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 40 }), fc.integer({ min: 0, max: 55 }), fc.nat(), (ranges, una, base) => {
      const board = new Scoreboard();
      const has = new Set<number>();
      const at = (offset: number): number => (base + offset) >>> 0;
      for (const [from, length] of ranges) {
        const taken = board.add(at(from), at(from + length), at(0), at(60));
        const isFine = from > 0 && length > 0 && from + length <= 60;
        const bytes = Array.from({ length }, (_, index) => from + index);
        assert.equal(taken, isFine && bytes.some(byte => !has.has(byte)));
        if (isFine) for (const byte of bytes) has.add(byte);
      }
      board.acknowledged(at(una));
      for (let byte = una; has.delete(byte); byte++); // a peer that still asks for it has thrown it away
      let from = una;
      while (has.has(from)) from++;
      const last = Math.max(-1, ...has);
      let to = from;
      while (to < last && !has.has(to)) to++;
      const hole = board.hole(at(una));
      assert.deepEqual(hole, from < last ? { from: at(from), to: at(to) } : undefined);
    }),
  );
});

test('what is not acknowledged comes again, each time later, and at last the connection is given up', async () => {
  const { connect, out, clock, turn } = tcpHand();
  const { conn } = connect();
  const failed = once(conn.stream, 'error');
  conn.stream.write('x');
  turn();
  const sent: number[] = [];
  out.length = 0;
  const start = clock.now().getTime();
  for (let ms = 0; ms < 600_000 && !conn.stream.destroyed; ms += 50) {
    clock.move(50);
    if (out.length > 0) sent.push(clock.now().getTime() - start);
    out.length = 0;
  }
  assert.ok(sent.length >= 10, `${sent}`);
  for (let index = 2; index < 6; index++) {
    const [a, b, c] = [sent[index - 2]!, sent[index - 1]!, sent[index]!];
    assert.ok(c - b >= (b - a) * 1.5, `${sent}`);
  }
  assert.equal((await failed)[0].code, 'ETIMEDOUT');
});

test('a closed window is probed for as long as the peer answers, and its opening is used', () => {
  const { connect, give, out, clock, turn } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000 });
  give({ sequence: 1000, acknowledgement: theirs, window: 0 });
  conn.stream.write(Buffer.alloc(500, 7));
  turn();
  assert.equal(out.length, 0);
  for (let probes = 0; probes < 40; probes++) {
    for (let ms = 0; out.length === 0 && ms < 70_000; ms += 50) clock.move(50);
    assert.equal(out[0]?.payload.length, 1);
    out.length = 0;
    give({ sequence: 1000, acknowledgement: theirs, window: 0 });
  }
  assert.equal(conn.stream.destroyed, false);
  give({ sequence: 1000, acknowledgement: theirs, window: 4000 });
  assert.equal(out[0]?.payload.length, 500);
  conn.stream.destroy();
});

test('a window smaller than a segment is filled after a while, not at once', () => {
  const { connect, give, out, clock, turn } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000 });
  give({ sequence: 1000, acknowledgement: theirs, window: 100 });
  conn.stream.write(Buffer.alloc(5000, 7));
  turn();
  assert.equal(out.length, 0);
  for (let ms = 0; out.length === 0 && ms < 5000; ms += 50) clock.move(50);
  assert.equal(out[0]?.payload.length, 100);
  conn.stream.destroy();
});

test('a gap is told with SACK, and filled in any order', async () => {
  const { connect, give, out } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000, sackPermitted: true });
  const data = Buffer.from('abcdefghij');
  const part = (from: number, to: number): void =>
    give({ sequence: 1000 + from, acknowledgement: theirs, flags: ack | psh, payload: data.subarray(from, to) });
  part(4, 6);
  assert.equal(out.pop()?.acknowledgement, 1000);
  part(8, 10);
  part(2, 7); // overlaps on both sides
  part(0, 3);
  part(6, 9);
  assert.equal(out.pop()?.acknowledgement, 1010);
  assert.equal(conn.stream.read()?.toString(), 'abcdefghij');
  conn.stream.destroy();
});

test('a reset counts only with the very next number; others are challenged (RFC 5961)', async () => {
  const { connect, give, out } = tcpHand();
  const { conn, theirs } = connect();
  out.length = 0;
  give({ flags: rst, sequence: 1500 });
  assert.equal(out.pop()?.flags, ack);
  assert.equal(conn.stream.destroyed, false);
  give({ flags: syn, sequence: 1500 });
  assert.equal(out.pop()?.flags, ack);
  give({ flags: rst, sequence: 900_000_000 });
  assert.equal(conn.stream.destroyed, false);
  give({ flags: ack, sequence: 1000, acknowledgement: theirs + 5000 }); // of what was never sent
  assert.equal(conn.stream.destroyed, false);
  const failed = once(conn.stream, 'error');
  give({ flags: rst, sequence: 1000 });
  assert.equal((await failed)[0].code, 'ECONNRESET');
});

test('challenges are few, so that nobody can make us shout', () => {
  const { connect, give, out } = tcpHand();
  connect();
  out.length = 0;
  for (let times = 0; times < 100; times++) give({ flags: rst, sequence: 1500 });
  assert.ok(out.length <= 10);
});

test('both ends close at once and after each other, and a FIN that comes again is answered again', async () => {
  const { connect, give, out, turn, clock, stack } = tcpHand();
  const { conn, theirs } = connect();
  conn.stream.resume();
  give({ flags: fin | ack, sequence: 1000, acknowledgement: theirs });
  assert.equal(out.pop()?.acknowledgement, 1001);
  out.length = 0;
  give({ flags: fin | ack, sequence: 1000, acknowledgement: theirs });
  assert.equal(out.pop()?.acknowledgement, 1001);
  conn.stream.end();
  turn();
  assert.equal(out.pop()?.flags, fin | ack);
  give({ sequence: 1001, acknowledgement: theirs + 1 });
  assert.equal(stack.count, 0);
  const second = connect();
  second.conn.stream.resume();
  second.conn.stream.end();
  turn();
  give({ flags: fin | ack, sequence: 1000, acknowledgement: second.theirs });
  give({ sequence: 1001, acknowledgement: second.theirs + 1 });
  assert.equal(stack.count, 1); // TIME-WAIT
  for (let ms = 0; ms < 11_000; ms += 50) clock.move(50);
  assert.equal(stack.count, 0);
});

test('who only waits for the end of a connection gives way to who begins one', () => {
  const { connect, give, stack, turn, requests } = tcpHand({ limit: 1 });
  const { conn, theirs } = connect();
  give({ flags: syn, sequence: 1, sourcePort: 6000 });
  assert.equal(requests.length, 0, 'full');
  conn.stream.resume();
  conn.stream.end();
  turn();
  give({ flags: fin | ack, sequence: 1000, acknowledgement: theirs });
  give({ sequence: 1001, acknowledgement: theirs + 1 });
  assert.equal(stack.count, 1, 'TIME-WAIT');
  give({ flags: syn, sequence: 1, sourcePort: 6000 });
  assert.equal(requests.length, 1);
});

test('somebody else cannot send in the name of a connection', () => {
  const { connect, stack, out } = tcpHand();
  const { conn, theirs } = connect();
  out.length = 0;
  const view = new FrameView();
  const payload = encodeTcp(
    {
      sourcePort: 5000,
      targetPort: 80,
      sequence: 1000,
      acknowledgement: theirs,
      flags: ack | psh,
      window: 100,
      options: {},
      payload: Buffer.from('evil'),
    },
    hostA,
    hostB,
  );
  const packet = encodeIpv4({
    source: hostA,
    target: hostB,
    protocol: 6,
    ttl: 64,
    id: 1,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    payload,
  });
  view.read(encodeEthernet({ target: macs[1], source: macs[0], type: etherTypes.ipv4, payload: packet }));
  stack.input(view, 'another');
  stack.turn();
  assert.equal(conn.stream.read(), null);
  conn.stream.destroy();
});

test('when memory is short, windows shrink but nothing is lost', { timeout: 60_000 }, async () => {
  const wire = line({ memory: 256 * 1024 });
  const pairs = await Promise.all(Array.from({ length: 8 }, (_, index) => wire.connect(80 + index)));
  const sums = pairs.map(([near]) => send(near, 1024 * 1024));
  await new Promise(resolve => setTimeout(resolve, 200));
  assert.ok(wire.b.held < 12 * 1024 * 1024);
  const got = await Promise.all(pairs.map(([, far]) => digest(far)));
  assert.deepEqual(got, await Promise.all(sums));
  wire.a.reset();
  wire.b.reset();
});
