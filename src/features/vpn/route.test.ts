// Two hubs with a router between them: hosts of one reach hosts of the other, and hear why when they do not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testGate } from '../../../test/fixtures/gate.ts';
import { memoryPort } from '../../../test/fixtures/memory-port.ts';
import { memoryLog, memoryMetrics } from '../../../test/fixtures/quiet.ts';
import { TestClock } from '../../core/clock.ts';
import { arpFrame, decodeArp } from '../../wire/arp.ts';
import { broadcastMac, decodeEthernet, encodeEthernet, etherTypes } from '../../wire/ethernet.ts';
import { decodeIcmp, encodeIcmp } from '../../wire/icmp.ts';
import { decodeIpv4, encodeIpv4, formatIpv4, parseIpv4 } from '../../wire/ipv4.ts';
import { createHub } from './create-hub.ts';
import type { Hub } from './hub.ts';
import { createRouteTable } from './route.ts';
import { defaultSecurity } from './softether/policy.ts';

const clock = new TestClock();
const openHub = (name: string): Promise<Hub> =>
  createHub(name, {}, { gate: testGate(), clock, log: memoryLog(), metrics: memoryMetrics(), isOwn: () => false });
const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 12; turns++) await new Promise(setImmediate);
};

/** A host that answers ARP and keeps the rest. */
function host(hub: Hub, index: number, ip: string) {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, index);
  const got: ReturnType<typeof decodeIpv4>[] = [];
  let gatewayMac = broadcastMac;
  const port = memoryPort(ip, frame => {
    const { type, payload } = decodeEthernet(frame);
    if (type === etherTypes.ipv4) got.push(decodeIpv4(payload));
    if (type !== etherTypes.arp) return;
    const { operation, senderMac, senderIp, targetIp } = decodeArp(payload);
    if (operation === 'reply') gatewayMac = senderMac.slice();
    else if (targetIp === parseIpv4(ip)) {
      port.put(
        arpFrame(
          { operation: 'reply', senderMac: mac, senderIp: targetIp, targetMac: senderMac, targetIp: senderIp },
          senderMac,
        ),
      );
    }
  });
  hub.attach(port, { kind: 'member', session: ip, user: '', groups: [], security: defaultSecurity });
  const ask = (gateway: string): void =>
    port.put(
      arpFrame(
        {
          operation: 'request',
          senderMac: mac,
          senderIp: parseIpv4(ip),
          targetMac: new Uint8Array(6),
          targetIp: parseIpv4(gateway),
        },
        broadcastMac,
      ),
    );
  const ping = (target: string, ttl = 64, source = ip): void =>
    port.put(
      encodeEthernet({
        target: gatewayMac,
        source: mac,
        type: etherTypes.ipv4,
        payload: encodeIpv4({
          ...{ source: parseIpv4(source), target: parseIpv4(target), protocol: 1, ttl, id: 1 },
          ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
          payload: encodeIcmp({ type: 8, code: 0, id: 1, sequence: 1, data: Buffer.from('hello') }),
        }),
      }),
    );
  return { got, ask, ping };
}

test('packets pass from hub to hub, one hop older, and along the longest route', async () => {
  const [left, right] = [await openHub('left'), await openHub('right')];
  const [a, b] = [host(left, 1, '192.168.30.10'), host(right, 2, '192.168.40.20')];
  const beyond = host(right, 3, '192.168.40.1');
  const table = createRouteTable({
    name: 'between',
    interfaces: [
      { hub: left, address: '192.168.30.254/24' },
      { hub: right, address: '192.168.40.254/24' },
    ],
    routes: [
      { network: '10.0.0.0/8', via: '192.168.40.20' },
      { network: '10.1.0.0/16', via: '192.168.40.1' },
    ],
    clock,
  });
  a.ask('192.168.30.254');
  await settle();
  for (let times = 0; times < 3; times++) a.ping('192.168.40.20');
  a.ping('10.1.2.3');
  a.ping('10.2.2.3');
  await settle();
  assert.deepEqual(
    b.got.map(({ target, ttl }) => `${formatIpv4(target)} ${ttl}`),
    ['192.168.40.20 63', '192.168.40.20 63', '192.168.40.20 63', '10.2.2.3 63'],
  );
  assert.deepEqual(
    beyond.got.map(({ target }) => formatIpv4(target)),
    ['10.1.2.3'],
  );
  a.ping('192.168.40.254');
  a.ping('192.168.40.20', 1);
  a.ping('172.16.0.1');
  await settle();
  assert.deepEqual(
    a.got.map(({ payload }) => decodeIcmp(payload)).map(({ type, code }) => [type, code]),
    [
      [0, 0],
      [11, 0],
      [3, 0],
    ],
  );
  await table[Symbol.asyncDispose]();
  b.got.length = 0;
  a.ping('192.168.40.20');
  await settle();
  assert.equal(b.got.length, 0);
  await left[Symbol.asyncDispose]();
  await right[Symbol.asyncDispose]();
});

test('interfaces in one network, and routes to nowhere, are refused', async () => {
  const hub = await openHub('one');
  const interfaces = [{ hub, address: '10.0.0.1/24' }];
  const make = (more: { hub: Hub; address: string }[], via = '10.0.0.2') =>
    createRouteTable({
      name: 'x',
      interfaces: [...interfaces, ...more],
      routes: [{ network: '10.9.0.0/16', via }],
      clock,
    });
  assert.throws(() => make([{ hub, address: '10.0.0.7/16' }]), { code: 'invalid' });
  assert.throws(() => make([], '10.5.0.1'), { code: 'invalid' });
  assert.throws(() => make([{ hub, address: '10.7.0.1/32' }]), { code: 'invalid' });
  await hub[Symbol.asyncDispose]();
});

test('nobody sends from an address that is not on his side', async () => {
  const [left, right] = [await openHub('l'), await openHub('r')];
  const b = host(right, 2, '192.168.50.20');
  const a = host(left, 3, '192.168.40.10');
  await using _table = createRouteTable({
    name: 'between',
    interfaces: [
      { hub: left, address: '192.168.40.254/24' },
      { hub: right, address: '192.168.50.254/24' },
    ],
    routes: [],
    clock,
  });
  a.ask('192.168.40.254');
  await settle();
  for (const source of ['192.168.50.77', '203.0.113.1', '192.168.40.10']) a.ping('192.168.50.20', 64, source);
  await settle();
  assert.deepEqual(
    b.got.map(({ source }) => formatIpv4(source)),
    ['192.168.40.10'],
  );
  await left[Symbol.asyncDispose]();
  await right[Symbol.asyncDispose]();
});
