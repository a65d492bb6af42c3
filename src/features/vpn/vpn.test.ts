// Members get in by each proof and are turned away with SoftEther's numbers; sessions live, change and end as they should.
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { makeCa } from '../../../test/fixtures/certificates.ts';
import { everybody, frameTo, type SoftEtherClient } from '../../../test/fixtures/softether-client.ts';
import { openVpnHouse, type VpnHouse } from '../../../test/fixtures/vpn-house.ts';
import { type Pack, packData, packInt, packText, packTime } from '../../wire/softether-pack.ts';
import type { MemberChange, NewProof } from './index.ts';

const alice = { hub: 'lab', user: 'alice', password: 'correct horse' };
const error = (pack: Pack): number => packInt(pack, 'error');
const key = (pack: Pack): Buffer => packData(pack, 'session_key') ?? Buffer.alloc(0);

async function house(
  t: { after(call: () => unknown): void },
  { proof = { kind: 'password', password: alice.password } as NewProof, ...about }: MemberChange = {},
): Promise<VpnHouse> {
  const made = await openVpnHouse(t);
  await made.vpn.hubs.create('lab', {});
  await made.vpn.members.add('lab', 'alice', { proof, ...about });
  return made;
}

/** A member on the hub whose frames are seen. */
async function join(at: VpnHouse, wish: Parameters<SoftEtherClient['login']>[0] = alice, host?: string) {
  const client = at.client(host);
  const welcome = await client.login(wish);
  assert.equal(error(welcome), 0, `error ${error(welcome)}`);
  return Object.assign(client, { welcome });
}
const says = (text: string) => (frame: Buffer) => frame.includes(text);

// --- Getting in -----------------------------------------------------------------------------------------------------

test('the probe is answered with the tag, then the hello with 20 random bytes', async t => {
  const client = (await house(t)).client();
  const page = await client.probe();
  assert.equal(page.status, 403);
  assert.match(page.body.toString(), /9C37197CA7C2428388C2E6E59B829B30/);
  const hello = await client.hello();
  assert.equal(packData(hello, 'random')?.length, 20);
  assert.ok(packInt(hello, 'version') >= 400);
});

test('a member joins by the form that SoftEther sends, and everything the client needs is in the Welcome', async t => {
  const at = await house(t);
  const { welcome } = await join(at);
  assert.equal(packText(welcome, 'session_name'), 'SID-ALICE-1');
  assert.equal(packInt(welcome, 'use_encrypt'), 1);
  assert.equal(packInt(welcome, 'timeout'), 20_000);
  assert.equal(key(welcome).length, 20);
  assert.equal(packInt(welcome, 'policy:NoBridge'), 1, 'who does not ask for bridging gets one computer’s worth');
  const [admission] = at.gate.open();
  assert.deepEqual(
    [admission?.request.action, admission?.request.resource, admission?.request.opened, admission?.request.who.id],
    ['vpn.join', 'hub/lab', 'hub/lab', 'alice'],
  );
  await waitFor(() => at.vpn.members.get('lab', 'alice').logins === 1);
});

test('who is let in while something of his changes comes in by what is new, or not at all', async t => {
  const at = await house(t);
  const { admit } = at.gate;
  const during = (change: () => Promise<unknown>): void =>
    void Object.assign(at.gate, {
      admit: async (request: Parameters<typeof admit>[0]) => {
        const session = await admit(request);
        await change();
        return session;
      },
    });
  during(() => at.vpn.members.change('lab', 'alice', { policy: { maxUpload: 1_000_000 } }));
  await join(at);
  assert.equal(at.vpn.sessions.list('lab')[0]?.policy.security.maxUpload, 1_000_000);
  for (const [change, code] of [
    [() => at.vpn.members.change('lab', 'alice', { policy: { access: false } }), 12],
    [() => at.vpn.members.change('lab', 'alice', { policy: null, proof: { kind: 'gate' } }), 12],
    [() => at.vpn.hubs.change('lab', { online: false }), 10],
  ] as const) {
    during(change);
    const answer = await at.client().login(alice);
    assert.equal(error(answer), code);
    await at.vpn.members.change('lab', 'alice', {
      policy: null,
      proof: { kind: 'password', password: alice.password },
    });
  }
  await waitFor(() => at.vpn.sessions.size === 0 && at.gate.open().length === 0);
});

