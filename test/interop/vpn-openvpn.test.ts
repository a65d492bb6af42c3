// The real openvpn joins a hub of the gate: on the gate's one port and by datagrams, with a password and with a
// certificate, as a computer with IP and with Ethernet. Needs root and /dev/net/tun.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type GateProcess, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { isUp, startOpenVpn, whyNoOpenVpn } from '../fixtures/openvpn-client.ts';
import { run, serving } from '../fixtures/programs.ts';
import { inside, layLine } from '../lab/namespaces.ts';

interface Shown {
  readonly name: string;
  readonly protocol: string;
  readonly ips: readonly string[];
}
const say = async (gate: GateProcess, input: string, ...args: string[]): Promise<string> => {
  const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
  assert.equal(status, 0, stderr);
  return stdout;
};
const sessionsOf = async (gate: GateProcess): Promise<Shown[]> =>
  (JSON.parse(await say(gate, '', 'vpn', 'session', 'list', '--json')) as { sessions: Shown[] }).sessions;
const isEmpty = async (gate: GateProcess): Promise<boolean> => (await sessionsOf(gate)).length === 0;

const web = '10.0.1.26';
const server = `require('node:http').createServer((_, answer) => answer.end('private')).listen(80, '${web}', () => console.log('ready'))`;

test('openvpn joins by TCP on the gate’s port and by UDP, is told why not, and is cut', {
  skip: whyNoOpenVpn() ?? false,
}, async t => {
  const line = await layLine(t);
  const { left: namespace, right, rightHost: host } = line;
  const gate = await startGate(t, {
    config: `
gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  openvpn: { listen: "udp://0.0.0.0:1194" }
  hubs:
    lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.99, routes: [ 10.0.1.0/24 ] } } }
`,
    under: inside(right),
  });
  execFileSync('ip', ['-n', right, 'addr', 'add', `${web}/32`, 'dev', 'lo']);
  await using _web = await serving('ip', ['netns', 'exec', right, process.execPath, '-e', server], /ready/);
  await say(gate, 'correct horse\n', 'vpn', 'user', 'add', 'lab/alice', '--plain-only');
  const profile = await say(gate, '', 'vpn', 'openvpn', 'lab');
  assert.match(profile, /^remote gate\.test 1194 udp\nremote gate\.test 443 tcp$/m);
  const login = { user: 'alice', password: 'correct horse' };
  const common = { namespace, profile, device: 'tun0' };
  const tcp = { host, port: 443, proto: 'tcp' } as const;
  const udp = { host, port: 1194, proto: 'udp' } as const;
  const fetchPrivate = async (): Promise<void> => {
    const { stdout } = await run('ip', ['netns', 'exec', namespace, 'curl', '-sS', '-m', '20', `http://${web}/`]);
    assert.equal(stdout, 'private');
  };

  await t.test('a wrong password is said so', async t => {
    const wrong = { ...login, password: 'incorrect horse' };
    const client = startOpenVpn(t, { ...common, remote: tcp, login: wrong });
    assert.match(await client.said(/AUTH_FAILED/), /the user name; password or certificate is wrong/);
  });

  await t.test(
    'by TCP: an address and the pushed route without a default one, the private page, cut at once',
    async t => {
      const client = startOpenVpn(t, { ...common, remote: tcp, login });
      await client.said(isUp);
      const routes = execFileSync('ip', ['-n', namespace, 'route'], { encoding: 'utf8' });
      assert.match(routes, /10\.0\.1\.0\/24 via 192\.168\.30\.1 dev tun0/);
      assert.doesNotMatch(routes, /^default/m);
      await fetchPrivate();
      const [session] = await sessionsOf(gate);
      assert.equal(session?.protocol, 'openvpn');
      assert.deepEqual(session?.ips, ['192.168.30.10']);
      const { stdout: leases } = await gate.run('vpn', 'table', 'lab', 'leases', '--json');
      assert.match(leases, /"hostname":\s*"alice"/);
      await say(gate, '', 'vpn', 'session', 'cut', `lab/${session?.name}`);
      await client.said(/SIGUSR1\[soft,server-pushed-connection-reset\]|server_pushed/i);
      await client.stop();
      await until('nobody is on the hub', () => isEmpty(gate));
    },
  );

  await t.test('by UDP with a certificate, whose end is the end of the session; leaving is noticed', async t => {
    const file = join(gate.folder, 'alice.ovpn');
    await say(gate, '', 'vpn', 'openvpn', 'lab', '--user', 'alice', '--issue', '--out', file);
    const certified = readFileSync(file, 'utf8');
    assert.doesNotMatch(certified, /auth-user-pass/);
    const first = startOpenVpn(t, { ...common, profile: certified, remote: udp });
    await first.said(isUp);
    await fetchPrivate();
    await first.stop();
    await until('it has left', () => isEmpty(gate));
    const client = startOpenVpn(t, { ...common, profile: certified, remote: udp });
    await client.said(isUp);
    const { stdout } = await gate.run('cert', 'list', '--user', 'alice', '--json');
    const { certs } = JSON.parse(stdout) as { certs: { serial: string }[] };
    await say(gate, '', 'cert', 'revoke', certs[0]?.serial ?? '');
    assert.match(await client.said(/AUTH_FAILED/), /may not be on the hub any more/);
    await until('nobody is on the hub', () => isEmpty(gate));
  });

  await t.test('tap: Ethernet, with ARP by the client’s kernel', async t => {
    const client = startOpenVpn(t, { ...common, device: 'tap0', remote: udp, login: { ...login, user: 'alice@lab' } });
    await client.said(isUp);
    execFileSync('ip', ['-n', namespace, 'addr', 'add', '192.168.30.150/24', 'dev', 'tap0']);
    execFileSync('ip', ['-n', namespace, 'link', 'set', 'tap0', 'up']);
    execFileSync('bash', ['-c', `ip netns exec ${namespace} bash -c 'echo > /dev/udp/192.168.30.1/9'`]);
    await until('the router answered ARP', () =>
      /192\.168\.30\.1 .*lladdr/.test(execFileSync('ip', ['-n', namespace, 'neigh'], { encoding: 'utf8' })),
    );
    await client.stop();
  });

  await t.test('what is not spoken here is said so', async t => {
    const client = startOpenVpn(t, { ...common, remote: tcp, login, args: ['--comp-lzo', 'no'] });
    assert.match(await client.said(/AUTH_FAILED/), /take comp-lzo and compress out of the profile/);
  });
});
