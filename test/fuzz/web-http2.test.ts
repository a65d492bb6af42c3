// Malformed HTTP/2 at both ways of the web gate, written frame by frame: header blocks that no library would send,
// bytes that HTTP/1.1 would read as another request, frames where none may stand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Conn } from '../../src/core/parts.ts';
import { openDoors } from './web-doors.ts';

/** Cases at a time: some streams are never answered, and are waited for a moment. */
const batch = 32;
const runs = Math.ceil(Number(process.env['FUZZ_RUNS'] ?? 100) / batch);

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY] = [0, 1, 3, 4, 6, 7];
const [END_STREAM, ACK, END_HEADERS] = [1, 1, 4];

function frame(type: number, flags: number, stream: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}
/** RFC 7541 §6.2.2, without Huffman: every byte as it is. */
function literal(name: string, value: string): Buffer {
  const text = (one: string): Buffer => {
    const bytes = Buffer.from(one, 'latin1').subarray(0, 126);
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  };
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

const names = [':method', ':path', ':scheme', ':authority', ':protocol', ':status', 'host', 'content-length'];
const more = ['transfer-encoding', 'connection', 'te', 'upgrade', 'expect', 'cookie', 'x_forwarded_for', 'X-Upper', ''];
const values = [
  ...[
    'GET',
    'POST',
    'CONNECT',
    'OPTIONS',
    'GET / HTTP/1.1\r\nHost: server2\r\n\r\nGET',
    '/',
    '*',
    '/a b',
    '/a\r\nX: y',
  ],
  ...[
    'http',
    'https',
    'ws',
    'websocket',
    'server1',
    'server2',
    'server1:80',
    'server1.example.com',
    'server2.example.com',
  ],
  ...['server1@server2', 'server1\r\nHost: server2', '4', '0', '-1', '4, 4', 'chunked', 'trailers', 'x: y', 'a\0b', ''],
];
const field = fc
  .tuple(
    fc.oneof(fc.constantFrom(...names, ...more), fc.string({ unit: 'binary', maxLength: 5 })),
    fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...values) }, fc.string({ unit: 'binary', maxLength: 8 })),
  )
  .map(([name, value]) => literal(name, value));
/** A request that would be one, but for what is put into it. */
const good = (authority: string, scheme: string): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.constantFrom('GET', 'POST', 'PUT'), fc.array(field, { maxLength: 3 }))
    .map(([method, rest]) =>
      Buffer.concat([
        ...[literal(':method', method), literal(':path', '/x'), literal(':scheme', scheme)],
        ...[literal(':authority', authority), ...rest],
      ]),
    );
const odd = fc.tuple(
  fc.constantFrom(0, 1, 2, 3, 5, 8, 9, 77),
  fc.nat(255),
  fc.nat(6),
  fc.uint8Array({ maxLength: 20 }),
);

const frames = (authority: string, scheme: string): fc.Arbitrary<Buffer[]> => {
  const block = fc.oneof(
    { weight: 3, arbitrary: good(authority, scheme) },
    fc.array(field, { maxLength: 7 }).map(fields => Buffer.concat(fields)),
  );
  const request = fc
    .tuple(block, fc.boolean(), fc.array(fc.uint8Array({ maxLength: 6 }), { maxLength: 2 }))
    .map(([headers, ended, bodies]) => (stream: number): Buffer[] => [
      frame(HEADERS, END_HEADERS | (ended ? END_STREAM : 0), stream, headers),
      ...bodies.map(body => frame(DATA, 0, stream, body)),
      ...(ended ? [] : [frame(DATA, END_STREAM, stream, Buffer.alloc(0))]),
    ]);
  const other = odd.map(([type, flags, id, body]) => (): Buffer[] => [frame(type, flags, id, body)]);
  return fc
    .array(fc.oneof({ weight: 4, arbitrary: request }, other), { maxLength: 5 })
    .map(all => all.flatMap((make, at) => make(at * 2 + 1)));
};

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly body: Buffer;
}
function framesOf(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const frames: Frame[] = [];
  let rest = bytes;
  while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
    const body = rest.subarray(9, 9 + rest.readUIntBE(0, 3));
    frames.push({ type: rest[3] ?? 0, flags: rest[4] ?? 0, stream: rest.readUInt32BE(5), body });
    rest = rest.subarray(9 + body.length);
  }
  return { frames, rest };
}

/** Writes it all, and reads until the gate has said goodbye or has answered what it was asked last. */
async function speak(
  stream: Conn['stream'],
  sent: readonly Buffer[],
  patience = 250,
): Promise<{ statuses: number[]; text: string }> {
  let held: Buffer = Buffer.alloc(0);
  let text = '';
  const statuses: number[] = [];
  const open = new Set(sent.filter(one => one[3] === HEADERS).map(one => one.readUInt32BE(5)));
  const over = Promise.withResolvers<void>();
  let isAnswered = false;
  stream.once('close', () => over.resolve());
  stream.on('data', (chunk: Buffer) => {
    const read = framesOf(Buffer.concat([held, chunk]));
    held = read.rest;
    for (const { type, flags, stream: id, body } of read.frames) {
      if (type === HEADERS) statuses.push(body[0] ?? 0);
      if (type === DATA) text += body.toString('latin1');
      if (type === RST_STREAM || ((type === HEADERS || type === DATA) && flags & END_STREAM)) open.delete(id);
      if (type === GOAWAY) over.resolve();
      if (type === PING && flags & ACK) isAnswered = true;
    }
    if (isAnswered && open.size === 0) over.resolve();
  });
  // A stream that is refused without a word is never closed; nothing more is coming then.
  const end = setTimeout(over.resolve, patience);
  stream.write(
    Buffer.concat([preface, frame(SETTINGS, 0, 0, Buffer.alloc(0)), ...sent, frame(PING, 0, 0, Buffer.alloc(8))]),
  );
  await over.promise;
  clearTimeout(end);
  stream.destroy();
  return { statuses, text };
}

/** `:status: 500` of HPACK's static table. */
const internalError = 0x8e;

for (const [what, scheme, authority, sni] of [
  ['the proxy', 'http', 'server1', undefined],
  ['a renamed site', 'https', 'server1.example.com', 'server1.example.com'],
] as const) {
  test(`no malformed HTTP/2 at ${what} makes an error of ours or passes the gate by`, async () => {
    await using doors = await openDoors();
    const sound = Buffer.concat([
      ...[literal(':method', 'GET'), literal(':path', '/x'), literal(':scheme', scheme)],
      literal(':authority', authority),
    ]);
    await speak(doors.connect('h2', sni), [frame(HEADERS, END_HEADERS | END_STREAM, 1, sound)], 60_000);
    assert.equal(doors.origin.seen.length, 1, 'what is sound passes');
    await fc.assert(
      fc.asyncProperty(fc.array(frames(authority, scheme), { minLength: batch, maxLength: batch }), async cases => {
        const one = async (sent: Buffer[]): Promise<void> => {
          const { statuses, text } = await speak(doors.connect('h2', sni), sent);
          assert.ok(!statuses.includes(internalError));
          assert.doesNotMatch(text, /at .*\.ts:\d+/);
        };
        await Promise.all(cases.map(one));
      }),
      { numRuns: runs },
    );
    doors.check();
  });
}