test('the name may be written in any case, and the password may be sent as it is', async t => {
  const at = await house(t);
  await join(at, { hub: 'LAB', user: 'ALICE', password: alice.password });
  await join(at, { hub: 'lab', user: 'Alice', plain: alice.password });
  const wrong = await at.client().login({ hub: 'lab', user: 'alice', plain: 'Correct horse' });
  assert.equal(error(wrong), 9);
});

test('a plain-only member cannot use the form, and no form is kept', async t => {
  const at = await house(t, { proof: { kind: 'plain', password: alice.password } });
  assert.equal(error(await at.client().login(alice)), 9);
  assert.equal(at.vpn.members.softEtherHash(at.vpn.members.get('lab', 'alice')), undefined);
  assert.equal(at.vpn.members.countSoftEtherForms(), 0);
  await join(at, { hub: 'lab', user: 'alice', plain: alice.password });
});

test('the gate’s own password counts where the membership says so', async t => {
  const at = await house(t, { proof: { kind: 'gate' } });
  await join(at, { hub: 'lab', user: 'alice', plain: "gate's alice" });
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'alice', plain: 'other' })), 9);
});

test('a certificate proves its user by signing our random bytes', async t => {
  const at = await house(t, { proof: { kind: 'certificate' } });
  const ca = makeCa('Members');
  const leaf = ca.issue({ cn: 'alice', client: true, key: 'rsa' });
  const certificate = { der: new X509Certificate(leaf.cert).raw, key: createPrivateKey(leaf.key) };
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'alice', certificate })), 9, 'another CA');
  at.certificates(der =>
    Buffer.from(der).equals(certificate.der)
      ? { kind: 'user', id: 'alice', groups: [], attributes: new Map([['cn', ['alice']]]), credential: 'cert:1' }
      : undefined,
  );
  await join(at, { hub: 'lab', user: 'alice', certificate });
  const stolen = { der: certificate.der, key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey };
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'alice', certificate: stolen })), 9, 'another key');
  await at.vpn.members.add('lab', 'bob', { proof: { kind: 'certificate' } });
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'bob', certificate })), 9, 'another user’s');
});

test('one pinned certificate counts whoever issued it, while it is valid', async t => {
  const leaf = makeCa('Elsewhere').issue({ cn: 'anything', client: true, key: 'rsa' });
  const certificate = { der: new X509Certificate(leaf.cert).raw, key: createPrivateKey(leaf.key) };
  const at = await house(t, { proof: { kind: 'certificate', der: certificate.der } });
  at.clock.move(new Date(new X509Certificate(leaf.cert).validFrom).getTime() + 1000 - at.clock.now().getTime());
  await join(at, { hub: 'lab', user: 'alice', certificate });
});

const refusals: Readonly<Record<string, { wish: object; code: number; about?: MemberChange; off?: true }>> = {
  'an unknown hub is 8': { wish: { hub: 'nowhere' }, code: 8 },
  'a hub that is offline is 10': { wish: {}, code: 10, off: true },
  'a wrong password is 9': { wish: { password: 'wrong' }, code: 9 },
  'an unknown user is 9': { wish: { user: 'mallory' }, code: 9 },
  'no proof at all is 9': { wish: { password: undefined }, code: 9 },
  'a membership that has ended is 12': { wish: {}, code: 12, about: { expires: new Date('2026-01-01T00:00:00Z') } },
  'a policy without access is 12': { wish: {}, code: 12, about: { policy: { access: false } } },
  'monitoring without the right is 107': { wish: { more: { require_monitor_mode: 1 } }, code: 107 },
  'bridging against the policy is 108': {
    ...{ wish: { more: { require_bridge_routing_mode: 1 } }, code: 108 },
    about: { policy: { noBridge: true, noRouting: true } },
  },
};
for (const [name, { wish, code, about = {}, off }] of Object.entries(refusals)) {
  test(name, async t => {
    const at = await house(t, about);
    if (off) await at.vpn.hubs.change('lab', { online: false });
    assert.equal(error(await at.client().login({ ...alice, ...wish })), code);
    assert.equal(at.gate.refusals.length, 1, 'it is in the audit');
    assert.equal(at.gate.open().length, 0);
  });
}

