// The hub's router with a member whose stack is our own: port forwards to real sockets, the gate's word, DNS, DHCP, echo,
// and what is refused. No root, no kernel at the member's end.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type TestGateOptions, testGate } from '../../../../test/fixtures/gate.ts';
import { memoryPort } from '../../../../test/fixtures/memory-port.ts';
import { memoryLog, memoryMetrics } from '../../../../test/fixtures/quiet.ts';
import { systemClock, TestClock } from '../../../core/clock.ts';
import type { Principal } from '../../../core/parts.ts';
import { arpFrame, decodeArp } from '../../../wire/arp.ts';
import { decodeDhcp, dhcpOptions, encodeDhcp } from '../../../wire/dhcp.ts';
import {
  broadcastMac,
  decodeEthernet,
  encodeEthernet,
  etherTypes,
  formatMac,
  parseMac,
} from '../../../wire/ethernet.ts';
import { FrameView } from '../../../wire/frame-view.ts';
import { decodeIcmp, encodeIcmp } from '../../../wire/icmp.ts';
import { decodeIpv4, encodeIpv4, formatIpv4, type Ipv4Packet, parseIpv4 } from '../../../wire/ipv4.ts';
import { decodeUdp, udpFrames } from '../../../wire/udp.ts';
import { createHub } from '../create-hub.ts';
import type { ForwardRule, Hub, NatOptions, PortPolicy } from '../hub.ts';
import { defaultSecurity } from '../softether/policy.ts';
import { Plug } from '../switch/plug.ts';
import { TcpStack } from '../tcp/stack.ts';
import { EchoNat } from './echo-nat.ts';
import { Flows } from './flows.ts';

const router = parseIpv4('192.168.30.1');
const routerMac = parseMac('5e:00:00:00:00:01');
const nat: NatOptions = {
  address: '192.168.30.1/24',
  mac: '5e:00:00:00:00:01',
  dhcp: {
    range: ['192.168.30.10', '192.168.30.99'],
    routes: [{ network: '10.0.0.0/8' }, { network: '127.0.0.0/8' }],
    dns: [],
  },
};
const signal = (): AbortSignal => AbortSignal.timeout(10_000);

interface Person {
  readonly stack: TcpStack;
  readonly ip: number;
  readonly mac: Uint8Array;
  send(frame: Uint8Array): void;
  /** The next frame that fits, past or to come. */
  heard<T>(find: (frame: Uint8Array) => T | undefined): Promise<T>;
  dial(host: string, port: number): ReturnType<TcpStack['dial']>;
  leave(): Promise<void>;
  /** From now on its stack speaks through another one's port, and hears what comes there. */
  sendBy(other: Person): void;
  hear: (frame: Uint8Array) => void;
}
const user = (id: string, credential = 'c1'): Principal => ({
  kind: 'user',
  id,
  groups: [],
  attributes: new Map(),
  credential,
});

function join(hub: Hub, index: number, who: Principal | undefined = user(`user${index}`)): Person {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, index);
  const ip = parseIpv4(`192.168.30.${100 + index}`);
  const frames: Uint8Array[] = [];
  const view = new FrameView();
  let wake = Promise.withResolvers<void>();
  let isAsked = false;
  let put = (frame: Uint8Array): void => port.put(frame);
  const port = memoryPort(`m${index}`, frame => {
    frames.push(frame);
    wake.resolve();
    person.hear(frame);
  });
  const ask = (): void => {
    if (isAsked) return;
    isAsked = true;
    setImmediate(() => {
      isAsked = false;
      stack.turn();
    });
  };
  const stack = new TcpStack({ mac, mtu: 1500, clock: systemClock, emit: frame => put(frame), askTurn: ask });
  const attached = hub.attach(port, {
    ...{ kind: 'member', session: `SID-${index}`, user: `user${index}`, groups: [] },
    ...(who ? { who } : {}),
    from: { host: '203.0.113.9', port: 5 },
    security: defaultSecurity,
  });
  const person: Person = {
    ...{ stack, ip, mac },
    hear(frame) {
      if (!view.read(frame) || view.carried !== 'ipv4' || view.protocol !== 6 || view.target4 !== ip) return;
      stack.input(view, 'me');
      ask();
    },
    sendBy(other) {
      put = other.send;
      other.hear = person.hear;
    },
    send: frame => port.put(frame),
    async heard(find) {
      for (let at = 0; ; at++) {
        while (at >= frames.length) {
          wake = Promise.withResolvers();
          await wake.promise;
        }
        const found = find(frames[at]!);
        if (found !== undefined) return found;
      }
    },
    dial: (host, to) => stack.dial({ mac: routerMac, host: parseIpv4(host), port: to }, { host: ip }, 'me', signal()),
    async leave() {
      await attached[Symbol.asyncDispose]();
    },
  };
  return person;
}

