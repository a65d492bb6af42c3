// Revocation that bites: whatever is open, and whatever it was opened with, ends when that is revoked. One row a kind.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request as plainRequest } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { connectAsync } from 'mqtt';
import { WebSocket } from 'ws';
import { joinAsMember, type MemberState } from '../../src/daemon/member.ts';
import { startAgent } from '../fixtures/agent.ts';
import { echoServer, freePorts, type GateProcess, startGate, talk, until } from '../fixtures/gate-process.ts';
import { memoryLog } from '../fixtures/quiet.ts';
import { sshServer } from '../fixtures/ssh-server.ts';
import { join as joinPeer } from '../fixtures/tunnel-peer.ts';

const password = 'correct horse';

interface House {
  readonly gate: GateProcess;
  readonly port: number;
  readonly route: number;
  readonly echo: number;
  readonly ca: string;
  /** What the local administrator asks of the API, and must get. */
  call<T = Record<string, string>>(method: string, path: string, body?: unknown): Promise<T>;
  pair(kind: 'cert' | 'device', name: string): Promise<{ cert: string; key: string; serial: string }>;
  token(user: string): Promise<{ token: string; id: string }>;
  tls(to: number, pair: { cert: string; key: string } | undefined, servername?: string): Promise<TLSSocket>;
  post(path: string, token: string, body: unknown): Promise<Record<string, string>>;
}

async function openHouse(t: TestContext): Promise<House> {
  const echo = (await echoServer(t)).port;
  // Answers that go on until somebody ends them.
  const slow = createServer((_, response) => void response.write('begun\n'));
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  t.after(() => slow.closeAllConnections());
  t.after(() => slow.close());
  const [port = 0, route = 0] = await freePorts(2);
  const gate = await startGate(t, {
    config: `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 1, drain: 1s }
access:
  - { allow: proxy.connect, to: proxy/db }
  - { allow: web.request, to: web/* }
  - { allow: tunnel.use, who: { user: "*" } }
proxy: { db: { listen: "tls://127.0.0.1:${route}", clients: required, to: "tcp://127.0.0.1:${echo}" } }
endpoint: { ports: 21000-23999 }
web:
  domain: example.com
  sites: { slow: { to: "http://slow/", at: "tcp://127.0.0.1:${(slow.address() as AddressInfo).port}" } }
  forward: { hosts: { "inner:7": "tcp://127.0.0.1:${echo}" } }
vpn: { hubs: { lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.20 } } } } }
`,
  });
  // The unix socket, as the command line does it: a process for each call would cost seconds.
  const call = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await ask({ socketPath: join(gate.data, 'sekisho.sock') }, method, path, body);
    return answer as T;
  };
  const { cert: ca } = await call<{ cert: string }>('GET', '/v1/certs/ca');
  return {
    ...{ gate, port, route, echo, ca, call },
    async pair(kind, name) {
      const [path, more] = kind === 'cert' ? ['/v1/certs', {}] : ['/v1/devices', { pem: true }];
      const answer = await call<Issued & { issued?: Issued }>('POST', path, { name, ...more });
      const { cert, chain, key, serial } = answer.issued ?? answer;
      return { cert: [cert, ...chain].join(''), key, serial };
    },
    async token(user) {
      await call('POST', '/v1/users', { name: user, roles: ['operator', 'auditor'] });
      return call('POST', '/v1/tokens', { user, scope: ['*'] });
    },
    async tls(to, pair, servername = 'localhost') {
      const socket = tlsConnect({
        port: to,
        host: '127.0.0.1',
        servername,
        ca,
        rejectUnauthorized: servername === 'localhost',
        ...pair,
      });
      t.after(() => socket.destroy());
      await once(socket, 'secureConnect');
      return socket.on('error', () => {});
    },
    post: (path, token, body) =>
      ask({ host: 'localhost', port, ca }, 'POST', path, body, { authorization: `Bearer ${token}` }),
  };
}

