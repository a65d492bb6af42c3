// The client's address through three proxies: nginx in front, the gate, nginx behind, each telling the next by PROXY protocol.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, startGate, until } from '../fixtures/gate-process.ts';
import { nginxPrologue, startNginx } from '../fixtures/nginx-process.ts';
import { assertTidy, ca, endProperly, head, leaf } from './house.ts';
import { backend, closing, dialPlain, dialTls, echo, expectPattern, send } from './streams.ts';

for (const version of ['v1', 'v2']) {
  test(`nginx → gate → nginx with PROXY ${version}: the last one logs the first client's address, and strangers may not claim one`, async t => {
    await using server = await backend(echo);
    const [front = 0, middle = 0, behind = 0] = await freePorts(3);
    const folder = temporaryFolder('nginx');
    await using _last = await startNginx(
      `${nginxPrologue(folder)} events {} stream {
         log_format who '$proxy_protocol_addr:$proxy_protocol_port $bytes_received';
         access_log ${folder}/who.log who;
         server { listen 127.0.0.1:${behind} proxy_protocol; proxy_pass 127.0.0.1:${server.port}; proxy_half_close on; }
       }`,
      folder,
    );
    const first = temporaryFolder('nginx');
    await using _first = await startNginx(
      `${nginxPrologue(first)} events {} stream {
         server { listen 127.0.0.1:${front}; proxy_pass 127.0.0.1:${middle}; proxy_protocol on; proxy_half_close on; }
       }`,
      first,
    );
    const gate = await startGate(t, {
      config: `${head(2)}  middle: { listen: "tls://127.0.0.1:${middle}", certificate: { cert: "file:${leaf.fullchainFile}", key: "file:${leaf.keyFile}" }, to: "tcp://127.0.0.1:${behind}", proxy-protocol: { from: 127.0.0.1, send: ${version} } }\n`,
    });
    const socket = await dialTls(front, { ca: ca.cert })();
    const client = `127.0.0.1:${socket.localPort}`;
    const heard = expectPattern(socket);
    await send(socket, 2_000_000);
    socket.end();
    assert.equal(await heard.whole, 2_000_000);
    const log = (): string => readFileSync(join(folder, 'who.log'), 'utf8');
    await until('the last nginx has written its line', () => log() !== '');
    assert.equal(log().trim(), `${client} 2000000`);
    // A listed peer that sends no header is not let in.
    const silent = await dialPlain(middle)();
    silent.write(Buffer.from('16030100050100000100', 'hex'));
    await closing(silent.resume());
    const rows = await assertTidy(gate);
    assert.deepEqual(
      rows.filter(({ event }) => event === 'proxy.opened').map(({ from }) => from),
      [client],
    );
    await endProperly(gate);
  });
}
