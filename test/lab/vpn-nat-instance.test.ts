// Article 003's NAT instance as the guide builds it: a TAP device on the hub, and the guide's own lines of nftables, run as
// they stand there. SoftEther's client and ours join from machines of their own: addresses and the route by DHCP, the
// private web server by both ways, each other at layer 2. Needs root, nftables, softether-vpnclient and dhclient.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { whyNoHubLab } from '../fixtures/hub-lab.ts';
import { run, serving } from '../fixtures/programs.ts';
import { startVpnClient } from '../fixtures/softether-programs.ts';
import { inside, layLine } from './namespaces.ts';

const password = 'correct horse';
const main = join(import.meta.dirname, '../../src/main.ts');
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const skip = whyNoHubLab() ?? (spawnSync('nft', ['-v']).status === 0 ? false : 'nftables is not installed');

/** What the guide says for the hub, and for the machine beside it. */
function guide(): { readonly config: string; readonly commands: string } {
  const text = readFileSync(join(import.meta.dirname, '../../docs/vpn.md'), 'utf8');
  const [, section = ''] = /## A TAP device([\s\S]*?)\n## /.exec(text) ?? [];
  const [, config = '', commands = ''] = /```yaml\n([\s\S]*?)```[\s\S]*?```\n([\s\S]*?)```/.exec(section) ?? [];
  return { config, commands };
}

