// Article 003 with the real SoftEther client: over 443 into the hub, an address and a route by DHCP, no default gateway, a
// private web server behind the gate, and how fast it goes. Needs root and softether-vpnclient.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { whyNoHubLab } from '../fixtures/hub-lab.ts';
import { run, serving } from '../fixtures/programs.ts';
import { startVpnClient } from '../fixtures/softether-programs.ts';
import { inside, layLine } from './namespaces.ts';

const seconds = process.env['LAB_SECONDS'] ?? '10';
/** User and system time of a process so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

test('a colleague reaches the private web server by SecureNAT, keeps his own default route, and is quick', {
  skip: whyNoHubLab() ?? false,
  timeout: 300_000,
}, async t => {
  const line = await layLine(t);
  const far = `sekisho-far-${process.pid}`;
  ip('netns', 'add', far);
  t.after(() => ip('netns', 'del', far));
  ip('link', 'add', 'priv0', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'priv0', 'netns', far);
  ip('-n', line.right, 'addr', 'add', '10.0.1.1/24', 'dev', 'priv0');
  ip('-n', line.right, 'link', 'set', 'priv0', 'up');
  ip('-n', far, 'addr', 'add', '10.0.1.26/24', 'dev', 'priv0');
  for (const device of ['lo', 'priv0']) ip('-n', far, 'link', 'set', device, 'up');
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-article-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'index.html'), 'the old groupware');
  const [ipProgram = '', ...there] = inside(far);
  await using _web = await serving(
    ipProgram,
    [...there, 'python3', '-u', '-m', 'http.server', '-d', dir, '80'],
    /Serving HTTP/,
  );
  await using _iperf = await serving(ipProgram, [...there, 'iperf3', '-s', '--forceflush'], /listening/);
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  hubs:
    mikalab:
      anonymous-listing: false
      nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.200, routes: [ 10.0.1.0/24 ], default-gateway: false } }
      forward: [ { listen: "192.168.30.1:80", to: "tcp://10.0.1.26:80" } ]
`,
    under: inside(line.right),
  });
  const added = await runSekisho(['vpn', 'user', 'add', 'mikalab/tsumura', '--password-stdin', '--data', gate.data], {
    input: 'correct horse\n',
  });
  assert.equal(added.status, 0, added.stderr);
  const client = await startVpnClient(t, line.left);
  const account = { server: `${line.rightHost}:443`, hub: 'mikalab', user: 'tsumura', password: 'correct horse' };
  await client.connect('article', account);
  await until('the session stands', async () => /Session Established/.test(await client.status('article')));

  const conf = join(dir, 'dhclient.conf');
  writeFileSync(
    conf,
    `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, rfc3442-classless-static-routes;
`,
  );
  const [, ...here] = inside(line.left);
  const at = (program: string, ...args: string[]) => run(ipProgram, [...here, program, ...args]);
  const files = ['-pf', join(dir, 'pid'), '-lf', join(dir, 'leases'), '-cf', conf];
  const leased = await at('dhclient', '-4', '-1', '-v', ...files, client.device);
  assert.equal(leased.code, 0, leased.stderr);
  const routes = (await at('ip', '-4', 'route')).stdout;
  assert.match(routes, /10\.0\.1\.0\/24 via 192\.168\.30\.1/);
  assert.doesNotMatch(routes, /default/);
  for (const url of ['http://10.0.1.26/', 'http://192.168.30.1/']) {
    const page = await at('curl', '-sS', '--max-time', '10', url);
    assert.equal(page.stdout, 'the old groupware', page.stderr);
  }
  for (const [name, args] of [
    ['1 stream up', []],
    ['1 stream down', ['-R']],
    ['4 streams up', ['-P', '4']],
    ['4 streams down', ['-P', '4', '-R']],
  ] as const) {
    const before = cpuSeconds(gate.child.pid ?? 0);
    const { stdout } = await at('iperf3', '-J', '-c', '10.0.1.26', '-t', seconds, ...args);
    const cpu = cpuSeconds(gate.child.pid ?? 0) - before;
    const { sum_received: sum } = (
      JSON.parse(stdout) as { end: { sum_received: { bytes: number; bits_per_second: number } } }
    ).end;
    const cost = (cpu / (sum.bytes / 1e9)).toFixed(1);
    t.diagnostic(
      `SecureNAT with the real client, ${name}: ${(sum.bits_per_second / 1e6).toFixed(0)} Mbit/s, ${cost} CPU s/GB`,
    );
    assert.ok(sum.bits_per_second > 10e6, stdout);
  }
  await at('dhclient', '-4', '-r', ...files, client.device);
});
