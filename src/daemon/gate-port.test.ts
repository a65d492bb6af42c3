// Who gets a conn of the gate's own port: by name, by wildcard, by protocol, the newest of equals — with few or with many.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn, Listener } from '../core/parts.ts';
import { listenTcp } from '../net/tcp.ts';
import { type GatePort, openGatePort, type RouteBranch } from './gate-port.ts';

interface Port extends GatePort {
  /** Who was handed a ClientHello with this name and these protocols. */
  ask(servername?: string, protocols?: string[]): Promise<string>;
  add(name: string, names: string[], more?: Partial<RouteBranch>): Listener;
}

async function openPort(t: TestContext): Promise<Port> {
  const [log, metrics] = [memoryLog(), memoryMetrics()];
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  let taken: (who: string) => void = () => {};
  const take = (who: string, conn: Conn): void => {
    conn.stream.destroy();
    taken(who);
  };
  const serve = async (conn: Conn): Promise<void> => take('gate', conn);
  const port = openGatePort({ ...{ listeners: [listener], patience: 10_000, connections: 100, serve, log, metrics } });
  t.after(() => port[Symbol.asyncDispose]());
  return {
    branch: branch => port.branch(branch),
    attach: listener => port.attach(listener),
    get live() {
      return port.live;
    },
    [Symbol.asyncDispose]: () => port[Symbol.asyncDispose](),
    add(name, names, more = {}) {
      const branch = port.branch({ name, names, alpn: [], ...more });
      void (async () => {
        for await (const conn of branch) take(name, conn);
      })();
      return branch;
    },
    ask: (servername, protocols) =>
      new Promise(resolve => {
        const at = 'port' in listener.address ? listener.address.port : 0;
        const options = { port: at, host: '127.0.0.1', rejectUnauthorized: false };
        const socket = connect({
          ...options,
          ...(servername === undefined ? {} : { servername }),
          ...(protocols ? { ALPNProtocols: protocols } : {}),
        });
        socket.on('error', () => {});
        taken = resolve;
      }),
  };
}

test('exact names go before wildcards, the newest of equals first, and unknown names are the gate’s', async t => {
  const port = await openPort(t);
  port.add('wild', ['*.app.test']);
  const old = port.add('old', ['a.app.test', '*.other.test']);
  assert.equal(await port.ask('a.app.test'), 'old');
  assert.equal(await port.ask('b.app.test'), 'wild');
  assert.equal(await port.ask('x.other.test'), 'old');
  assert.equal(await port.ask('app.test'), 'gate');
  assert.equal(await port.ask(), 'gate');
  port.add('new', ['A.app.test']);
  assert.equal(await port.ask('a.app.test'), 'new');
  await old[Symbol.asyncDispose]();
  assert.equal(await port.ask('a.app.test'), 'new');
  assert.equal(await port.ask('x.other.test'), 'gate');
});

test('a thousand names are told apart, and each goes when its listener does', async t => {
  const port = await openPort(t);
  const all = Array.from({ length: 1000 }, (_, at) => port.add(`p${at}`, [`p${at}.ep.test`]));
  for (const at of [0, 500, 999]) assert.equal(await port.ask(`p${at}.ep.test`), `p${at}`);
  await all[500]?.[Symbol.asyncDispose]();
  assert.equal(await port.ask('p500.ep.test'), 'gate');
  assert.equal(await port.ask('p501.ep.test'), 'p501');
});

test('a protocol tells routes of one name apart, and ACME’s probes may be the gate’s', async t => {
  const port = await openPort(t);
  port.add('any', ['a.test']);
  port.add('mqtt', ['a.test'], { alpn: ['mqtt'] });
  port.add('endpoint', ['e.test'], { probes: 'gate' });
  assert.equal(await port.ask('a.test', ['mqtt']), 'mqtt');
  assert.equal(await port.ask('a.test', ['h2']), 'any');
  assert.equal(await port.ask('e.test', ['h2']), 'endpoint');
  assert.equal(await port.ask('e.test', ['acme-tls/1']), 'gate');
  assert.equal(await port.ask('a.test', ['acme-tls/1']), 'any');
});