test('a disabled user is 12, and a removed membership 9', async t => {
  const at = await house(t);
  at.users.set('alice', 'disabled');
  assert.equal(error(await at.client().login(alice)), 12);
  at.users.set('alice', 'active');
  await at.vpn.members.remove('lab', 'alice');
  assert.equal(error(await at.client().login(alice)), 9);
});

test('without proof only where the hub says so', async t => {
  const at = await house(t);
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'anybody' })), 9);
  await at.vpn.hubs.change('lab', { anonymous: true });
  const { welcome } = await join(at, { hub: 'lab', user: 'anybody' });
  assert.equal(packText(welcome, 'session_name'), 'SID-ANONYMOUS-1');
  assert.equal(at.gate.open()[0]?.request.who.kind, 'anonymous');
});

test('guessing is limited, of hubs as of passwords, and one’s own success is not counted', async t => {
  const at = await house(t);
  for (let tries = 0; tries < 5; tries++) assert.equal(error(await at.client().login({ ...alice, password: 'no' })), 9);
  assert.equal(error(await at.client().login(alice)), 105);
  for (let tries = 0; tries < 5; tries++)
    assert.equal(error(await at.client().login({ ...alice, hub: `h${tries}` })), 8);
  assert.equal(error(await at.client().login({ ...alice, hub: 'h6' })), 105);
});

test('a password that was never set lets nobody in', async t => {
  const at = await house(t, { proof: { kind: 'hashed', hash: Buffer.alloc(20) } });
  assert.equal(error(await at.client().login({ ...alice, password: '' })), 9);
});

test('a client that is still asking its user about our certificate is waited for', async t => {
  const client = (await house(t)).client();
  await client.hello();
  for (let count = 0; count < 3; count++) assert.equal(packInt(await client.say({ noop: 1 }), 'noop'), 1);
});

test('names of hubs are told only where that is wished', async t => {
  const at = await house(t);
  await at.vpn.hubs.create('open', { listing: true });
  const client = at.client();
  await client.hello();
  const pack = await client.say({ method: 'enum_hub' });
  assert.deepEqual([packInt(pack, 'NumHub'), packText(pack, 'HubName')], [1, 'open']);
});

test('members change their own password with the old one, unless the policy keeps it', async t => {
  const at = await house(t);
  const { hashPassword, answerChallenge } = await import('./softether/sha0.ts');
  const change = async (old: string, next: string): Promise<number> => {
    const client = at.client();
    await client.hello();
    return error(
      await client.say({
        ...{ method: 'password', hubname: 'lab', username: 'alice', new_password: hashPassword('alice', next) },
        secure_old_password: answerChallenge(hashPassword('alice', old), client.random),
      }),
    );
  };
  assert.equal(await change('wrong', 'another one'), 69);
  assert.equal(await change(alice.password, 'another one'), 0);
  await join(at, { ...alice, password: 'another one' });
  await at.vpn.members.change('lab', 'alice', { policy: { fixPassword: true } });
  assert.equal(await change('another one', alice.password), 52);
});

// --- Being in -------------------------------------------------------------------------------------------------------