async function house(
  t: TestContext,
  forward: ForwardRule[] = [],
  more: Partial<NatOptions> = {},
  options: TestGateOptions & { isOwn?: (host: string, port: number) => boolean } = {},
) {
  const gate = testGate(options);
  const log = memoryLog();
  const deps = { gate, clock: systemClock, log, metrics: memoryMetrics(), isOwn: options.isOwn ?? (() => false) };
  const hub = await createHub('house', { nat: { ...nat, ...more }, forward }, deps);
  t.after(() => hub[Symbol.asyncDispose]());
  return { hub, gate, log };
}
async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}
const datagram = (
  who: Person,
  target: string,
  sourcePort: number,
  targetPort: number,
  payload: Uint8Array,
): Uint8Array =>
  udpFrames(
    { toMac: routerMac, fromMac: who.mac, source: who.ip, target: parseIpv4(target), sourcePort, targetPort, payload },
    1500,
  )[0]!;
const ipv4 = (frame: Uint8Array): Ipv4Packet | undefined => {
  const { type, payload } = decodeEthernet(frame);
  return type === etherTypes.ipv4 ? decodeIpv4(payload) : undefined;
};
const icmp = (frame: Uint8Array): ReturnType<typeof decodeIcmp> | undefined => {
  const packet = ipv4(frame);
  return packet?.protocol === 1 ? decodeIcmp(packet.payload) : undefined;
};
const udp = (frame: Uint8Array): ReturnType<typeof decodeUdp> | undefined => {
  const packet = ipv4(frame);
  return packet?.protocol === 17 ? decodeUdp(packet.payload, packet.source, packet.target) : undefined;
};

test('a forward carries bytes exactly both ways, admitted in the name of the member and written down', async t => {
  const echo = createServer({ allowHalfOpen: true }, socket => socket.pipe(socket));
  const port = await listen(t, echo);
  const { hub, gate } = await house(t, [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }]);
  const one = join(hub, 1);
  const conn = await one.dial('192.168.30.1', 80);
  const data = randomBytes(8 * 1024 * 1024);
  const hash = createHash('sha256');
  let size = 0;
  conn.stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    hash.update(chunk);
  });
  conn.stream.end(data);
  await once(conn.stream, 'end');
  assert.equal(size, data.length);
  assert.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'));
  const admission = await gate.admission(0, 'vpn.nat');
  await admission.ended;
  const { request, bytes, notes } = admission;
  assert.equal(request.resource, `vpn/127.0.0.1:${port}`);
  assert.equal(request.opened, 'vpn/house');
  assert.equal(request.who.id, 'user1');
  assert.deepEqual(request.from, { host: '203.0.113.9', port: 5 });
  assert.deepEqual(bytes, { up: data.length, down: data.length });
  assert.equal(notes.get('hub'), 'house');
  while (hub.natTable().length > 0) await new Promise(setImmediate);
});

test('the gate says no: the member sees a reset, nothing is dialled', async t => {
  let dialled = 0;
  const port = await listen(
    t,
    createServer(() => dialled++),
  );
  const rules = [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }];
  const { hub, gate } = await house(t, rules, {}, { decide: () => 'not today' });
  await assert.rejects(join(hub, 1).dial('192.168.30.1', 80), { code: 'unreachable' });
  assert.equal(gate.refusals[0]?.reason, 'not today');
  assert.equal(dialled, 0);
});

test('a forward whose name turns out to be the gate itself is refused', async t => {
  const port = await listen(
    t,
    createServer(socket => socket.on('error', () => {})),
  );
  const rules = [{ listen: '192.168.30.1:80', to: `tcp://localhost:${port}` }];
  const { hub } = await house(t, rules, {}, { isOwn: (host, at) => host === '127.0.0.1' && at === port });
  await assert.rejects(join(hub, 1).dial('192.168.30.1', 80), { code: 'unreachable' });
});

