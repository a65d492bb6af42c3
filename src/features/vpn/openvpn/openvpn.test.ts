// The parts of OpenVPN by themselves: reliability, keys, replay, tls-crypt, what is pushed, which hub is meant.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../../core/clock.ts';
import { parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import { opcodes } from '../../../wire/openvpn.ts';
import type { HubEntry } from '../hubs.ts';
import type { Member } from '../members.ts';
import { Refusal } from '../softether/errors.ts';
import { createCookies } from './cookie.ts';
import { chooseCipher, DataKey, dataCiphers, expandKeys, keyMaterialLength } from './data-key.ts';
import { whereTo } from './login.ts';
import { pushLines, pushOptions } from './push.ts';
import { failureLine } from './refusals.ts';
import { Reliable, type ReliablePacket } from './reliable.ts';
import { ReplayWindow } from './replay-window.ts';
import { formatStaticKey, staticKeyLength, tlsCrypt } from './tls-crypt.ts';

const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 6; turns++) await new Promise(setImmediate);
};

test('bytes arrive once and in order over a line that loses, repeats and reorders', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(9), { minLength: 60, maxLength: 60 }), fc.nat(5000), async (luck, size) => {
      const clock = new TestClock();
      const got: Uint8Array[] = [];
      let turn = 0;
      const held: (() => void)[] = [];
      const line = (to: () => Reliable, keep: boolean) => (packet: ReliablePacket) => {
        const fate = luck[turn++ % luck.length]!;
        const arrive = (): void => {
          to().acknowledged(packet.acks);
          if (packet.id === undefined) return;
          const ready = to().receive(packet.id, packet.payload);
          if (keep) got.push(...ready);
        };
        if (fate < 2) return; // lost
        if (fate === 2)
          held.push(arrive); // late
        else arrive();
        if (fate === 3) arrive(); // twice
      };
      const near: Reliable = new Reliable({ clock, send: line(() => far, true) });
      const far: Reliable = new Reliable({ clock, send: line(() => near, false) });
      const sent = randomBytes(size + 1);
      near.write(sent);
      for (let rounds = 0; rounds < 400 && !near.isIdle; rounds++) {
        await settle();
        for (const arrive of held.splice(0)) arrive();
        clock.move(2000);
      }
      assert.deepEqual(Buffer.concat(got), sent);
      near.close();
      far.close();
    }),
    { numRuns: 25 },
  );
});

test('what is far ahead is neither kept nor acknowledged, what is repeated is acknowledged again', async () => {
  const acks: number[] = [];
  const one = new Reliable({ clock: new TestClock(), send: packet => void acks.push(...packet.acks) });
  assert.deepEqual(one.receive(8, Buffer.from('far')), []);
  assert.equal(one.receive(0, Buffer.from('a')).length, 1);
  await settle();
  assert.equal(one.receive(0, Buffer.from('a')).length, 0);
  await settle();
  assert.deepEqual(acks, [0, 0]);
});

test('both sides open what the other seals, in V1 and V2, and nothing that was changed', () => {
  for (const cipher of Object.keys(dataCiphers) as (keyof typeof dataCiphers)[])
    for (const peerId of [undefined, 0x123456]) {
      const options = { material: randomBytes(keyMaterialLength), cipher, keyId: 3, ordered: false };
      const named = peerId === undefined ? {} : { peerId };
      const [server, client] = [
        new DataKey({ ...options, ...named }),
        new DataKey({ ...options, ...named, side: 'client' }),
      ];
      const packet = client.seal(Buffer.from('hello'));
      assert.equal(packet[0], ((peerId === undefined ? opcodes.dataV1 : opcodes.dataV2) << 3) | 3);
      for (let at = 0; at < packet.length; at++) {
        // The first byte chooses the key, before anything is opened.
        if (at === 0) continue;
        const other = Buffer.from(packet);
        other[at]! ^= 1;
        const opened = server.open(other);
        assert.ok(opened === undefined || (peerId === undefined && at === 0), `byte ${at}`);
      }
      assert.deepEqual(server.open(packet), Buffer.from('hello'));
      assert.equal(server.open(packet), undefined, 'replayed');
      assert.equal(server.open(server.seal(Buffer.from('back'))), undefined, 'of its own direction');
      assert.deepEqual(client.open(server.seal(Buffer.from('again'))), Buffer.from('again'));
      assert.equal(server.open(packet.subarray(0, 20)), undefined, 'cut');
    }
});