test('two members see each other’s frames, and a third whose hub is another sees none', async t => {
  const at = await house(t);
  await at.vpn.hubs.create('other', {});
  await at.vpn.members.add('other', 'alice', { proof: { kind: 'password', password: alice.password } });
  const [one, two] = [await join(at), await join(at)];
  const three = await join(at, { ...alice, hub: 'other' });
  one.send(frameTo(everybody, '5e:00:00:00:00:01', 'good morning'));
  await two.frame(says('good morning'));
  two.send(frameTo('5e:00:00:00:00:01', '5e:00:00:00:00:02', 'and to you'));
  await one.frame(says('and to you'));
  assert.deepEqual(three.frames, []);
});

test('more connections join a session until there are enough, and frames use them', async t => {
  const at = await house(t);
  const one = await join(at, { ...alice, more: { max_connection: 3 } });
  assert.equal(packInt(one.welcome, 'max_connection'), 3);
  const [second, third, fourth] = [at.client(), at.client(), at.client()];
  assert.equal(error(await second.join(key(one.welcome))), 0);
  assert.equal(packInt(await third.join(key(one.welcome)), 'direction'), 0);
  assert.equal(error(await fourth.join(key(one.welcome))), 15);
  const other = await join(at);
  third.send(frameTo(everybody, '5e:00:00:00:00:01', 'by the third'));
  await other.frame(says('by the third'));
  const [session] = at.vpn.sessions.list('lab');
  assert.equal(session?.connections.all, 3);
});

test('half duplex: connections go one way each, the first upwards', async t => {
  const at = await house(t);
  const up = await join(at, { ...alice, more: { max_connection: 2, half_connection: 1 } });
  assert.equal(packInt(up.welcome, 'half_connection'), 1);
  const down = at.client();
  assert.equal(packInt(await down.join(key(up.welcome)), 'direction'), 1);
  const other = await join(at);
  up.send(frameTo(everybody, '5e:00:00:00:00:01', 'upwards'));
  await other.frame(says('upwards'));
  other.send(frameTo(everybody, '5e:00:00:00:00:02', 'downwards'));
  await down.frame(says('downwards'));
  assert.deepEqual(up.frames, []);
});

test('a wrong session key is 13, and is no way to guess one', async t => {
  const at = await house(t);
  for (let tries = 0; tries < 5; tries++) assert.equal(error(await at.client().join(Buffer.alloc(20, tries))), 13);
  assert.notEqual(error(await at.client().join(Buffer.alloc(20, 9))), 13);
});

test('a session outlives its connections for its time-out, and goes on where it was', async t => {
  const at = await house(t);
  const one = await join(at);
  const other = await join(at);
  await one.close();
  await waitFor(() => at.vpn.sessions.list('lab')[0]?.connections.all === 0);
  other.send(frameTo(everybody, '5e:00:00:00:00:02', 'into the void'));
  at.clock.move(15_000);
  const again = at.client();
  assert.equal(error(await again.join(key(one.welcome))), 0);
  other.send(frameTo(everybody, '5e:00:00:00:00:02', 'welcome back'));
  await again.frame(says('welcome back'));
  assert.equal(at.gate.open().length, 2, 'no new admission was needed');
});

test('a session that nobody comes back to ends, and its key is 13', async t => {
  const at = await house(t);
  const one = await join(at);
  await one.close();
  await waitFor(() => at.vpn.sessions.list('lab')[0]?.connections.all === 0);
  at.clock.move(22_000);
  await waitFor(() => at.vpn.sessions.size === 0);
  assert.equal(at.gate.open().length, 0);
  assert.equal(at.gate.admissions[0]?.notes.get('cause'), 'timeout');
  assert.equal(error(await at.client().join(key(one.welcome))), 13);
});

test('keep-alives go out before anybody’s time-out, and a silent connection is ended properly', async t => {
  const at = await house(t);
  const one = await join(at, alice);
  for (let second = 0; second < 12; second++) at.clock.move(1000);
  await one.until(() => (one.keepAlives >= 2 ? true : undefined));
  for (let second = 0; second < 9; second++) at.clock.move(1000);
  await one.ended();
});