test('a session that ends cuts its connection at once', async t => {
  const port = await listen(
    t,
    createServer(socket => socket.on('error', () => {}).write('hello')),
  );
  const { hub, gate } = await house(t, [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }]);
  const conn = await join(hub, 1).dial('192.168.30.1', 80);
  await once(conn.stream, 'data');
  const failed = once(conn.stream, 'error');
  (await gate.admission(0, 'vpn.nat')).end('revoked');
  assert.equal((await failed)[0].code, 'ECONNRESET');
});

test('nothing but the routes is reached: not loopback although a route says so, no listener of the gate, no stranger', async t => {
  const own = (host: string, port: number): boolean => host === '10.0.0.5' && port === 443;
  const { hub, gate } = await house(t, [], {}, { isOwn: own });
  const one = join(hub, 1);
  const targets = [
    '127.0.0.1:22',
    '169.254.169.254:80',
    '11.0.0.1:80',
    '192.168.30.1:22',
    '10.0.0.5:443',
    '224.0.0.1:80',
  ];
  for (const target of targets) {
    const [host = '', port = ''] = target.split(':');
    await assert.rejects(one.dial(host, Number(port)), { code: 'unreachable' }, target);
  }
  assert.deepEqual(
    gate.refusals.map(({ reason }) => reason),
    [
      '127.0.0.1:22 is loopback',
      '169.254.169.254:80 is a metadata service',
      '11.0.0.1:80 is in none of the routes of this hub',
      '192.168.30.1:22 is a port of the router that nothing listens on',
      '10.0.0.5:443 is a listener of this gate',
      '224.0.0.1:80 is multicast',
    ],
  );
  assert.equal(gate.admissions.length, 0);
  one.send(datagram(one, '11.0.0.1', 1000, 53, Buffer.from('x')));
  assert.deepEqual(await one.heard(frame => icmp(frame)?.code), 13);
});

test('UDP through a forward, both ways, with the sender that the member expects', async t => {
  const server = createSocket('udp4');
  server.on('message', (message, { port, address }) => server.send(`${message} back`, port, address));
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { hub, gate } = await house(t, [{ listen: '192.168.30.1:9', to: `udp://127.0.0.1:${server.address().port}` }]);
  const one = join(hub, 1);
  one.send(datagram(one, '192.168.30.1', 5000, 9, Buffer.from('there')));
  one.send(datagram(one, '192.168.30.1', 5000, 9, Buffer.from('again')));
  for (const text of ['there back', 'again back']) {
    const answer = await one.heard(frame => {
      const found = udp(frame);
      return found && Buffer.from(found.payload).toString() === text ? found : undefined;
    });
    assert.deepEqual([answer.sourcePort, answer.targetPort], [9, 5000]);
  }
  assert.equal(gate.admissions.length, 1);
  assert.equal(hub.natTable()[0]?.protocol, 'udp');
});

test('ARP for what is its own, echo in any size, no answer for others', async t => {
  const { hub } = await house(t, [{ listen: '192.168.30.5:80', to: 'tcp://127.0.0.1:1' }]);
  const one = join(hub, 1);
  const ask = (ip: string): Uint8Array =>
    arpFrame(
      {
        operation: 'request',
        senderMac: one.mac,
        senderIp: one.ip,
        targetMac: new Uint8Array(6),
        targetIp: parseIpv4(ip),
      },
      broadcastMac,
    );
  for (const ip of ['192.168.30.77', '192.168.30.5', '192.168.30.1']) one.send(ask(ip));
  const answers: string[] = [];
  await one.heard(frame => {
    const { type, payload, target } = decodeEthernet(frame);
    if (type !== etherTypes.arp || formatMac(target) !== formatMac(one.mac)) return undefined;
    const { senderIp, senderMac } = decodeArp(payload);
    answers.push(`${formatIpv4(senderIp)} ${formatMac(senderMac)}`);
    return answers.length === 2 ? true : undefined;
  });
  assert.deepEqual(answers, ['192.168.30.5 5e:00:00:00:00:01', '192.168.30.1 5e:00:00:00:00:01']);
  const message = encodeIcmp({ type: 8, code: 0, id: 7, sequence: 3, data: randomBytes(1000) });
  const fixed = { source: one.ip, target: router, protocol: 1, ttl: 64, id: 5, dontFragment: false };
  const parts = [
    encodeIpv4({ ...fixed, moreFragments: false, fragmentOffset: 504, payload: message.subarray(504) }),
    encodeIpv4({ ...fixed, moreFragments: true, fragmentOffset: 0, payload: message.subarray(0, 504) }),
  ];
  for (const payload of parts)
    one.send(encodeEthernet({ target: routerMac, source: one.mac, type: etherTypes.ipv4, payload }));
  const reply = await one.heard(icmp);
  assert.equal(reply.type, 0);
  assert.deepEqual(Buffer.from(reply.data), Buffer.from(message.subarray(8)));
});

