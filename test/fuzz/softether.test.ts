// Mutated PACKs, data streams and requests: they are read, or refused with a `protocol` Fault, in a time that fits their size.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { parseRequest } from '../../src/features/vpn/softether/http.ts';
import { completeSecurity, packPolicy, unpackPolicy } from '../../src/features/vpn/softether/policy.ts';
import { claimsSoftEther } from '../../src/features/vpn/softether/signature.ts';
import { decodePack, encodePack, ipFields, packIp, packText, packTime, unistr } from '../../src/wire/softether-pack.ts';
import { encodeFrames, encodeKeepAlive, FrameDecoder } from '../../src/wire/vpn-frame.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 5000);
/** Milliseconds; a million runs take some minutes. */
const timeout = Math.max(120_000, numRuns * 2);

function holds<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'protocol', String(error));
    return undefined;
  }
}

/** What the real client sends at a login, in kind and number. */
const login = encodePack({
  ...{ method: 'login', hubname: 'lab', username: 'alice', authtype: 1, secure_password: randomBytes(20) },
  ...{ client_str: 'SoftEther VPN Client', client_ver: 501, client_build: 9674, max_connection: 8 },
  ...ipFields('ClientIpAddress', '10.99.1.2'),
  ...{ Note: unistr('覚え書き'), CreatedTime: 1_795_293_875_828n, PacketLogConfig: [1, 0, 1, 0] },
  ...packPolicy(completeSecurity({})),
  pencore: randomBytes(400),
});

/** A few changes of a kind that parsers fall over: bytes, lengths that are huge, cuts, repeats, insertions. */
const mutation = fc.record({
  kind: fc.constantFrom('byte', 'u32', 'cut', 'repeat', 'insert'),
  at: fc.nat(1 << 16),
  value: fc.oneof(fc.constantFrom(0, 1, 2, 0x7fffffff, 0xffffffff, 0xfffffffe, 0x3ffff), fc.nat(0xffffffff)),
  size: fc.nat(64),
});
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

function mutate(bytes: Buffer, { kind, at, value, size }: Mutation): Buffer {
  const place = bytes.length === 0 ? 0 : at % bytes.length;
  const copy = Buffer.from(bytes);
  if (kind === 'byte' && copy.length > 0) copy[place] = value & 255;
  else if (kind === 'u32' && place + 4 <= copy.length) copy.writeUInt32BE(value >>> 0, place);
  else if (kind === 'cut') return copy.subarray(0, place);
  else if (kind === 'repeat')
    return Buffer.concat([copy.subarray(0, place), copy.subarray(Math.max(0, place - size)), copy.subarray(place)]);
  else if (kind === 'insert') return Buffer.concat([copy.subarray(0, place), randomBytes(size), copy.subarray(place)]);
  return copy;
}
const mutated = (of: Buffer): fc.Arbitrary<Buffer> =>
  fc.array(mutation, { minLength: 1, maxLength: 4 }).map(list => list.reduce(mutate, of));

test('PACKs', { timeout }, () => {
  const any = fc.oneof(
    { weight: 8, arbitrary: mutated(login) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes)) },
  );
  fc.assert(
    fc.property(any, bytes => {
      const pack = holds(() => decodePack(bytes));
      if (!pack) return;
      // Whatever was read is no more than what came, and every reader of values copes with it.
      let held = 0;
      for (const { name, values } of pack.values()) {
        held += values.length;
        packIp(pack, name);
        packTime(pack, name);
        assert.ok(!packText(pack, name).includes('\0'));
      }
      assert.ok(held <= bytes.length);
      const policy = unpackPolicy(pack);
      assert.ok(policy.maxConnection >= 1 && policy.maxConnection <= 32);
      assert.ok(policy.timeOut >= 5 && policy.timeOut <= 60);
    }),
    { numRuns },
  );
});

test('nested and endless announcements allocate nothing', { timeout }, () => {
  const before = process.memoryUsage().arrayBuffers;
  for (const text of ['0003ffff', '00000001000000026100000000ffffffff', '000000010000000261000000010000000117000000']) {
    const bytes = Buffer.concat([Buffer.from(text, 'hex'), Buffer.alloc(64)]);
    for (let count = 0; count < 1000; count++) holds(() => decodePack(bytes));
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 8_000_000);
});

test('data streams', { timeout }, () => {
  const stream = Buffer.concat([
    encodeKeepAlive(randomBytes(100)),
    encodeFrames([randomBytes(60), randomBytes(1514), randomBytes(90)]),
    encodeKeepAlive(Buffer.alloc(0)),
    encodeFrames([randomBytes(1514)]),
  ]);
  fc.assert(
    fc.property(mutated(stream), fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 12 }), (bytes, cuts) => {
      const decoder = new FrameDecoder();
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        const frames = holds(() => decoder.push(bytes.subarray(at, at + cut)));
        if (!frames) return;
        for (const frame of frames) assert.ok(frame.length >= 14 && frame.length <= 1600);
        at = Math.min(bytes.length, at + cut);
      }
    }),
    { numRuns },
  );
});

test('requests, and whom they are for', { timeout }, () => {
  const head = 'POST /vpnsvc/vpn.cgi HTTP/1.1\r\nContent-Type: application/octet-stream\r\nHost: gate\r\n';
  const whole = Buffer.concat([Buffer.from(`${head}Content-Length: ${login.length}\r\n\r\n`), login]);
  fc.assert(
    fc.property(fc.oneof(mutated(whole), mutated(Buffer.from('GET / HTTP/1.1\r\nX-VPN: 1\r\n\r\n'))), bytes => {
      const read = holds(() => parseRequest(bytes));
      if (read && read !== 'more') assert.ok(read.used <= bytes.length && read.request.body.length <= 65_536);
      claimsSoftEther(bytes);
    }),
    { numRuns },
  );
});