test('each number counts once, within a window; on a stream only upwards', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 400 }), numbers => {
      const window = new ReplayWindow();
      const seen = new Set<number>();
      let newest = 0;
      for (const number of numbers) {
        const fresh = number > 0 && number + 1024 > newest && !seen.has(number);
        assert.equal(window.mayCome(number), fresh);
        if (!fresh) continue;
        window.came(number);
        seen.add(number);
        newest = Math.max(newest, number);
      }
    }),
  );
  const ordered = new ReplayWindow(1);
  ordered.came(5);
  assert.deepEqual(
    [4, 5, 6].map(number => ordered.mayCome(number)),
    [false, false, true],
  );
});

test('the PRF of TLS 1.0 gives the keys of clients before 2.6', () => {
  const fill = (value: number, length: number): Buffer => Buffer.alloc(length, value);
  const keys = expandKeys({
    preMaster: fill(1, 48),
    client: [fill(2, 32), fill(3, 32)],
    server: [fill(4, 32), fill(5, 32)],
    ...{ clientSession: fill(6, 8), serverSession: fill(7, 8) },
  });
  assert.equal(keys.length, 256);
  // Computed beside it, by another program in another language.
  assert.equal(keys.subarray(0, 16).toString('hex'), prfSample);
});
const prfSample = 'df52f010932d0764260f7117f367cf5d';

test('tls-crypt: the other side reads it, nobody else does, and a changed byte is noticed', () => {
  const clock = new TestClock();
  const key = randomBytes(staticKeyLength);
  const [server, client] = [tlsCrypt(key, clock), tlsCrypt(key, clock, 'client')];
  const packet = Buffer.concat([Buffer.from([0x38]), randomBytes(8), randomBytes(40)]);
  const wrapped = client.wrap(packet);
  assert.equal(wrapped.length, packet.length + 40);
  assert.deepEqual(server.unwrap(wrapped), packet);
  assert.equal(client.unwrap(wrapped), undefined, 'of its own direction');
  assert.equal(tlsCrypt(randomBytes(staticKeyLength), clock).unwrap(wrapped), undefined);
  for (let at = 0; at < wrapped.length; at++) {
    const other = Buffer.from(wrapped);
    other[at]! ^= 0x80;
    assert.equal(server.unwrap(other), undefined, `byte ${at}`);
  }
  assert.match(formatStaticKey(key), /^-----BEGIN OpenVPN Static key V1-----\n([0-9a-f]{32}\n){16}-----END/);
});

test('a cookie counts at its address, for its session and for a time', () => {
  const clock = new TestClock();
  const cookies = createCookies(clock);
  const session = randomBytes(8);
  const cookie = cookies.make('203.0.113.7 1194', session);
  assert.ok(cookies.fits(cookie, '203.0.113.7 1194', session));
  assert.ok(!cookies.fits(cookie, '203.0.113.7 1195', session));
  assert.ok(!cookies.fits(cookie, '203.0.113.7 1194', randomBytes(8)));
  clock.move(30_000);
  assert.ok(cookies.fits(cookie, '203.0.113.7 1194', session));
  clock.move(60_000);
  assert.ok(!cookies.fits(cookie, '203.0.113.7 1194', session));
});