test('an address by DHCP, remembered when the options change, and not handed to who asks in another name', async t => {
  const { hub } = await house(t);
  const one = join(hub, 1);
  const discover = (mac: Uint8Array, type: number, xid: number): Uint8Array =>
    udpFrames(
      {
        ...{ toMac: broadcastMac, fromMac: one.mac, source: 0, target: 0xffffffff, sourcePort: 68, targetPort: 67 },
        payload: encodeDhcp({
          ...{ op: 'request', xid, secs: 0, broadcast: true, clientIp: 0, yourIp: 0, serverIp: 0, relayIp: 0, mac },
          options: new Map([
            [dhcpOptions.messageType, Uint8Array.of(type)],
            [dhcpOptions.requestedIp, Uint8Array.of(192, 168, 30, 10)],
          ]),
        }),
      },
      1500,
    )[0]!;
  one.send(discover(Uint8Array.of(2, 9, 9, 9, 9, 9), 1, 1));
  one.send(discover(one.mac, 1, 2));
  one.send(discover(one.mac, 3, 3));
  const xids: number[] = [];
  await one.heard(frame => {
    const found = udp(frame);
    if (found?.targetPort !== 68) return undefined;
    xids.push(decodeDhcp(found.payload).xid);
    return xids.length === 2 ? true : undefined;
  });
  assert.deepEqual(xids, [2, 3]);
  assert.equal(hub.leases()[0]?.address, '192.168.30.10');
  assert.ok(
    hub.ipTable().some(({ address, dhcp, session }) => address === '192.168.30.10' && dhcp && session === 'SID-1'),
  );
  await hub.setNat({ ...nat, mtu: 1400 });
  assert.equal(hub.leases()[0]?.address, '192.168.30.10');
  await assert.rejects(hub.setNat({ ...nat, address: 'nonsense' }), { code: 'invalid' });
  assert.equal(hub.leases().length, 1, 'a mistake changes nothing');
  await hub.setNat(undefined);
  assert.deepEqual(hub.ownPorts(), []);
});

test('who comes back with the same credential takes his connections up again; nobody else does', async t => {
  const port = await listen(
    t,
    createServer(socket => socket.on('error', () => {}).on('data', data => socket.write(data))),
  );
  const { hub } = await house(t, [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }]);
  const first = join(hub, 1);
  const conn = await first.dial('192.168.30.1', 80);
  conn.stream.write('one');
  assert.equal(String((await once(conn.stream, 'data'))[0]), 'one');
  await first.leave();
  // The same machine on new ports: what it sends comes from the same addresses.
  const thief = join(hub, 1, user('user1', 'another'));
  first.sendBy(thief);
  conn.stream.write('two');
  const silence = await Promise.race([
    once(conn.stream, 'data'),
    new Promise(resolve => setTimeout(resolve, 300, 'silence')),
  ]);
  assert.equal(silence, 'silence');
  await thief.leave();
  const same = join(hub, 1);
  first.sendBy(same);
  assert.equal(String((await once(conn.stream, 'data'))[0]), 'two');
});

test('a member cannot have more than his share of connections', async t => {
  const port = await listen(
    t,
    createServer(socket => socket.on('error', () => {}).resume()),
  );
  const { hub } = await house(t, [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }]);
  const [greedy, modest] = [join(hub, 1), join(hub, 2)];
  const tries = await Promise.allSettled(Array.from({ length: 600 }, () => greedy.dial('192.168.30.1', 80)));
  const refused = tries.filter(({ status }) => status === 'rejected').length;
  assert.equal(refused, 600 - 512);
  await modest.dial('192.168.30.1', 80);
});