test('as many sessions as the policy allows; one that has lost its connections makes room', async t => {
  const at = await house(t, { policy: { multiLogins: 1 } });
  const one = await join(at);
  assert.equal(error(await at.client().login(alice)), 20);
  const both = await Promise.all([at.client().login(alice), at.client().login(alice)]);
  assert.deepEqual(both.map(error), [20, 20]);
  await one.close();
  await waitFor(() => at.vpn.sessions.list('lab')[0]?.connections.all === 0);
  const two = await Promise.all([at.client().login(alice), at.client().login(alice)]);
  assert.deepEqual(two.map(error).sort(), [0, 20], 'and never two of them');
});

test('the hub’s own limit is 16', async t => {
  const at = await house(t);
  await at.vpn.hubs.change('lab', { maxSessions: 7 });
  await join(at);
  assert.equal(at.gate.admissions[0]?.request.limits?.connections, 7);
});

test('a changed policy counts from the next frame on, and one without access ends the session', async t => {
  const at = await house(t);
  const [one, two] = [await join(at), await join(at)];
  await at.vpn.members.change('lab', 'alice', { policy: { filterNonIp: true } });
  one.send(frameTo(everybody, '5e:00:00:00:00:01', 'not IP'));
  await at.vpn.members.change('lab', 'alice', { policy: null });
  one.send(frameTo(everybody, '5e:00:00:00:00:01', 'allowed again'));
  await two.frame(says('allowed again'));
  assert.equal(two.frames.some(says('not IP')), false);
  await at.vpn.members.change('lab', 'alice', { policy: { access: false } });
  await Promise.all([one.ended(), two.ended()]);
  assert.equal(error(await at.client().login(alice)), 12);
});

test('a group’s policy stands for the hub’s, and a member’s own for both', async t => {
  const at = await house(t);
  await at.vpn.members.saveGroup({ hub: 'lab', name: 'staff', realname: '', note: '', policy: { timeOut: 40 } });
  await at.vpn.hubs.change('lab', { policy: { timeOut: 10 } });
  const timeout = async (): Promise<number> => packInt((await join(at)).welcome, 'timeout');
  assert.equal(await timeout(), 10_000);
  await at.vpn.members.change('lab', 'alice', { group: 'staff' });
  assert.equal(await timeout(), 40_000);
  await at.vpn.members.change('lab', 'alice', { policy: { timeOut: 50 } });
  assert.equal(await timeout(), 50_000);
});

const ends: Readonly<Record<string, { act: (at: VpnHouse) => unknown; again: number }>> = {
  'a cut session': { act: at => at.gate.open()[0]?.end('closed'), again: 0 },
  'a session that vpn session cut names': { act: at => at.vpn.disconnect('lab', 'sid-alice-1'), again: 0 },
  'a new password': {
    act: at => at.vpn.members.change('lab', 'alice', { proof: { kind: 'password', password: 'some other' } }),
    again: 9,
  },
  'a removed membership': { act: at => at.vpn.members.remove('lab', 'alice'), again: 9 },
  'an offline hub': { act: at => at.vpn.hubs.change('lab', { online: false }), again: 10 },
  'a deleted hub': { act: at => at.vpn.hubs.remove('lab'), again: 8 },
};
for (const [what, { act, again }] of Object.entries(ends)) {
  test(`${what} ends every connection properly, leaves the hub, and is ${again} at the next login`, async t => {
    const at = await house(t);
    const one = await join(at, { ...alice, more: { max_connection: 2 } });
    const second = at.client();
    await second.join(key(one.welcome));
    await act(at);
    await Promise.all([one.ended(), second.ended()]);
    await waitFor(() => at.gate.open().length === 0);
    assert.equal(error(await at.client().join(key(one.welcome))), 13);
    assert.equal(error(await at.client().login(alice)), again);
  });
}

