import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { acceptWebSocket, dialWebSocket, type MessagePipe } from './websocket.ts';

/** Around every length that the head of a frame, or our way of sending it, changes at. */
const messages = [0, 1, 125, 126, 127, 4095, 4096, 65_535, 65_536, 131_076].map(size => randomBytes(size));
const maxMessage = 256 * 1024;

async function listening(server: ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
async function take(receive: (deliver: (message: Buffer) => void) => void): Promise<Buffer[]> {
  const got: Buffer[] = [];
  await new Promise<void>(resolve => {
    receive(message => {
      got.push(message);
      if (got.length === messages.length) resolve();
    });
  });
  return got;
}

test('an accepted pipe sends messages of every length to a client of ws, byte for byte, and its goodbye behind them', async t => {
  const server = createServer();
  t.after(() => server.close());
  server.on('upgrade', async (request, stream, head) => {
    const pipe = await acceptWebSocket(request, stream, head, { maxMessage, protocol: () => false });
    for (const message of messages) pipe.send(message);
    pipe.ping();
    pipe.close(1000, 'that was all');
  });
  const client = new WebSocket(`ws://127.0.0.1:${await listening(server)}/`);
  const closed = once(client, 'close');
  const pinged = once(client, 'ping');
  assert.deepEqual(await take(deliver => client.on('message', data => deliver(data as Buffer))), messages);
  await pinged;
  const [code, reason] = (await closed) as [number, Buffer];
  assert.deepEqual([code, reason.toString()], [1000, 'that was all']);
});

for (const unmasked of [true, false]) {
  test(`a dialled pipe ${unmasked ? 'with a mask of zeros' : 'with real masks'} is understood by a server of ws`, async t => {
    const server = createServer();
    const sockets = new WebSocketServer({ server });
    t.after(() => server.close());
    const arrived = new Promise<Buffer[]>(resolve => {
      sockets.on('connection', socket => {
        resolve(take(deliver => socket.on('message', data => deliver(data as Buffer))));
      });
    });
    const port = await listening(server);
    const stream = connect(port, '127.0.0.1');
    const pipe: MessagePipe = await dialWebSocket({
      ...{ url: `ws://127.0.0.1:${port}/`, stream, protocols: [], headers: {}, maxMessage, timeout: 10_000, unmasked },
      signal: new AbortController().signal,
    });
    for (const message of messages) pipe.send(message);
    assert.deepEqual(await arrived, messages);
    pipe.destroy();
    await pipe.ended;
  });
}