interface Issued {
  readonly cert: string;
  readonly chain: readonly string[];
  readonly key: string;
  readonly serial: string;
}

async function ask<T>(
  to: { socketPath: string } | { host: string; port: number; ca: string },
  method: string,
  path: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<T> {
  const make = 'ca' in to ? request : plainRequest;
  const headers = { host: 'localhost', ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = make({ ...to, method, path, headers, agent: false }, resolve).on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
  let text = '';
  for await (const chunk of answer) text += chunk;
  assert.equal(answer.statusCode, 200, `${method} ${path}: ${text}`);
  return JSON.parse(text) as T;
}

interface Live {
  /** Settles when the other side has ended it. */
  readonly over: Promise<unknown>;
  /** What it tries next is refused. */
  readonly refused?: Promise<unknown>;
  readonly revoke: readonly [method: string, path: string, body?: object];
}
interface Kind {
  readonly what: string;
  /** The event that the end leaves in the audit, with `revoked` as its cause, where its handler says one. */
  readonly closed: string;
  /** The event of the revocation, which names what was cut. */
  readonly by: 'cert.revoked' | 'user.removed' | 'device.revoked' | 'user.token-revoked';
  open(house: House, t: TestContext): Promise<Live>;
}

const closing = (socket: Socket): Promise<void> =>
  new Promise(done => void socket.resume().once('close', () => done()));
/** Until this has been said. */
const hears = (socket: Socket, pattern: RegExp): Promise<void> =>
  new Promise(done => {
    let heard = '';
    socket.on('data', chunk => {
      heard += chunk;
      if (pattern.test(heard)) done();
    });
  });

const kinds: readonly Kind[] = [
  {
    what: 'a connection that a worker carries',
    closed: 'proxy.closed',
    by: 'cert.revoked',
    async open({ pair, tls, route }) {
      const mine = await pair('cert', 'proxied');
      const socket = await tls(route, mine);
      socket.write('in');
      await hears(socket, /in/);
      return { over: closing(socket), revoke: ['POST', `/v1/certs/${mine.serial}/revoke`, {}] };
    },
  },
  {
    what: 'a connection through an endpoint',
    closed: 'endpoint.disconnected',
    by: 'user.removed',
    async open({ pair, tls, call, echo }) {
      const mine = await pair('cert', 'pointed');
      const { port } = await call<{ port: number }>('POST', '/v1/endpoints', {
        ...{
          target: `tcp://127.0.0.1:${echo}`,
          from: ['127.0.0.1/32'],
          tls: 'end',
          name: false,
          certificate: true,
        },
      });
      const socket = await tls(port, mine);
      socket.write('in');
      await hears(socket, /in/);
      return { over: closing(socket), revoke: ['DELETE', '/v1/users/pointed'] };
    },
  },
  {
    what: 'a CONNECT through the forward proxy',
    closed: 'web.closed',
    by: 'cert.revoked',
    async open({ pair, tls, port }) {
      const mine = await pair('cert', 'browsing');
      const socket = await tls(port, mine);
      socket.write('CONNECT inner:7 HTTP/1.1\r\nHost: inner:7\r\n\r\n');
      await hears(socket, /^HTTP\/1\.1 200/);
      socket.write('in');
      return { over: closing(socket), revoke: ['POST', `/v1/certs/${mine.serial}/revoke`, {}] };
    },
  },
  {
    what: 'an answer of a renamed site',
    closed: 'web.closed',
    by: 'user.removed',
    async open({ pair, tls, port }) {
      const socket = await tls(port, await pair('cert', 'reading'), 'slow.example.com');
      socket.write('GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n');
      await hears(socket, /begun/);
      return { over: closing(socket), revoke: ['DELETE', '/v1/users/reading'] };
    },
  },
  {
    what: 'the link of a device, with a stream in it',
    closed: 'device.offline',
    by: 'device.revoked',
    async open({ call, port, echo }, t) {
      const { code = '' } = await call('POST', '/v1/devices', {
        name: 'linked',
        services: { echo: `127.0.0.1:${echo}` },
      });
      const agent = await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
      await agent.logged(/linked/);
      const point = await call<{ port: number }>('POST', '/v1/endpoints', {
        ...{ target: 'device://linked/echo', from: ['127.0.0.1/32'] },
      });
      const stream = await talk(t, point.port);
      assert.equal(await stream.say('in'), 'in');
      const refused = agent.logged(/does not accept this device/); // when it links again, a second later
      return { over: stream.over, refused, revoke: ['POST', '/v1/devices/linked/revoke', {}] };
    },
  },
  {
    what: 'a terminal on a device',
    closed: 'device.terminal-closed',
    by: 'user.token-revoked',
    async open({ call, token, port, ca }, t) {
      const server = await sshServer();
      t.after(() => server[Symbol.asyncDispose]());
      const { code = '' } = await call('POST', '/v1/devices', {
        name: 'shelled',
        services: { ssh: `127.0.0.1:${server.port}` },
      });
      const agent = await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
      await agent.logged(/linked/);
      const mine = await token('shelling');
      const socket = new WebSocket(
        `wss://localhost:${port}/v1/devices/terminal?device=shelled&service=ssh`,
        ['sekisho.terminal-1'],
        { ca, headers: { authorization: `Bearer ${mine.token}` } },
      );
      t.after(() => socket.terminate());
      const say = (message: object): void =>
        socket.send(Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(message))]));
      const opened = new Promise<void>(done => {
        socket.on('message', (data: Buffer) => {
          const { kind } = data[0] === 1 ? JSON.parse(data.toString('utf8', 1)) : { kind: 'printed' };
          if (kind === 'host-key') say({ kind: 'trust', yes: true });
          if (kind === 'open') done();
        });
      });
      await once(socket, 'open');
      const key = readFileSync(join(server.folder, 'user'), 'utf8');
      say({ kind: 'start', user: server.user, key, columns: 80, rows: 24 });
      await opened;
      return { over: once(socket, 'close'), revoke: ['DELETE', `/v1/tokens/${mine.id}`] };
    },
  },
  {
    what: 'both sides of a tunnel to a device',
    closed: 'tunnel.left',
    by: 'device.revoked',
    async open({ call, pair, port, ca }, t) {
      await pair('device', 'tunnelled');
      const tunnel = await call('POST', '/v1/tunnels', { thing: 'tunnelled', services: ['ssh'] });
      const over = [];
      for (const mode of ['destination', 'source'] as const) {
        const peer = await joinPeer({ port, ca, mode, token: tunnel[`${mode}Token`] ?? '' });
        t.after(() => peer.drop());
        over.push(peer.closed);
      }
      return { over: Promise.all(over), revoke: ['POST', '/v1/devices/tunnelled/revoke', {}] };
    },
  },
  {
    what: 'a tunnel that somebody opened',
    closed: 'tunnel.left',
    by: 'user.removed',
    async open({ token, post, port, ca }, t) {
      const mine = await token('opening');
      const tunnel = await post('/v1/tunnels', mine.token, { services: ['ssh'] });
      const peer = await joinPeer({ port, ca, mode: 'source', token: tunnel['sourceToken'] ?? '' });
      t.after(() => peer.drop());
      return { over: peer.closed, revoke: ['DELETE', '/v1/users/opening'] };
    },
  },
  {
    what: 'a stream of a tunnel at the API',
    closed: 'tunnel.disconnected',
    by: 'user.token-revoked',
    async open({ call, token, port, ca }, t) {
      const { tunnel, destinationToken } = await call<{ tunnel: { id: string }; destinationToken: string }>(
        ...(['POST', '/v1/tunnels', { services: ['echo'] }] as const),
      );
      const far = await joinPeer({ port, ca, mode: 'destination', token: destinationToken });
      t.after(() => far.drop());
      const mine = await token('typing');
      const socket = new WebSocket(
        `wss://localhost:${port}/v1/tunnels/stream?tunnel=${tunnel.id}&service=echo`,
        ['sekisho.stream-1'],
        { ca, headers: { authorization: `Bearer ${mine.token}` } },
      );
      t.after(() => socket.terminate());
      await once(socket, 'open');
      socket.on('error', () => {});
      await far.next();
      return { over: once(socket, 'close'), revoke: ['DELETE', `/v1/tokens/${mine.id}`] };
    },
  },
  {
    what: 'a member of a hub',
    closed: 'vpn.left',
    by: 'user.removed',
    async open({ call, port, ca }, t) {
      await call('POST', '/v1/vpn/hubs/lab/users', { user: 'member', secret: { password } });
      const leased = Promise.withResolvers<void>();
      const gone = Promise.withResolvers<void>();
      const end = new AbortController();
      const member = await joinAsMember({
        gate: { host: '127.0.0.1', port },
        ...{ hub: 'lab', user: 'member', ca, verify: true, proof: { kind: 'password', password }, connections: 1 },
        ...{ how: { kind: 'socks', host: '127.0.0.1', port: 0 }, signal: end.signal, log: memoryLog() },
        onState: ({ state }: MemberState) => void (state === 'away' && gone.resolve()),
        onLease: lease => lease && leased.resolve(),
      });
      t.after(() => member[Symbol.asyncDispose]());
      await leased.promise;
      return {
        over: Promise.race([gone.promise, member.ended.catch(() => {})]),
        revoke: ['DELETE', '/v1/users/member'],
      };
    },
  },
  {
    what: 'a subscription by MQTT',
    closed: 'tunnel.unsubscribed',
    by: 'device.revoked',
    async open({ pair, port, ca }, t) {
      const { cert, key } = await pair('device', 'told');
      const client = await connectAsync({
        ...{ protocol: 'mqtts', host: 'localhost', port, ca, cert, key, clientId: 'told', reconnectPeriod: 0 },
        ALPNProtocols: ['x-amzn-mqtt-ca'],
      });
      t.after(() => void client.end(true));
      await client.subscribeAsync('$aws/things/told/tunnels/notify');
      return {
        over: new Promise<void>(done => void client.once('close', () => done())),
        revoke: ['POST', '/v1/devices/told/revoke', {}],
      };
    },
  },
  {
    what: 'the event stream of the console',
    closed: 'audit.watched',
    by: 'user.token-revoked',
    async open({ token, tls, port }) {
      const mine = await token('watching');
      const socket = await tls(port, undefined);
      socket.write(
        `GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${mine.token}\r\nConnection: close\r\n\r\n`,
      );
      await hears(socket, /text\/event-stream[\s\S]*\r\n\r\n/);
      return { over: closing(socket), revoke: ['DELETE', `/v1/tokens/${mine.id}`] };
    },
  },
];

interface Row {
  readonly event: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

test('what is revoked ends, whatever it is', { timeout: 240_000 }, async t => {
  const house = await openHouse(t);
  for (const { what, closed, by, open } of kinds) {
    await t.test(`${what}: ${closed}, and ${by} names it`, { timeout: 30_000 }, async t => {
      const live = await open(house, t);
      const before = (await house.call<{ rows: Row[] }>('GET', `/v1/audit?event=${closed}`)).rows.length;
      const sent = performance.now();
      const ended = live.over.then(() => performance.now() - sent);
      await house.call(...live.revoke);
      // For people, on the machine that it runs on; the promise is a second (bench/RESULTS.md has figures).
      t.diagnostic(`${what}: over ${(await ended).toFixed(0)} ms after the revocation was sent`);
      await live.refused;
      await until('the end is written down', async () => {
        const { rows } = await house.call<{ rows: Row[] }>('GET', `/v1/audit?event=${closed}`);
        return rows.length > before;
      });
      const [row] = (await house.call<{ rows: Row[] }>('GET', `/v1/audit?event=${by}`)).rows;
      if (closed !== 'tunnel.left') assert.ok(Number(row?.facts['cut']) >= 1, JSON.stringify(row));
    });
  }
});