test('a membership that ends takes its session with it', async t => {
  const at = await house(t, { expires: new Date('2026-11-22T00:01:00Z') });
  const one = await join(at);
  at.clock.move(60_000);
  await one.ended();
  assert.equal(error(await at.client().login(alice)), 12);
});

test('AutoDisconnect ends a session at its time', async t => {
  const at = await house(t, { policy: { autoDisconnect: 5 } });
  const one = await join(at);
  at.clock.move(5000);
  await one.ended();
  await waitFor(() => at.gate.admissions[0]?.notes.get('cause') === 'auto-disconnected');
});

test('compression is used both ways when the client asks for it', async t => {
  const at = await house(t);
  const { deflateSync, inflateSync } = await import('node:zlib');
  const packed = await join(at, { ...alice, more: { use_compress: 1 } });
  assert.equal(packInt(packed.welcome, 'use_compress'), 1);
  const plain = await join(at);
  packed.send(deflateSync(frameTo(everybody, '5e:00:00:00:00:01', 'small')));
  await plain.frame(says('small'));
  packed.send(Buffer.from('not zlib at all, and so dropped'), deflateSync(Buffer.alloc(100_000)));
  plain.send(frameTo(everybody, '5e:00:00:00:00:02', 'back'));
  const got = await packed.until(() => packed.frames[0]);
  assert.match(inflateSync(got).toString('latin1'), /back/);
});

test('who may not listen any more is put out', async t => {
  const at = await house(t, { policy: { monitorPort: true } });
  await join(at, { ...alice, more: { require_monitor_mode: 1 } });
  const other = await join(at);
  await at.vpn.members.change('lab', 'alice', { policy: { monitorPort: true, maxUpload: 1000 } });
  assert.equal(at.vpn.sessions.size, 2);
  await at.vpn.members.change('lab', 'alice', { policy: {} });
  await waitFor(() => at.vpn.sessions.size === 1);
  assert.equal(at.vpn.sessions.list('lab')[0]?.name, packText(other.welcome, 'session_name'));
});

test('who has frames unpacked by the thousand has his own dropped', async t => {
  const at = await house(t);
  const { deflateSync } = await import('node:zlib');
  const packed = await join(at, { ...alice, more: { use_compress: 1 } });
  const frame = deflateSync(frameTo(everybody, '5e:00:00:00:00:01', 'small'));
  packed.send(...Array.from({ length: 5000 }, () => frame));
  await waitFor(() => at.vpn.sessions.list('lab')[0]?.bytes.dropped === 1000);
});

test('a member has 256 sessions at most where no policy says how many', { timeout: 60_000 }, async t => {
  const at = await house(t);
  for (let count = 0; count < 256; count++) await join(at);
  assert.equal(error(await at.client().login(alice)), 20);
});

test('a member that reads nothing costs a bounded queue and nobody else', async t => {
  const at = await house(t, { policy: { noBroadcastLimiter: true } });
  const [deaf, one, two] = [await join(at), await join(at), await join(at)];
  deaf.stream.pause();
  const frame = frameTo(everybody, '5e:00:00:00:00:01', 'x'.repeat(1400));
  for (let round = 0; round < 40; round++) {
    one.send(...Array.from({ length: 100 }, () => frame));
    await two.until(() => (two.frames.length >= (round + 1) * 100 ? true : undefined));
  }
  const [session] = at.vpn.sessions.list('lab');
  assert.ok((session?.bytes.dropped ?? 0) > 0);
  assert.ok((session?.bytes.down ?? 0) < 3_000_000, `${session?.bytes.down} bytes were queued for who does not read`);
  assert.equal(two.frames.length, 4000);
});