test('settings: address, routes, no default gateway unless the hub says so, and long ones in several lines', () => {
  const route = (text: string, router = parseIpv4('192.168.30.1')) => ({ network: parseIpv4Network(text), router });
  const lease = {
    ...{ address: parseIpv4('192.168.30.10'), bits: 24, server: parseIpv4('192.168.30.1'), mtu: 1400 },
    ...{ routes: [route('10.0.1.0/24')], dns: [parseIpv4('10.0.1.53')], domain: 'lab.test' },
  };
  const facts = {
    proto: 0,
    cipher: 'AES-256-GCM',
    peerId: 7,
    keyExport: true,
    datagrams: true,
    ping: 7,
    restart: 60,
    mtu: 1600,
  } as const;
  const options = pushOptions({ ...facts, lease });
  assert.deepEqual(options, [
    'topology subnet',
    'ifconfig 192.168.30.10 255.255.255.0',
    'route-gateway 192.168.30.1',
    'route 10.0.1.0 255.255.255.0',
    'dhcp-option DNS 10.0.1.53',
    'dhcp-option DOMAIN lab.test',
    'tun-mtu 1400',
    'ping 7',
    'ping-restart 60',
    'explicit-exit-notify 1',
    'peer-id 7',
    'cipher AES-256-GCM',
    'key-derivation tls-ekm',
  ]);
  assert.ok(
    pushOptions({ ...facts, lease: { ...lease, routes: [route('0.0.0.0/0')] } }).includes('redirect-gateway def1'),
  );
  assert.ok(
    pushOptions({ ...facts, proto: 1 << 7 }).includes('protocol-flags cc-exit tls-ekm'),
    'tap: nothing of addresses',
  );
  assert.ok(
    !pushOptions({ ...facts, datagrams: false })
      .join()
      .includes('exit-notify'),
  );
  const many = Array.from({ length: 64 }, (_, index) => `route 10.${index}.0.0 255.255.0.0`);
  const lines = pushLines(many);
  assert.ok(lines.length > 1 && lines.every(line => line.length < 1000));
  assert.ok(lines.slice(0, -1).every(line => line.endsWith(',push-continuation 2')));
  assert.ok(lines.at(-1)?.endsWith(',push-continuation 1'));
  assert.deepEqual(pushLines(['a', 'b']), ['PUSH_REPLY,a,b']);
});

test('the hub is what the name says, what the profile says, or the only one that it can be', () => {
  const hubs = ['lab', 'office'].map(name => ({ name }) as HubEntry);
  const list = (names: readonly string[] = ['lab', 'office']) => ({
    list: () => hubs.filter(({ name }) => names.includes(name)),
    find: (name: string) => hubs.find(hub => hub.name === name.toLowerCase()),
  });
  const members = {
    find: (hub: string, name: string) =>
      ['lab/alice', 'lab/bob', 'office/bob'].includes(`${hub}/${name}`) ? ({} as Member) : undefined,
  };
  const where = (user: string, hub?: string, names?: readonly string[], certified = '') =>
    whereTo({ user, hub }, certified, { hubs: list(names), members } as unknown as Parameters<typeof whereTo>[2]);
  assert.deepEqual(where('carol@office'), { hub: 'office', name: 'carol' });
  assert.deepEqual(where('office\\carol'), { hub: 'office', name: 'carol' });
  assert.deepEqual(where('bob', 'office'), { hub: 'office', name: 'bob' });
  assert.deepEqual(where('alice'), { hub: 'lab', name: 'alice' });
  assert.deepEqual(where('carol@example.com', undefined, ['lab']), { hub: 'lab', name: 'carol@example.com' });
  assert.deepEqual(where('', undefined, undefined, 'alice'), { hub: 'lab', name: 'alice' });
  for (const [user, certified] of [
    ['bob', ''],
    ['nobody', ''],
    ['', ''],
    ['', 'bob'],
  ] as const)
    assert.throws(() => where(user, undefined, undefined, certified), { name: 'Refusal', code: 'auth-failed' });
});

test('a refusal is a sentence; one that passes says when to come back, to clients that know how', () => {
  const busy = new Refusal('hub-busy', 'full');
  assert.equal(failureLine(busy, 0), 'AUTH_FAILED,the hub has no free place');
  assert.equal(failureLine(busy, 1 << 8), 'AUTH_FAILED,TEMP[backoff 60]:the hub has no free place');
  assert.doesNotMatch(failureLine(new Refusal('auth-failed', 'the proof for "alice" is wrong'), 0), /alice/);
  assert.equal(failureLine(new Error('secret'), 0), 'AUTH_FAILED,the gate refuses');
});

test('the best cipher that both have is taken', () => {
  assert.equal(chooseCipher(['CHACHA20-POLY1305', 'aes-128-gcm']), 'AES-128-GCM');
  assert.equal(chooseCipher(['AES-256-CBC', 'BF-CBC']), undefined);
});
