// A renewed certificate is for new clients; who began with the old one is shown that again.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { makeCa } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import { listenTcp } from '../net/tcp.ts';
import { plainTls } from './plain-tls.ts';

const ca = makeCa('Plain');
const identity = (key: 'rsa' | 'ec') => ca.issue({ cn: 'localhost', san: ['DNS:localhost'], key });
const options = (...identities: readonly { readonly cert: string; readonly key: string }[]) => ({
  ...{ identities, context: 'test', handshake: 5000 },
  session: { tickets: false, cache: 0, timeout: 1000 },
});
const print = (der: Uint8Array): string => createHash('sha256').update(der).digest('hex');

test('RSA is shown where there is both, and the old certificate to whom it belongs', async t => {
  const [ecdsa, before, after] = [identity('ec'), identity('rsa'), identity('rsa')];
  const tls = plainTls(options(ecdsa, before));
  let wanted: string | undefined;
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  t.after(() => listener[Symbol.asyncDispose]());
  void (async () => {
    for await (const conn of listener)
      void tls
        .upgrade(wanted)(conn, AbortSignal.timeout(5000))
        .then(
          upgraded => upgraded.close(AbortSignal.timeout(1000)),
          () => {},
        );
  })();
  const shown = async (fingerprint?: string): Promise<string> => {
    wanted = fingerprint;
    const { port } = listener.address as { port: number };
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { raw } = socket.getPeerCertificate();
    socket.destroy();
    return print(raw);
  };
  assert.equal(await shown(), print(before.der));
  tls.replace(options(ecdsa, after));
  assert.equal(await shown(), print(after.der));
  assert.equal(await shown(print(before.der)), print(before.der));
  assert.equal(await shown('one that nobody knows'), print(after.der));
  assert.throws(() => tls.replace(options({ cert: 'nonsense', key: after.key })));
  assert.equal(await shown(), print(after.der), 'a certificate that cannot be used changes nothing');
  tls.replace(options(ecdsa));
  assert.equal(await shown(), print(ecdsa.der), 'without RSA, what there is');
});
