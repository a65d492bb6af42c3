// OpenVPN's packets and its exchange of keys, as its programs write them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import {
  claimsOpenVpn,
  decodeControl,
  encodeControl,
  isControl,
  isData,
  opcodes,
  PacketSplitter,
  tcpFrame,
} from './openvpn.ts';
import { decodeKeyExchange, encodeKeyExchange, LineSplitter, mirrorOptions, parseOptions } from './openvpn-keys.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map(one => Buffer.from(one));
const u32 = fc.nat(0xffffffff);

test('a client’s reset is read, and is how a connection is told', () => {
  const reset = Buffer.from('380102030405060708' + '00' + '00000000', 'hex');
  const packet = decodeControl(reset);
  assert.deepEqual(
    { ...packet, session: Buffer.from(packet.session).toString('hex'), payload: packet.payload.length },
    { opcode: opcodes.hardResetClient, keyId: 0, session: '0102030405060708', acks: [], id: 0, payload: 0 },
  );
  assert.equal(claimsOpenVpn(tcpFrame([reset])), true);
  assert.equal(claimsOpenVpn(Buffer.from('0036', 'hex')), 'more');
  assert.equal(claimsOpenVpn(Buffer.from('003638', 'hex')), true, 'under tls-crypt');
  assert.equal(claimsOpenVpn(Buffer.from('160301', 'hex')), false, 'TLS');
  assert.equal(claimsOpenVpn(Buffer.from('GET ')), false);
  assert.equal(claimsOpenVpn(Buffer.from('000e40', 'hex')), false, 'another packet');
});

test('control packets: what is written is read', () => {
  const packet = fc.record({
    opcode: fc.constantFrom(opcodes.control, opcodes.ack, opcodes.softReset, opcodes.hardResetServer),
    keyId: fc.nat(7),
    session: bytes(8),
    acks: fc.array(u32, { maxLength: 8 }),
    far: bytes(8),
    id: u32,
    payload: fc.uint8Array({ maxLength: 1200 }),
  });
  fc.assert(
    fc.property(packet, ({ opcode, far, id, payload, ...rest }) => {
      const written = {
        ...{ ...rest, opcode, payload: opcode === opcodes.control ? payload : new Uint8Array(0) },
        ...(rest.acks.length > 0 ? { far } : {}),
        ...(opcode === opcodes.ack ? {} : { id }),
      };
      const read = decodeControl(encodeControl(written));
      assert.deepEqual(
        { ...read, session: Buffer.from(read.session), payload: Buffer.from(read.payload) },
        { ...written, session: written.session, payload: Buffer.from(written.payload) },
      );
    }),
  );
});

test('packets come out of a stream however it is cut, and an impossible length ends it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
      (packets, cuts) => {
        const stream = tcpFrame(packets);
        const splitter = new PacketSplitter();
        const out: Buffer[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = cuts[turn % cuts.length]!;
          out.push(...splitter.push(stream.subarray(at, at + size)).map(one => Buffer.from(one)));
          at += size;
        }
        assert.deepEqual(
          out,
          packets.map(one => Buffer.from(one)),
        );
      },
    ),
  );
  for (const head of ['0000', 'ffff'])
    assert.throws(() => new PacketSplitter().push(Buffer.from(`${head}38`, 'hex')), isProtocol);
});
const isProtocol = (error: unknown): boolean => error instanceof Fault && error.code === 'protocol';

test('a packet is control or data or neither', () => {
  assert.ok(isControl(Buffer.from([opcodes.softReset << 3])) && isData(Buffer.from([opcodes.dataV2 << 3])));
  for (const opcode of [0, 1, 2, 10, 11, 31]) {
    assert.ok(!isControl(Buffer.from([opcode << 3])) && !isData(Buffer.from([opcode << 3])));
    assert.throws(() => decodeControl(Buffer.alloc(20, opcode << 3)), isProtocol);
  }
});

const exchange = {
  ...{ preMaster: Buffer.alloc(48, 1), random1: Buffer.alloc(32, 2), random2: Buffer.alloc(32, 3) },
  ...{ options: 'V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto TCPv4_CLIENT,auth SHA1,key-method 2,tls-client' },
  ...{
    user: 'alice',
    password: 'correct horse',
    peer: new Map([
      ['IV_VER', '2.6.14'],
      ['IV_PROTO', '990'],
    ]),
  },
};

test('the exchange of keys is read once all of it is there', () => {
  const written = encodeKeyExchange(exchange);
  for (let length = 0; length < written.length; length++) {
    const read = decodeKeyExchange(written.subarray(0, length));
    // Without what a client tells of itself it is whole for the oldest ones.
    if (read) assert.equal(read.exchange.peer.size, 0);
  }
  const { exchange: read, used } = decodeKeyExchange(Buffer.concat([written, Buffer.from('PUSH_REQUEST\0')]))!;
  assert.equal(used, written.length);
  assert.deepEqual({ ...read, preMaster: Buffer.from(read.preMaster) }, exchange);
  assert.throws(() => decodeKeyExchange(Buffer.alloc(200, 1)), isProtocol, 'another key method');
});

test('options are mirrored for the server’s side', () => {
  assert.equal(parseOptions(exchange.options).get('dev-type'), 'tun');
  assert.match(mirrorOptions(exchange.options), /proto TCPv4_SERVER.*tls-server$/);
});

test('lines of the control channel end with NUL, and do not grow without end', () => {
  const lines = new LineSplitter();
  assert.deepEqual(lines.push(Buffer.from('PUSH_REQ')), []);
  assert.deepEqual(lines.push(Buffer.from('UEST\0EXIT\0')), ['PUSH_REQUEST', 'EXIT']);
  assert.throws(() => lines.push(Buffer.alloc(5000, 65)), isProtocol);
});
