// A whole gate with hubs: made on the command line or in the file, joined over the gate's own TLS, ended by what should end them.
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { packInt, packText } from '../../src/wire/softether-pack.ts';
import { freePorts, type GateProcess, newFolder, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { everybody, frameTo, SoftEtherClient } from '../fixtures/softether-client.ts';

async function dial(t: TestContext, port: number): Promise<SoftEtherClient & { readonly tls: TLSSocket }> {
  const tls = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  t.after(() => tls.destroy());
  await once(tls, 'secureConnect');
  return Object.assign(new SoftEtherClient(tls), { tls });
}
/** One command that must succeed. */
async function must(gate: GateProcess, input: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}
const password = 'correct horse';

test('hubs and members are made on the command line, joined, seen, cut and written down', async t => {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\n` });
  const early = await (await dial(t, port)).probe();
  assert.doesNotMatch(early.body.toString(), /9C37197CA7C2428388C2E6E59B829B30/, 'no hub: the gate’s own page');

  await must(gate, '', 'vpn', 'hub', 'create', 'mikalab');
  await must(gate, `${password}\n`, 'vpn', 'user', 'add', 'mikalab/staff01', '--password-stdin');
  const member = await dial(t, port);
  const shown = member.tls.getPeerX509Certificate();
  assert.equal(shown?.publicKey.asymmetricKeyType, 'rsa', 'RSA for clients without ALPN');
  const welcome = await member.login({ hub: 'mikalab', user: 'staff01', password });
  assert.equal(packText(welcome, 'session_name'), 'SID-STAFF01-1');
  const other = await dial(t, port);
  await other.login({ hub: 'mikalab', user: 'staff01', password });
  member.send(frameTo(everybody, '5e:00:00:00:00:01', 'across the gate'));
  await other.frame(frame => frame.includes('across the gate'));

  const { sessions } = JSON.parse(await must(gate, '', 'vpn', 'session', 'list', '--json'));
  assert.deepEqual(
    sessions.map(({ name, user }: { name: string; user: string }) => [name, user]),
    [
      ['SID-STAFF01-1', 'staff01'],
      ['SID-STAFF01-2', 'staff01'],
    ],
  );
  const { macs } = JSON.parse(await must(gate, '', 'vpn', 'table', 'mikalab', 'macs', '--json'));
  assert.deepEqual(
    macs.map(({ mac }: { mac: string }) => mac),
    ['5e:00:00:00:00:01'],
  );
  assert.match(await must(gate, '', 'status', '--json'), /1 member has the password form/);

  await must(
    gate,
    '',
    'vpn',
    'group',
    'set',
    'mikalab/guests',
    '--policy',
    'filterIpv4=true',
    '--note',
    'short of time',
  );
  await must(gate, '', 'vpn', 'group', 'set', 'mikalab/guests', '--realname', 'Guests');
  await must(gate, '', 'vpn', 'user', 'set', 'mikalab/staff01', '--group', 'guests');
  const { groups } = JSON.parse(await must(gate, '', 'vpn', 'group', 'list', 'mikalab', '--json'));
  assert.deepEqual(groups, [
    {
      hub: 'mikalab',
      name: 'guests',
      realname: 'Guests',
      note: 'short of time',
      members: 1,
      policy: { filterIpv4: true },
    },
  ]);
  await must(gate, '', 'vpn', 'group', 'remove', 'mikalab/guests');
  assert.match(await must(gate, '', 'vpn', 'user', 'list', 'mikalab', '--json'), /"group": ""/);

  await must(gate, '', 'vpn', 'session', 'cut', 'mikalab/SID-STAFF01-1');
  await member.ended();
  await must(gate, '', 'user', 'remove', 'staff01', '--yes');
  await other.ended();
  const late = await dial(t, port);
  assert.equal(packInt(await late.login({ hub: 'mikalab', user: 'staff01', password }), 'error'), 9);
  assert.match(await must(gate, '', 'vpn', 'user', 'list', 'mikalab', '--json'), /"users": \[\]/);

  const rows = JSON.parse(await must(gate, '', 'audit', 'search', '--event', 'vpn.*', '--json'));
  const events = JSON.stringify(rows);
  for (const event of ['vpn.hub-created', 'vpn.user-added', 'vpn.joined', 'vpn.left', 'vpn.denied'])
    assert.ok(events.includes(event), event);
  assert.ok(!events.includes(password));
  assert.ok(!gate.log.join('\n').includes(password));
});

test('hubs of the file, a further port, a reload, and the way out', async t => {
  const [port = 0, extra = 0] = await freePorts(2);
  const config = (hub: string): string =>
    `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\nvpn:\n  listen: "tls://127.0.0.1:${extra}"\n  hubs:\n${hub}`;
  const gate = await startGate(t, { config: config('    lab: { policy: { time-out: 15 } }\n    old: {}\n') });
  for (const hub of ['lab', 'old'])
    await must(gate, `${password}\n`, 'vpn', 'user', 'add', `${hub}/alice`, '--password-stdin');
  const lab = await dial(t, extra);
  assert.equal(packInt(await lab.login({ hub: 'lab', user: 'alice', password }), 'timeout'), 15_000);
  const old = await dial(t, port);
  await old.login({ hub: 'old', user: 'alice', password });
  const refused = await runSekisho(['vpn', 'hub', 'set', 'lab', '--anonymous', '--data', gate.data]);
  assert.match(refused.stderr, /stands in the configuration file/);

  gate.write(config('    lab: { policy: { time-out: 15, filter-non-ip: true } }\n'));
  await must(gate, '', 'reload');
  await old.ended();
  const { sessions } = JSON.parse(await must(gate, '', 'vpn', 'session', 'list', '--json'));
  assert.equal(sessions.length, 1, 'the member of the hub that stayed stays');

  gate.write(config('    lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 10.0.0.1-10.0.0.9 } } }\n'));
  const bad = await runSekisho(['reload', '--data', gate.data]);
  assert.match(bad.stderr, /sekisho\.yaml:5:\d+ vpn\.hubs\.lab\.nat\.dhcp\.range: 10\.0\.0\.1 does not lie within/);

  gate.signal('SIGTERM');
  await lab.ended();
  assert.equal(await gate.ended, 0);
});

test('a certificate of the gate lets its user in until it is revoked, whatever the address it was asked at', async t => {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\n` });
  const folder = newFolder();
  await must(gate, '', 'vpn', 'hub', 'create', 'lab');
  await must(gate, '', 'vpn', 'user', 'add', 'lab/alice', '--certificate', 'gate');
  await must(gate, '', 'cert', 'issue', 'alice', '--pem', folder);
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const certificate = { der: new X509Certificate(read('alice.crt')).raw, key: createPrivateKey(read('alice.key')) };
  const member = await dial(t, port);
  assert.equal(packInt(await member.login({ hub: 'lab', user: 'alice', certificate }), 'error'), 0);
  const { serialNumber } = new X509Certificate(read('alice.crt'));
  await must(gate, '', 'cert', 'revoke', serialNumber.toLowerCase());
  await member.ended();
  const again = await dial(t, port);
  assert.equal(packInt(await again.login({ hub: 'lab', user: 'alice', certificate }), 'error'), 9);
  await until('the audit has both', async () =>
    /vpn\.left/.test(await must(gate, '', 'audit', 'search', '--event', 'vpn.*', '--json')),
  );
});
