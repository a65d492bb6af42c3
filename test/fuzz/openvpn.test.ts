// Mutated OpenVPN packets and exchanges of keys: read, or refused with a `protocol` Fault; never anything else.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import { DataKey, keyMaterialLength } from '../../src/features/vpn/openvpn/data-key.ts';
import { readOffer } from '../../src/features/vpn/openvpn/offer.ts';
import { tlsCrypt } from '../../src/features/vpn/openvpn/tls-crypt.ts';
import { Refusal } from '../../src/features/vpn/softether/errors.ts';
import { claimsOpenVpn, decodeControl, encodeControl, opcodes, PacketSplitter } from '../../src/wire/openvpn.ts';
import { decodeKeyExchange, encodeKeyExchange, LineSplitter } from '../../src/wire/openvpn-keys.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 5000);
/** Milliseconds; a million runs take some minutes. */
const timeout = Math.max(120_000, numRuns * 2);

function holds<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok((error instanceof Fault && error.code === 'protocol') || error instanceof Refusal, String(error));
    return undefined;
  }
}

const change = fc.record({ at: fc.nat(4096), value: fc.nat(255), cut: fc.boolean() });
const mutated = (of: Buffer): fc.Arbitrary<Buffer> =>
  fc.array(change, { minLength: 1, maxLength: 5 }).map(changes =>
    changes.reduce((bytes, { at, value, cut }) => {
      if (bytes.length === 0) return bytes;
      if (cut && value > 200) return bytes.subarray(0, at % bytes.length);
      const copy = Buffer.from(bytes);
      copy[at % copy.length] = value;
      return copy;
    }, of),
  );
const any = fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes));

const control = encodeControl({
  ...{ opcode: opcodes.control, keyId: 1, session: randomBytes(8), acks: [1, 2, 3], far: randomBytes(8), id: 4 },
  payload: randomBytes(100),
});
test('control packets, alone and in streams', { timeout }, () => {
  fc.assert(
    fc.property(fc.oneof({ weight: 8, arbitrary: mutated(control) }, { weight: 1, arbitrary: any }), bytes => {
      holds(() => decodeControl(bytes));
      holds(() => new PacketSplitter().push(bytes));
      claimsOpenVpn(bytes);
    }),
    { numRuns },
  );
});

const exchange = encodeKeyExchange({
  ...{ preMaster: randomBytes(48), random1: randomBytes(32), random2: randomBytes(32) },
  ...{
    options: 'V4,dev-type tun,link-mtu 1549,cipher AES-256-GCM,tls-client',
    user: 'alice',
    password: 'correct horse',
  },
  peer: new Map([
    ['IV_VER', '2.6.14'],
    ['IV_PROTO', '990'],
    ['IV_CIPHERS', 'AES-256-GCM'],
    ['UV_HUB', 'lab'],
  ]),
});
const link = { kind: 'udp', peer: { path: '' }, isOpen: true, send: () => 0, close: async () => {} } as const;
test('exchanges of keys, and what is read out of them', { timeout }, () => {
  fc.assert(
    fc.property(fc.oneof({ weight: 8, arbitrary: mutated(exchange) }, { weight: 1, arbitrary: any }), bytes => {
      const read = holds(() => decodeKeyExchange(bytes));
      if (!read) return;
      assert.ok(read.used <= bytes.length);
      holds(() => readOffer(read.exchange, link));
      holds(() => new LineSplitter().push(bytes.subarray(read.used)));
    }),
    { numRuns },
  );
});

test('no packet that was changed on its way is opened', { timeout }, () => {
  const clock = new TestClock();
  const key = randomBytes(256);
  const wrapped = tlsCrypt(key, clock, 'client').wrap(control);
  const options = {
    material: randomBytes(keyMaterialLength),
    cipher: 'AES-256-GCM',
    keyId: 0,
    peerId: 5,
    ordered: false,
  } as const;
  const [server, sealed] = [new DataKey(options), new DataKey({ ...options, side: 'client' }).seal(randomBytes(60))];
  fc.assert(
    fc.property(mutated(wrapped), mutated(sealed), (one, other) => {
      if (!one.equals(wrapped)) assert.equal(tlsCrypt(key, clock).unwrap(one), undefined);
      // The key is chosen by the first byte before.
      if (!other.equals(sealed) && other[0] === sealed[0]) assert.equal(server.open(other), undefined);
    }),
    { numRuns: Math.ceil(numRuns / 5) },
  );
});
