// Reading a ClientHello: real ones from Node's OpenSSL, cut into every shape, and broken ones.
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { type ConnectionOptions, connect } from 'node:tls';
import { clientHelloLimit, readClientHello } from './client-hello.ts';

/** The first flight of a real client. */
async function hello(options: ConnectionOptions): Promise<Buffer> {
  return new Promise(resolve => {
    const wire = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        resolve(chunk);
        done();
      },
    });
    const client = connect({ ...options, socket: wire });
    client.on('error', () => {});
  });
}
/** The same message in records of `size` bytes. */
function fragmented(record: Buffer, size: number): Buffer {
  const message = record.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 255]), piece);
  }
  return Buffer.concat(records);
}

test('the name, the protocols and the versions of a real hello are read', async () => {
  const bytes = await hello({ servername: 'DB.Example.com', ALPNProtocols: ['postgresql', 'h2'] });
  const read = readClientHello(bytes);
  assert.ok(typeof read === 'object');
  assert.equal(read.sni, 'db.example.com');
  assert.deepEqual(read.alpn, ['postgresql', 'h2']);
  assert.deepEqual(read.versions, [0x0304, 0x0303]);
});

test('a hello without extensions of ours has no name and no protocols', async () => {
  const read = readClientHello(await hello({ servername: '', maxVersion: 'TLSv1.2' }));
  assert.deepEqual(read, { alpn: [], versions: [0x0303] });
});

test('a hello that comes byte by byte is waited for, and later bytes are ignored', async () => {
  const bytes = await hello({ servername: 'a.example' });
  for (let length = 0; length < bytes.length; length++)
    assert.equal(readClientHello(bytes.subarray(0, length)), 'more');
  assert.deepEqual(readClientHello(Buffer.concat([bytes, Buffer.from('early data')])), readClientHello(bytes));
});

test('a hello cut into several records reads the same', async () => {
  const bytes = await hello({ servername: 'a.example', ALPNProtocols: ['x'] });
  for (const size of [bytes.length, 700, 100, 64])
    assert.deepEqual(readClientHello(fragmented(bytes, size)), readClientHello(bytes));
  assert.throws(() => readClientHello(fragmented(bytes, 1)), { code: 'protocol', message: /too many records/ });
});

test('what is not TLS is told apart at its first bytes', () => {
  for (const text of ['GET / HTTP/1.1\r\n', 'SSH-2.0-x', '\x00', '\x16\x02', '\x80\x2e\x01\x03\x01']) {
    assert.equal(readClientHello(Buffer.from(text, 'latin1')), 'not-tls');
  }
  assert.equal(readClientHello(Buffer.alloc(0)), 'more');
  assert.equal(readClientHello(Buffer.from([22])), 'more');
});

test('a hello that cannot fit is refused before it has come', () => {
  const long = Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0x40, 1]);
  assert.throws(() => readClientHello(long), { name: 'Fault', code: 'protocol', message: /16 KiB/ });
  const slow = Buffer.alloc(clientHelloLimit);
  Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0]).copy(slow);
  assert.throws(() => readClientHello(slow), { name: 'Fault', code: 'protocol' });
});

test('malformed hellos are refused', async () => {
  const good = await hello({ servername: 'a.example' });
  const broken = (change: (copy: Buffer) => void): Buffer => {
    const copy = Buffer.from(good);
    change(copy);
    return copy;
  };
  const name = good.indexOf('a.example');
  const cases: Record<string, Buffer> = {
    'another handshake message': broken(copy => copy.writeUInt8(2, 5)),
    'a record without bytes': Buffer.from([22, 3, 1, 0, 0]),
    'a record that is too long': Buffer.from([22, 3, 1, 0x40, 1]),
    'another record in between': Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 50, 21, 3, 1, 0, 2, 2, 40]),
    'a session id past the end': broken(copy => copy.writeUInt8(255, 43)),
    'a NUL in the name': broken(copy => copy.writeUInt8(0, name + 1)),
    'a name longer than its list': broken(copy => copy.writeUInt16BE(200, name - 2)),
  };
  for (const [what, bytes] of Object.entries(cases)) {
    assert.throws(() => readClientHello(bytes), { name: 'Fault', code: 'protocol' }, what);
  }
});
