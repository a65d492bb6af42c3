// Every transport of net/ through the one suite.
import { join } from 'node:path';
import { conformance } from '../../test/conformance/streams.ts';
import { makeCa, temporaryFolder } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import { memoryListener } from './memory.ts';
import { dialTcp, listenTcp } from './tcp.ts';
import { originateTls, type ServerTlsOptions, upgradeTls } from './tls.ts';
import { dialUnix, listenUnix } from './unix.ts';

const never = new AbortController().signal;
const ca = makeCa('Conformance CA');
const server = ca.issue({ cn: 'localhost', san: ['localhost', '127.0.0.1'] });
const serverTls: ServerTlsOptions = {
  identities: [server],
  session: { tickets: true, cache: 0, timeout: 300_000 },
  context: 'conformance',
  handshake: 10_000,
};

conformance('memory', { addresses: 'path' }, async () => {
  const listener = memoryListener();
  return {
    listener,
    dial: async () => listener.connect(),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
});

conformance('tcp', { addresses: 'host' }, async () => {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  const port = 'port' in listener.address ? listener.address.port : 0;
  return {
    listener,
    dial: () => dialTcp({ host: '127.0.0.1', port, timeout: 10_000 }, never),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
});

conformance('unix', { addresses: 'path', abort: 'end' }, async () => {
  const path = join(temporaryFolder(), 'test.sock');
  const listener = await listenUnix({ path, log: memoryLog(), metrics: memoryMetrics() });
  return {
    listener,
    dial: () => dialUnix({ path }, never),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
});

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  conformance(`tls over tcp, ${version}`, { addresses: 'host' }, async () => {
    const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
    const port = 'port' in listener.address ? listener.address.port : 0;
    const upgrade = upgradeTls(serverTls);
    return {
      listener,
      accept: conn => upgrade(conn, never),
      dial: async () =>
        originateTls(
          await dialTcp({ host: '127.0.0.1', port, timeout: 10_000 }, never),
          { handshake: 10_000, verify: { ca: [ca.cert], name: 'localhost' }, protocols: [version] },
          never,
        ),
      async [Symbol.asyncDispose]() {
        upgrade[Symbol.dispose]();
        await listener[Symbol.asyncDispose]();
      },
    };
  });
}

conformance('tls over memory', { addresses: 'path' }, async () => {
  const listener = memoryListener();
  const upgrade = upgradeTls(serverTls);
  return {
    listener,
    accept: conn => upgrade(conn, never),
    dial: () =>
      originateTls(listener.connect(), { handshake: 10_000, verify: { ca: [ca.cert], name: 'localhost' } }, never),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
});