test('one person has one share, over however many sessions', async t => {
  const port = await listen(
    t,
    createServer(socket => socket.on('error', () => {}).resume()),
  );
  const { hub, gate } = await house(t, [{ listen: '192.168.30.1:80', to: `tcp://127.0.0.1:${port}` }]);
  const sessions = [join(hub, 1), join(hub, 2, user('user1')), join(hub, 3, user('user1', 'c2'))];
  const tries = await Promise.allSettled(
    sessions.flatMap(one => Array.from({ length: 200 }, () => one.dial('192.168.30.1', 80))),
  );
  assert.equal(tries.filter(({ status }) => status === 'rejected').length, 600 - 512);
  assert.deepEqual(new Set(gate.refusals.map(({ reason }) => reason)), new Set(['the member has 512 flows already']));
  assert.equal(gate.refusals[0]?.request.resource, 'vpn/*');
  await join(hub, 4, user('user4')).dial('192.168.30.1', 80);
});

test('who scans is written down, but not address by address', async t => {
  const { hub, gate } = await house(t);
  const one = join(hub, 1);
  for (let index = 0; index < 500; index++)
    one.send(datagram(one, `11.0.${index >> 8}.${index & 255}`, 1000, 53, Buffer.from('x')));
  while (gate.refusals.length < 500) await new Promise(setImmediate);
  const resources = new Set(gate.refusals.map(({ request }) => request.resource));
  assert.ok(resources.size < 100, `${resources.size}`);
  assert.ok(resources.has('vpn/*'));
});

test('UDP goes on for who comes back, and leads to no listener of the gate by a name', async t => {
  const server = createSocket('udp4');
  server.on('message', (message, { port, address }) => server.send(`${message} back`, port, address));
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address();
  const forward = [
    { listen: '192.168.30.1:9', to: `udp://127.0.0.1:${port}` },
    { listen: '192.168.30.1:10', to: 'udp://localhost:7' },
  ];
  const { hub, gate } = await house(t, forward, {}, { isOwn: (host, at) => at === 7 && host !== 'localhost' });
  const ask = async (who: Person, text: string): Promise<void> => {
    who.send(datagram(who, '192.168.30.1', 5000, 9, Buffer.from(text)));
    await who.heard(frame => Buffer.from(udp(frame)?.payload ?? []).toString() === `${text} back` || undefined);
  };
  const first = join(hub, 1);
  await ask(first, 'one');
  await first.leave();
  const same = join(hub, 1);
  await ask(same, 'two');
  assert.equal(gate.admissions.length, 1);
  same.send(datagram(same, '192.168.30.1', 5000, 10, Buffer.from('x')));
  assert.equal(await same.heard(frame => icmp(frame)?.code), 3);
});

test('echo beyond the hub is a flow: admitted once for a while, counted, refused where the gate says so', async () => {
  const clock = new TestClock();
  const gate = testGate({ decide: ({ resource }) => (resource === 'vpn/10.0.0.9:0' ? 'not there' : undefined) });
  const flows = new Flows({ hub: 'house', gate, clock, log: memoryLog() });
  const asked: string[] = [];
  const echo = new EchoNat({
    ...{ flows, idle: 60_000, after: (ms: number, call: () => void) => clock.after(ms, call) },
    async ask(host) {
      asked.push(host);
      return true;
    },
  });
  const policy = { kind: 'member', session: 's', user: 'u', groups: [], who: user('u'), security: defaultSecurity };
  const owner = new Plug(
    1,
    memoryPort('m', () => {}),
    policy as PortPolicy,
    0,
  );
  const arrival = (host: string) => ({ from: { host: '192.168.30.10', port: 7 }, host, size: 56, owner });
  for (let times = 0; times < 3; times++) assert.equal(await echo.ask(arrival('10.0.0.5')), true);
  await assert.rejects(echo.ask(arrival('10.0.0.9')), { code: 'denied' });
  assert.deepEqual(asked, ['10.0.0.5', '10.0.0.5', '10.0.0.5']);
  assert.equal(gate.admissions.length, 1);
  assert.equal(flows.table()[0]?.protocol, 'icmp');
  clock.move(60_000);
  clock.move(60_000);
  await gate.admissions[0]?.ended;
  await echo.settled();
  assert.deepEqual(gate.admissions[0]?.bytes, { up: 168, down: 168 });
  assert.deepEqual(flows.table(), []);
});