test('through TAP and nftables: both clients lease, get the route, reach the web server, and see each other', {
  skip,
  timeout: 300_000,
}, async t => {
  const line = await layLine(t);
  const at = async (namespace: string, ...words: string[]) => run('ip', [...inside(namespace).slice(1), ...words]);
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-natinstance-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));

  // The private net, which knows nothing of the hub: without masquerade no answer would find back.
  const [far, other] = [`sekisho-far-${process.pid}`, `sekisho-other-${process.pid}`];
  for (const name of [far, other]) {
    ip('netns', 'add', name);
    t.after(() => ip('netns', 'del', name));
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }
  ip('link', 'add', 'eth0', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'priv0', 'netns', far);
  ip('link', 'add', 'lab1', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'lab1', 'netns', other);
  for (const [name, device, address] of [
    [line.right, 'eth0', '10.0.1.1/24'],
    [far, 'priv0', '10.0.1.26/24'],
    [line.right, 'lab1', '10.78.0.2/24'],
    [other, 'lab1', '10.78.0.1/24'],
  ] as const) {
    ip('-n', name, 'addr', 'add', address, 'dev', device);
    ip('-n', name, 'link', 'set', device, 'up');
  }
  writeFileSync(join(dir, 'index.html'), 'the old groupware');
  const web = ['python3', '-u', '-m', 'http.server', '-d', dir, '80'];
  await using server = await serving('ip', [...inside(far).slice(1), ...web], /Serving HTTP/);

  const { config, commands } = guide();
  const gate = await startGate(t, {
    config: config.replace(
      /gate: .*/,
      'gate: { name: gate.test, addresses: [ 10.77.0.2, 10.78.0.2 ], listen: "tls://0.0.0.0:443", workers: 0 }',
    ),
    under: inside(line.right),
  });
  const laid = await at(line.right, 'bash', '-exc', commands);
  assert.equal(laid.code, 0, laid.stderr);
  const must = async (input: string, ...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  for (const name of ['tsumura', 'staff01']) await must(`${password}\n`, 'vpn', 'user', 'add', `mikalab/${name}`);
  writeFileSync(join(dir, 'ca.pem'), await must('', 'cert', 'ca'));
  writeFileSync(join(dir, 'p'), `${password}\n`);

  // SoftEther's client, with Debian's DHCP client behind it.
  const client = await startVpnClient(t, line.left);
  await client.connect('nat', { server: `${line.rightHost}:443`, hub: 'mikalab', user: 'tsumura', password });
  await until('the session stands', async () => /Session Established/.test(await client.status('nat')));
  const conf = join(dir, 'dhclient.conf');
  writeFileSync(
    conf,
    `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, rfc3442-classless-static-routes;
`,
  );
  const files = ['-pf', join(dir, 'pid'), '-lf', join(dir, 'leases'), '-cf', conf];
  const leased = await at(line.left, 'dhclient', '-4', '-1', '-v', ...files, client.device);
  assert.equal(leased.code, 0, leased.stderr);
  t.after(() => spawnSync('pkill', ['-F', join(dir, 'pid')]));
  assert.match(readFileSync(join(dir, 'leases'), 'latin1'), /rfc3442-classless-static-routes 24,10,0,1,192,168,30,1;/);

  // Ours, on another machine.
  const before = (await at(other, 'ip', '-4', 'route')).stdout;
  const ours = spawn(
    'ip',
    [
      ...inside(other).slice(1),
      ...[process.execPath, main, 'vpn', 'join', '--json', '--password-file', join(dir, 'p')],
      ...['--gate', 'https://10.78.0.2', '--ca', join(dir, 'ca.pem'), '--hub', 'mikalab', '--user', 'staff01'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(() => ours.kill('SIGKILL'));
  for await (const said of createInterface({ input: ours.stdout })) if (said.includes('"ready":true')) break;

  const machines = [
    { namespace: line.left, device: client.device },
    { namespace: other, device: 'vpn0' },
  ] as const;
  for (const { namespace, device } of machines) {
    const routes = (await at(namespace, 'ip', '-4', 'route')).stdout;
    assert.match(routes, new RegExp(`10\\.0\\.1\\.0/24 via 192\\.168\\.30\\.1 dev ${device}`));
    assert.doesNotMatch(routes, /default/);
    // By the pushed route, and by the port that nftables leads on.
    for (const url of ['http://10.0.1.26/', 'http://192.168.30.1/']) {
      const page = await at(namespace, 'curl', '-sS', '--max-time', '10', url);
      assert.equal(page.stdout, 'the old groupware', `${device}: ${page.stderr}`);
    }
  }
  const callers = new Set([...server.output().matchAll(/^(\S+) - - \[/gm)].map(([, host]) => host));
  assert.deepEqual([...callers], ['10.0.1.1'], 'the private net sees nobody but the gate');

  // Layer 2 between the two: ARP, broadcast, IPv6 link-local, each way.
  for (const [near, there] of [machines, machines.toReversed()] as (typeof machines)[]) {
    const [, address = ''] =
      /inet (192\.168\.30\.\d+)\//.exec((await at(there.namespace, 'ip', 'addr', 'show', there.device)).stdout) ?? [];
    const facts = (await at(there.namespace, 'ip', 'addr', 'show', 'dev', there.device)).stdout;
    const [, mac = ''] = /link\/ether (\S+)/.exec(facts) ?? [];
    const [, six = ''] = /inet6 (fe80::\S+)\//.exec(facts) ?? [];
    await at(there.namespace, 'sysctl', '-w', 'net.ipv4.icmp_echo_ignore_broadcasts=0');
    for (const host of [
      ['-4', address],
      ['-b', '192.168.30.255'],
      ['-6', `${six}%${near.device}`],
    ]) {
      const ping = await at(near.namespace, 'ping', '-c', '3', '-i', '0.2', '-W', '3', ...host);
      assert.equal(ping.code, 0, `${near.device}, ${host}: ${ping.stdout}${ping.stderr}`);
      if (host[0] === '-b') assert.match(ping.stdout, new RegExp(`from ${address.replaceAll('.', '\\.')}`));
    }
    assert.match((await at(near.namespace, 'ip', 'neigh', 'show', address)).stdout, new RegExp(`lladdr ${mac}`));
  }

  const gone = once(ours, 'exit');
  ours.kill('SIGKILL');
  await gone;
  await until('everything is as before', async () => (await at(other, 'ip', '-4', 'route')).stdout === before);
  await until('the device is gone', async () => !(await at(other, 'ip', '-br', 'link')).stdout.includes('vpn0'));
});
