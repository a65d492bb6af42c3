// Names → addresses, against a name server of our own.
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { test } from 'node:test';
import { createResolver } from './resolve.ts';

const never = new AbortController().signal;

/** Answers A with the given addresses and time, AAAA with nothing; `undefined` = no such name. */
async function nameServer(
  answer: (name: string) => { addresses: string[]; ttl: number } | undefined | 'silence',
): Promise<{ server: string; socket: Socket }> {
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const found = answer(labels.join('.'));
    if (found === 'silence') return;
    const records = found && type === 1 ? found.addresses : [];
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(found ? 0x8180 : 0x8183, 2);
    header.writeUInt16BE(records.length, 6);
    header.writeUInt32BE(0, 8);
    const body = records.map(address => {
      const record = Buffer.from('c00c00010001000000000004', 'hex');
      record.writeUInt32BE(found?.ttl ?? 0, 6);
      return Buffer.concat([record, Buffer.from(address.split('.').map(Number))]);
    });
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...body]), from.port, from.address);
  });
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
  return { server: `127.0.0.1:${socket.address().port}`, socket };
}

test('all addresses of a name, and how long they hold, within bounds', async () => {
  const { server, socket } = await nameServer(name => ({
    addresses: ['10.0.0.1', '10.0.0.2'],
    ttl: Number(name.split('.')[0]?.slice(1)),
  }));
  const resolver = createResolver({ servers: [server], min: 5000, max: 60_000 });
  assert.deepEqual(await resolver.addresses('t30.example', never), {
    addresses: ['10.0.0.1', '10.0.0.2'],
    ttl: 30_000,
  });
  assert.equal((await resolver.addresses('t1.example', never)).ttl, 5000);
  assert.equal((await resolver.addresses('t9999.example', never)).ttl, 60_000);
  socket.close();
});

test('an unknown name is said, and a silent server is not waited for past the signal', async () => {
  const { server, socket } = await nameServer(name => (name === 'silent.example' ? 'silence' : undefined));
  const resolver = createResolver({ servers: [server] });
  await assert.rejects(resolver.addresses('nobody.example', never), {
    name: 'Fault',
    code: 'unreachable',
    message: /nobody\.example is a name that cannot be resolved/,
  });
  const stop = new AbortController();
  const waiting = resolver.addresses('silent.example', stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  socket.close();
});

test('addresses are themselves, and the hosts file counts where no server is named', async () => {
  const resolver = createResolver();
  assert.deepEqual((await resolver.addresses('192.0.2.1', never)).addresses, ['192.0.2.1']);
  assert.deepEqual((await resolver.addresses('::1', never)).addresses, ['::1']);
  const { addresses, ttl } = await resolver.addresses('localhost', never);
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'));
  assert.ok(ttl >= 5000);
});
