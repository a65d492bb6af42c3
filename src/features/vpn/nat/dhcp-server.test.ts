// The hub's DHCP server, message by message.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestClock } from '../../../core/clock.ts';
import { type DhcpMessage, decodeRoutes, dhcpTypes as types } from '../../../wire/dhcp.ts';
import { formatIpv4, parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import type { DhcpOptions } from '../hub.ts';
import { DhcpServer } from './dhcp-server.ts';

const ip4 = (text: string): Uint8Array => Uint8Array.from(text.split('.'), Number);
const mac = (index: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 0, index);
const text = (message: DhcpMessage | undefined): string => {
  const type = message?.options.get(53)?.[0];
  const word = Object.entries(types).find(([, number]) => number === type)?.[0] ?? 'silence';
  return message ? `${word} ${formatIpv4(message.yourIp)}` : word;
};

function server(dhcp: Partial<DhcpOptions> = {}, taken: readonly string[] = []) {
  const clock = new TestClock();
  const one = new DhcpServer({
    dhcp: { range: ['192.168.30.10', '192.168.30.12'], ...dhcp },
    router: parseIpv4Network('192.168.30.1/24'),
    clock,
    isTaken: address => taken.includes(formatIpv4(address)),
  });
  const say = (
    type: keyof typeof types,
    index: number,
    more: {
      requested?: string;
      server?: string;
      client?: string;
      asks?: number[];
      owner?: unknown;
      broadcast?: boolean;
    } = {},
  ): DhcpMessage | undefined => {
    const options = new Map<number, Uint8Array>([[53, Uint8Array.of(types[type])]]);
    if (more.requested) options.set(50, ip4(more.requested));
    if (more.server) options.set(54, ip4(more.server));
    if (more.asks) options.set(55, Uint8Array.from(more.asks));
    options.set(12, Buffer.from('pc<1>'));
    const clientIp = more.client ? parseIpv4(more.client) : 0;
    const fixed = {
      op: 'request',
      xid: 7,
      secs: 0,
      broadcast: more.broadcast ?? false,
      yourIp: 0,
      serverIp: 0,
      relayIp: 0,
    } as const;
    return one.answer({ ...fixed, clientIp, mac: mac(index), options }, more.owner ?? index);
  };
  return { one, say, clock };
}

test('discover, request, again, and after the lease has run out', () => {
  const { one, say, clock } = server({ lease: 60 });
  assert.equal(text(say('discover', 1)), 'offer 192.168.30.10');
  assert.equal(text(say('discover', 2)), 'offer 192.168.30.11');
  assert.equal(text(say('request', 1, { requested: '192.168.30.10', server: '192.168.30.1' })), 'ack 192.168.30.10');
  assert.equal(one.leases()[0]?.hostname, 'pc1');
  clock.move(11_000); // the offer to the second is over
  assert.equal(text(say('discover', 3)), 'offer 192.168.30.11');
  assert.equal(text(say('request', 1, { client: '192.168.30.10' })), 'ack 192.168.30.10');
  assert.equal(text(say('discover', 1)), 'offer 192.168.30.10');
  clock.move(61_000);
  assert.deepEqual(one.leases(), []);
});

test('what is taken, out of range or of somebody else is not given; another network gets a no', () => {
  const { say } = server({}, ['192.168.30.10']);
  assert.equal(text(say('discover', 1)), 'offer 192.168.30.11');
  assert.equal(text(say('request', 1, { requested: '192.168.30.11' })), 'ack 192.168.30.11');
  assert.equal(text(say('request', 2, { requested: '192.168.30.11' })), 'nak 0.0.0.0');
  assert.equal(text(say('request', 2, { requested: '10.0.0.5' })), 'nak 0.0.0.0');
  assert.equal(text(say('request', 2, { requested: '192.168.30.1', server: '192.168.30.1' })), 'nak 0.0.0.0');
  assert.equal(text(say('discover', 2, { requested: '192.168.30.12' })), 'offer 192.168.30.12');
  assert.equal(text(say('request', 2, { requested: '192.168.30.12', server: '192.168.30.99' })), 'silence');
  assert.equal(text(say('discover', 3)), 'offer 192.168.30.12', 'the offer was turned down');
  assert.equal(text(say('discover', 4)), 'silence', 'nothing is left');
});

test('who invents hosts gets half of the range at most', () => {
  const { say } = server({ range: ['192.168.30.10', '192.168.30.19'] });
  const got = Array.from({ length: 10 }, (_, index) => text(say('discover', index + 1, { owner: 'villain' })));
  assert.equal(got.filter(answer => answer !== 'silence').length, 5);
  assert.equal(text(say('discover', 77, { owner: 'another' })), 'offer 192.168.30.15');
});

test('reservations, release, decline, inform', () => {
  const { one, say } = server({ reservations: [{ mac: '02-00-00-00-00-09', address: '192.168.30.50' }] });
  assert.equal(text(say('discover', 9)), 'offer 192.168.30.50');
  assert.equal(text(say('request', 9, { requested: '192.168.30.50' })), 'ack 192.168.30.50');
  assert.equal(text(say('request', 8, { requested: '192.168.30.50' })), 'nak 0.0.0.0');
  assert.equal(text(say('request', 1, { requested: '192.168.30.10' })), 'ack 192.168.30.10');
  say('release', 1, { client: '192.168.30.10' });
  assert.equal(one.leases().length, 1);
  say('request', 1, { requested: '192.168.30.10' });
  say('decline', 1, { requested: '192.168.30.10' });
  assert.equal(text(say('discover', 1)), 'offer 192.168.30.11');
  const inform = say('inform', 1, { client: '192.168.30.77' });
  assert.equal(text(inform), 'ack 0.0.0.0');
  assert.equal(inform?.options.has(51), false);
});

test('routes without a default gateway, and with one', () => {
  const routes = [{ network: '10.0.1.0/24' }, { network: '172.16.0.0/12', gateway: '192.168.30.9' }];
  const bare = server({ routes }).say('discover', 1);
  assert.equal(bare?.options.has(3), false);
  assert.deepEqual(bare?.options.get(121), bare?.options.get(249));
  assert.deepEqual(
    decodeRoutes(bare?.options.get(121) ?? new Uint8Array(0)).map(({ network, router }) => [
      formatIpv4(network.address),
      network.bits,
      formatIpv4(router),
    ]),
    [
      ['10.0.1.0', 24, '192.168.30.1'],
      ['172.16.0.0', 12, '192.168.30.9'],
    ],
  );
  const full = server({ routes, gateway: '192.168.30.1' }).say('discover', 1, { asks: [1, 3, 121] });
  assert.deepEqual([...(full?.options.get(3) ?? [])], [192, 168, 30, 1]);
  assert.equal(decodeRoutes(full?.options.get(121) ?? new Uint8Array(0)).at(-1)?.network.bits, 0);
  assert.equal(full?.options.has(249), false);
});

test('options come in the order that the client asks in, with the mask before the router', () => {
  const { say } = server({ routes: [{ network: '10.0.1.0/24' }], gateway: '192.168.30.1', domain: 'lab.test' });
  const codes = [...(say('discover', 1, { asks: [121, 3, 6, 15, 1] })?.options.keys() ?? [])];
  assert.deepEqual(codes, [53, 54, 51, 1, 121, 3, 6, 15]);
});

test('a client that wants broadcasts is told so, and a lease that has run out goes to somebody else', () => {
  const { one, say, clock } = server({ lease: 60, range: ['192.168.30.10', '192.168.30.10'] });
  assert.equal(say('discover', 1, { broadcast: true })?.broadcast, true);
  assert.equal(say('discover', 1)?.broadcast, false);
  assert.equal(text(say('request', 1, { requested: '192.168.30.10' })), 'ack 192.168.30.10');
  assert.equal(text(say('discover', 2)), 'silence');
  clock.move(30_000);
  assert.equal(text(say('request', 1, { client: '192.168.30.10' })), 'ack 192.168.30.10', 'renewed at half its time');
  clock.move(31_000);
  assert.equal(text(say('discover', 2)), 'silence', 'the renewal counts');
  clock.move(30_000);
  assert.equal(text(say('discover', 2)), 'offer 192.168.30.10');
  assert.deepEqual(one.leases(), []);
});

test('one port does not get all addresses', () => {
  const { one, say } = server({ range: ['192.168.30.10', '192.168.30.200'] });
  for (let index = 1; index <= 100; index++)
    say('request', index, { requested: `192.168.30.${9 + index}`, owner: 'greedy' });
  assert.equal(one.leases().length, 64);
  assert.equal(text(say('discover', 150, { owner: 'modest' })).split(' ')[0], 'offer');
});

test('a range outside of the network is refused when the hub is configured', () => {
  assert.throws(() => server({ range: ['192.168.30.10', '192.168.31.10'] }), { code: 'invalid' });
  assert.throws(() => server({ range: ['192.168.30.20', '192.168.30.10'] }), { code: 'invalid' });
  assert.throws(() => server({ mask: '255.0.255.0' }), { code: 'invalid' });
});