test('an oversized frame ends that connection only', async t => {
  const at = await house(t);
  const one = await join(at, { ...alice, more: { max_connection: 2 } });
  const second = at.client();
  await second.join(key(one.welcome));
  second.stream.write(Buffer.from('0000000100ffffff', 'hex'));
  await second.ended();
  const other = await join(at);
  one.send(frameTo(everybody, '5e:00:00:00:00:01', 'still here'));
  await other.frame(says('still here'));
});

// --- Administration -------------------------------------------------------------------------------------------------

const secret = 'a long secret';

test('administration is off until it has a password, then from its addresses only', async t => {
  const at = await house(t);
  assert.equal(error(await at.client('127.0.0.1').admin(secret)), 12);
  await at.vpn.administration.setPassword(secret);
  assert.equal(error(await at.client('203.0.113.9').admin(secret)), 12);
  assert.equal(error(await at.client('127.0.0.1').admin('wrong')), 12);
  assert.equal(at.gate.refusals.length, 3, 'each is in the audit');
  assert.equal(error(await at.client('127.0.0.1').admin(secret)), 0);
});

test('what an administrator changes is admitted and written down, what they read is not', async t => {
  const at = await house(t);
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  await admin.call('EnumHub');
  assert.equal(error(await admin.call('CreateHub', { HubName: 'new', Online: 1 })), 0);
  assert.equal(error(await admin.call('CreateHub', { HubName: 'NEW', Online: 1 })), 57);
  assert.equal(error(await admin.call('NoSuchFunction')), 33);
  assert.equal(error(await admin.call('EnumUser', { HubName: 'nowhere' })), 8);
  assert.deepEqual(
    at.gate.admissions.map(({ request }) => `${request.action} ${request.resource}`),
    ['vpn.administer vpn/*', 'vpn.hub-create hub/new', 'vpn.hub-create hub/NEW'],
  );
});

test('a password that vpncmd sets lets the member in; the forms of passwords are never given out', async t => {
  const at = await house(t);
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  const { hashPassword } = await import('./softether/sha0.ts');
  const name = { HubName: 'lab', Name: 'carol' };
  const hashed = { AuthType: 1, HashedKey: hashPassword('carol', 'a new one') };
  assert.equal(error(await admin.call('CreateUser', { ...name, ...hashed })), 0);
  assert.equal(error(await admin.call('CreateUser', { ...name, ...hashed })), 66);
  assert.ok(at.users.has('carol'), 'a user of the gate as well');
  await join(at, { hub: 'lab', user: 'carol', password: 'a new one' });
  const got = await admin.call('GetUser', name);
  const shown = packData(got, 'HashedKey') ?? Buffer.alloc(0);
  assert.notDeepEqual(shown, hashed.HashedKey);
  // Read, change, write back, as vpncmd does: the password stays, the session lives, the policy counts.
  const back = { ...name, AuthType: 1, HashedKey: shown, UsePolicy: 1, 'policy:Access': 1, 'policy:MultiLogins': 1 };
  assert.equal(error(await admin.call('SetUser', back)), 0);
  assert.equal(at.vpn.sessions.size, 1);
  assert.equal(error(await at.client().login({ hub: 'lab', user: 'carol', password: 'a new one' })), 20);
  assert.equal(error(await admin.call('DeleteUser', name)), 0);
  await waitFor(() => at.vpn.sessions.size === 0);
  assert.ok(at.users.has('carol'), 'the user of the gate stays');
});

test('a new password of administrators puts those out who are in', async t => {
  const at = await house(t);
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  await admin.call('EnumHub');
  await at.vpn.administration.setPassword('another long secret');
  await admin.ended();
});

