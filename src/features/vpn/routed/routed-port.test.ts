// A member who speaks IP alone, on a real hub with its router: leases, is found by ARP, and reaches others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testGate } from '../../../../test/fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../../../test/fixtures/quiet.ts';
import { TestClock } from '../../../core/clock.ts';
import { encodeIcmp, icmpTypes } from '../../../wire/icmp.ts';
import { decodeIpv4, encodeIpv4, formatIpv4, parseIpv4 } from '../../../wire/ipv4.ts';
import { createHub } from '../create-hub.ts';
import { defaultSecurity } from '../softether/policy.ts';
import { RoutedMacs } from './routed-macs.ts';
import { RoutedPort } from './routed-port.ts';

const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
};

async function openLab() {
  const clock = new TestClock();
  const hub = await createHub(
    'lab',
    {
      nat: {
        address: '192.168.30.1/24',
        dhcp: { range: ['192.168.30.10', '192.168.30.20'], routes: [{ network: '10.0.1.0/24' }], dns: ['10.0.1.53'] },
      },
    },
    { gate: testGate(), clock, log: memoryLog(), metrics: memoryMetrics(), isOwn: () => false },
  );
  const macs = new RoutedMacs();
  const join = (user: string) => {
    const got: ReturnType<typeof decodeIpv4>[] = [];
    const taken = macs.take('lab', user);
    const leases: (string | undefined)[] = [];
    const port = new RoutedPort({
      ...{ name: user, mac: taken.mac, hostname: user, clock },
      deliver: packets => void got.push(...packets.map(packet => decodeIpv4(packet))),
      onLease: lease => void leases.push(lease && formatIpv4(lease.address)),
    });
    const session = `SID-${user}`;
    const attached = hub.attach(port, { kind: 'member', session, user, groups: [], security: defaultSecurity });
    port.begin();
    const leave = async (): Promise<void> => {
      await port[Symbol.asyncDispose]();
      await settle();
      await attached[Symbol.asyncDispose]();
      taken.release();
    };
    return { port, got, leases, attached, leave };
  };
  return { hub, clock, join };
}
type Member = ReturnType<Awaited<ReturnType<typeof openLab>>['join']>;

const echo = (from: number, to: string): Uint8Array =>
  encodeIpv4({
    ...{ source: from, target: parseIpv4(to), protocol: 1, ttl: 64, id: 1 },
    ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
    payload: encodeIcmp({ type: icmpTypes.echo, code: 0, id: 1, sequence: 1, data: Buffer.from('hello') }),
  });
const own = ({ port }: Member): number => port.lease?.address ?? 0;

test('it leases an address with routes and name servers, and the router answers its echo', async () => {
  const { join } = await openLab();
  const alice = join('alice');
  const lease = await alice.port.leased(AbortSignal.timeout(5000));
  assert.equal(formatIpv4(lease.address), '192.168.30.10');
  assert.deepEqual(
    lease.routes.map(({ network }) => `${formatIpv4(network.address)}/${network.bits}`),
    ['10.0.1.0/24'],
  );
  assert.deepEqual(lease.dns.map(formatIpv4), ['10.0.1.53']);
  assert.equal(alice.port.fromMember([echo(lease.address, '192.168.30.1')]), 1);
  await settle();
  assert.deepEqual(
    alice.got.map(({ source, target }) => [formatIpv4(source), formatIpv4(target)]),
    [['192.168.30.1', '192.168.30.10']],
  );
});

test('two of them find each other, and broadcasts reach both', async () => {
  const { join } = await openLab();
  const [alice, bob] = [join('alice'), join('bob')];
  await settle();
  alice.port.fromMember([echo(own(alice), formatIpv4(own(bob))), echo(own(alice), formatIpv4(own(bob)))]);
  await settle();
  assert.equal(bob.got.length, 2, 'both waited for ARP');
  alice.port.fromMember([echo(own(alice), '192.168.30.255'), echo(own(alice), '239.1.2.3')]);
  await settle();
  assert.deepEqual(
    bob.got.slice(2).map(({ target }) => formatIpv4(target)),
    ['192.168.30.255', '239.1.2.3'],
  );
});

test('nobody speaks for another address, beyond the pushed routes, or in anything but IPv4', async () => {
  const { join } = await openLab();
  const [alice, bob] = [join('alice'), join('bob')];
  await settle();
  const packet = echo(own(alice), formatIpv4(own(bob)));
  const cut = packet.slice(0, packet.length - 1);
  const six = packet.slice();
  six[0] = 0x65;
  const taken = alice.port.fromMember([
    echo(own(bob), '192.168.30.1'),
    cut,
    six,
    new Uint8Array(3),
    new Uint8Array(1501),
  ]);
  assert.equal(taken, 0);
  alice.port.fromMember([echo(own(alice), '198.51.100.1')]);
  await settle();
  assert.equal(alice.got.length + bob.got.length, 0);
});

test('who comes back gets the same address; a second session of the same member another one', async () => {
  const { join, hub } = await openLab();
  const first = join('alice');
  await settle();
  const second = join('alice');
  await settle();
  assert.notEqual(own(first), own(second));
  const before = own(first);
  await first.leave();
  assert.ok(!hub.leases().some(({ address }) => address === formatIpv4(before)), 'it was given back');
  const again = join('alice');
  await settle();
  assert.equal(own(again), before);
});

test('a lease is renewed in time, and when it cannot be, the member is told', async () => {
  const { join, clock, hub } = await openLab();
  const alice = join('alice');
  await settle();
  clock.move(3_700_000);
  await settle();
  assert.deepEqual(alice.leases, ['192.168.30.10'], 'a renewal changes nothing');
  await hub.setNat(undefined);
  for (let minutes = 0; minutes < 130; minutes++) {
    clock.move(60_000);
    await settle();
  }
  assert.deepEqual(alice.leases, ['192.168.30.10', undefined]);
  assert.equal(alice.port.fromMember([echo(parseIpv4('192.168.30.10'), '192.168.30.1')]), 0);
});
