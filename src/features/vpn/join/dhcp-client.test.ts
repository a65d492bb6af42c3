// The DHCP client against our own server, and against answers that are none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../../core/clock.ts';
import { u32 } from '../../../wire/bytes.ts';
import { type DhcpMessage, decodeDhcp, dhcpOptions, dhcpTypes, encodeDhcp, encodeRoutes } from '../../../wire/dhcp.ts';
import { maskOf, parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import { decodeUdp, udpFrames } from '../../../wire/udp.ts';
import { DhcpClient, type HubLease } from './dhcp-client.ts';
import { mayLead, nextHop } from './routes.ts';

const mac = Uint8Array.of(0x5e, 0, 0, 0, 0, 1);
const serverMac = Uint8Array.of(0x5e, 0, 0, 0, 0, 2);
const server = parseIpv4('192.168.30.1');
const address = parseIpv4('192.168.30.10');
const bytes = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
const pushed = { network: { address: parseIpv4('10.0.1.0'), mask: maskOf(24), bits: 24 }, router: server };

function house() {
  const clock = new TestClock();
  const said: DhcpMessage[] = [];
  const leases: (HubLease | undefined)[] = [];
  const client = new DhcpClient({
    ...{ mac, clock },
    send(frames) {
      for (const frame of frames)
        said.push(decodeDhcp(decodeUdp(frame.subarray(34), u32(frame, 26), u32(frame, 30)).payload));
    },
    onLease: lease => void leases.push(lease),
  });
  const type = (): number | undefined => said.at(-1)?.options.get(dhcpOptions.messageType)?.[0];
  const answer = (
    kind: 'offer' | 'ack' | 'nak',
    more: [number, Uint8Array][] = [],
    change: Partial<DhcpMessage> = {},
  ) =>
    client.input(
      udpFrames(
        {
          ...{ toMac: mac, fromMac: serverMac, source: server, target: address, sourcePort: 67, targetPort: 68 },
          payload: encodeDhcp({
            ...{ op: 'reply', xid: said.at(-1)?.xid ?? 0, secs: 0, broadcast: false, clientIp: 0 },
            ...{ yourIp: kind === 'nak' ? 0 : address, serverIp: 0, relayIp: 0, mac },
            options: new Map([
              [dhcpOptions.messageType, Uint8Array.of(dhcpTypes[kind])],
              [dhcpOptions.server, bytes(server)],
              [dhcpOptions.mask, bytes(maskOf(24))],
              [dhcpOptions.leaseTime, bytes(1000)],
              ...more,
            ]),
            ...change,
          }),
        },
        1500,
      )[0] as Uint8Array,
    );
  return { clock, client, said, leases, type, answer };
}

test('a lease is asked for again and again, taken, renewed at half of its time, and lost at its end', () => {
  const { clock, client, said, leases, type, answer } = house();
  client.start();
  clock.move(30_000);
  assert.ok(said.length >= 4 && said.length <= 7, `${said.length} tries`);
  answer('offer');
  assert.equal(type(), dhcpTypes.request);
  assert.deepEqual(said.at(-1)?.options.get(dhcpOptions.requestedIp), bytes(address));
  answer('ack', [
    [dhcpOptions.router, bytes(server)],
    [dhcpOptions.routes, encodeRoutes([pushed])],
  ]);
  assert.deepEqual(leases[0]?.routes, [pushed], 'with option 121 the router option does not count');
  const before = said.length;
  clock.move(460_000);
  assert.equal(said.length, before);
  clock.move(40_000);
  assert.ok(said.length > before);
  assert.equal(said.at(-1)?.clientIp, address);
  answer('ack', [[dhcpOptions.routes, encodeRoutes([pushed])]]);
  assert.equal(leases.length, 1, 'a renewal that changes nothing is no news');
  clock.move(1_100_000);
  assert.deepEqual(leases.slice(1), [undefined]);
  assert.equal(type(), dhcpTypes.discover);
});

test('a new session asks for the same address; a refusal, or silence, begins anew', () => {
  const { clock, client, said, leases, type, answer } = house();
  client.start();
  answer('offer');
  answer('ack');
  client.start();
  assert.equal(type(), dhcpTypes.request);
  assert.equal(said.at(-1)?.options.get(dhcpOptions.server), undefined, 'INIT-REBOOT names no server');
  answer('nak');
  assert.equal(type(), dhcpTypes.discover);
  assert.deepEqual(leases.at(-1), undefined);
  answer('offer');
  answer('ack');
  client.start();
  clock.move(20_000);
  assert.equal(type(), dhcpTypes.discover);
});

test('the address is given back, and nothing is sent afterwards', () => {
  const { clock, client, said, type, answer } = house();
  client.start();
  answer('offer');
  answer('ack');
  client.stop();
  assert.equal(type(), dhcpTypes.release);
  const count = said.length;
  clock.move(10_000_000);
  assert.equal(said.length, count);
});

test('answers to others, of another question, or for impossible addresses are not taken', () => {
  const { client, leases, type, answer } = house();
  client.start();
  answer('offer', [], { xid: 1 });
  answer('offer', [], { mac: serverMac });
  answer('offer', [], { op: 'request' });
  answer('offer', [], { yourIp: parseIpv4('127.0.0.1') });
  answer('offer', [], { yourIp: 0xffffffff });
  answer('ack');
  assert.equal(type(), dhcpTypes.discover);
  answer('offer');
  answer('ack', [[dhcpOptions.routes, Uint8Array.of(99, 1, 2)]]);
  assert.deepEqual(leases, [], 'a broken list of routes is no lease');
});

test('whatever comes towards the client’s port never throws', () => {
  const { client } = house();
  client.start();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), noise => {
      client.input(noise);
      const ends = { toMac: mac, fromMac: serverMac, source: server, target: address, sourcePort: 67, targetPort: 68 };
      for (const frame of udpFrames({ ...ends, payload: noise }, 1500)) assert.equal(client.input(frame), true);
    }),
  );
});

test('the longest route decides, a router 0.0.0.0 means this wire, and no route means nowhere', () => {
  const lease: HubLease = {
    ...{ address, bits: 24, dns: [], domain: '', mtu: 1500, server },
    routes: [pushed, { network: { address: parseIpv4('10.0.1.128'), mask: maskOf(25), bits: 25 }, router: 0 }],
  };
  const hop = (text: string): number | undefined => nextHop(lease, parseIpv4(text));
  assert.equal(hop('192.168.30.99'), parseIpv4('192.168.30.99'));
  assert.equal(hop('10.0.1.26'), server);
  assert.equal(hop('10.0.1.200'), parseIpv4('10.0.1.200'));
  assert.equal(hop('8.8.8.8'), undefined);
});

test('a hub cannot be as large as a default route, nor its routes be one where none is wanted', () => {
  const { client, leases, answer } = house();
  client.start();
  answer('offer');
  answer('ack', [[dhcpOptions.mask, bytes(maskOf(1))]]);
  assert.equal(leases[0]?.bits, 8);
  const leads = (text: string, defaultRoute: boolean): boolean => mayLead(parseIpv4Network(text), { defaultRoute });
  assert.deepEqual(
    ['0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '64.0.0.0/2', '10.0.0.0/8', '169.254.169.254/32', '127.0.0.0/8'].map(
      text => [leads(text, true), leads(text, false)],
    ),
    [
      [true, false],
      [true, false],
      [true, false],
      [true, false],
      [true, true],
      [false, false],
      [false, false],
    ],
  );
});