test('SecureNAT, its DHCP and pushed routes are set and read in SoftEther’s terms', async t => {
  const at = await house(t);
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  assert.equal(error(await admin.call('GetSecureNATStatus', { HubName: 'lab' })), 80);
  const { ipFields } = await import('../../wire/softether-pack.ts');
  const option = {
    ...{ RpcHubName: 'lab', MacAddress: Buffer.from('5e0000000001', 'hex'), UseNat: 1, Mtu: 1500 },
    ...{ NatTcpTimeout: 1800, NatUdpTimeout: 60, UseDhcp: 1, DhcpExpireTimeSpan: 7200, DhcpDomainName: '' },
    ...ipFields('Ip', '10.9.0.1'),
    ...ipFields('Mask', '255.255.0.0'),
    ...ipFields('DhcpLeaseIPStart', '10.9.1.1'),
    ...ipFields('DhcpLeaseIPEnd', '10.9.1.200'),
    ...ipFields('DhcpSubnetMask', '255.255.0.0'),
    DhcpPushRoutes: '10.0.1.0/255.255.255.0/10.9.0.1',
  };
  assert.equal(error(await admin.call('SetSecureNATOption', option)), 0);
  assert.deepEqual(at.vpn.hubs.get('lab').settings.secureNat.options.dhcp?.routes, [{ network: '10.0.1.0/24' }]);
  const got = await admin.call('GetSecureNATOption', { RpcHubName: 'lab' });
  assert.equal(packText(got, 'DhcpPushRoutes'), option.DhcpPushRoutes);
  assert.equal(error(await admin.call('SetSecureNATOption', { ...option, Mtu: 20_000 })), 38);
  const holes = { ...option, ...ipFields('Mask', '255.0.255.0') };
  assert.equal(error(await admin.call('SetSecureNATOption', holes)), 38);
  assert.equal(error(await admin.call('EnableSecureNAT', { HubName: 'lab' })), 0);
  const sessions = await admin.call('EnumSession', { HubName: 'lab' });
  assert.match(packText(sessions, 'Name'), /^SID-SECURENAT-/);
  assert.equal(error(await admin.call('DeleteSession', { HubName: 'lab', Name: packText(sessions, 'Name') })), 78);
  assert.equal(packInt(await admin.call('EnumDHCP', { HubName: 'lab' }), 'NumItem'), 0);
});

test('sessions are listed with when they began, and cut by name', async t => {
  const at = await house(t);
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  const member = await join(at);
  const list = await admin.call('EnumSession', { HubName: 'lab' });
  assert.equal(packText(list, 'Name'), 'SID-ALICE-1');
  assert.deepEqual(packTime(list, 'CreatedTime'), at.clock.now());
  const status = await admin.call('GetSessionStatus', { HubName: 'lab', Name: 'SID-ALICE-1' });
  assert.deepEqual(packData(status, 'SessionKey'), Buffer.alloc(20), 'the key is not told');
  assert.equal(error(await admin.call('DeleteSession', { HubName: 'lab', Name: 'SID-ALICE-1' })), 0);
  await member.ended();
  assert.equal(error(await admin.call('DeleteSession', { HubName: 'lab', Name: 'SID-ALICE-1' })), 29);
});

test('a hub of the file is not changed from here', async t => {
  const { planVpn } = await import('./index.ts');
  const { vpnConfig } = await import('./config.ts');
  const at = await openVpnHouse(t, planVpn(vpnConfig.parse({ hubs: { lab: {} } })));
  await at.vpn.administration.setPassword(secret);
  const admin = at.client('127.0.0.1');
  await admin.admin(secret);
  assert.equal(error(await admin.call('SetHubOnline', { HubName: 'lab', Online: 0 })), 52);
  assert.equal(error(await admin.call('DeleteHub', { HubName: 'lab' })), 52);
  const carol = { HubName: 'lab', Name: 'carol', AuthType: 1, Auth_Password: 'some password' };
  assert.equal(error(await admin.call('CreateUser', carol)), 0, 'its members are');
});

/** Until it is so, turn by turn of the event loop. */
async function waitFor(isSo: () => boolean): Promise<void> {
  for (let turn = 0; !isSo(); turn++) {
    assert.ok(turn < 20_000, 'it never was so');
    await new Promise(resolve => setImmediate(resolve));
  }
}
