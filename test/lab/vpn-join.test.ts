// Our own client with a network device: the address, the pushed routes, the way around them to the gate, and nothing left
// behind, however it ends. Also against SoftEther's own server. Needs root and /dev/net/tun.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { whyNoHubLab } from '../fixtures/hub-lab.ts';
import { run, serving } from '../fixtures/programs.ts';
import { administer, startVpnServer } from '../fixtures/softether-programs.ts';
import { inside, layLine } from './namespaces.ts';

const password = 'correct horse';
const main = join(import.meta.dirname, '../../src/main.ts');
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

/** The client inside a namespace; resolves when it has said that it is ready. */
async function joined(t: TestContext, namespace: string, ...args: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'sekisho-join-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'p'), `${password}\n`);
  const [program = '', ...there] = inside(namespace);
  const child = spawn(
    program,
    [...there, process.execPath, main, 'vpn', 'join', '--json', '--password-file', join(folder, 'p'), ...args],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(() => child.kill('SIGKILL'));
  for await (const line of createInterface({ input: child.stdout })) if (line.includes('"ready":true')) return child;
  throw new Error('the client ended before it was ready');
}

test('the device has the leased address and the pushed routes, the gate stays reachable, and all is as before at the end', {
  skip: whyNoHubLab() ?? false,
  timeout: 120_000,
}, async t => {
  const line = await layLine(t);
  const far = `sekisho-joinfar-${process.pid}`;
  ip('netns', 'add', far);
  t.after(() => ip('netns', 'del', far));
  ip('link', 'add', 'priv0', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'priv0', 'netns', far);
  ip('-n', line.right, 'addr', 'add', '10.0.1.1/24', 'dev', 'priv0');
  ip('-n', line.right, 'link', 'set', 'priv0', 'up');
  ip('-n', far, 'addr', 'add', '10.0.1.26/24', 'dev', 'priv0');
  for (const device of ['lo', 'priv0']) ip('-n', far, 'link', 'set', device, 'up');
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-join-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'index.html'), 'the old groupware');
  const [program = '', ...there] = inside(far);
  const web = ['python3', '-u', '-m', 'http.server', '-d', dir];
  await using _web = await serving(program, [...there, ...web, '80'], /Serving HTTP/);
  // The gate is on port 443 of every address of its own machine, and this is another.
  await using _other = await serving(program, [...there, ...web, '443'], /Serving HTTP/);
  // One pushed route covers the gate's own address.
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, addresses: [ ${line.rightHost} ], listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  hubs:
    mikalab:
      nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.200, routes: [ 10.0.1.0/24, 10.0.0.0/8 ] } }
`,
    under: inside(line.right),
  });
  const must = async (input: string, ...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  await must(`${password}\n`, 'vpn', 'user', 'add', 'mikalab/staff01', '--password-stdin');
  writeFileSync(join(dir, 'ca.pem'), await must('', 'cert', 'ca'));

  const [, ...here] = inside(line.left);
  const at = async (...words: string[]): Promise<string> => (await run(program, [...here, ...words])).stdout;
  const before = await at('ip', '-4', 'route');
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const gateAt = ['--gate', `https://${line.rightHost}`, '--ca', join(dir, 'ca.pem')];
    const more = signal === 'SIGKILL' ? ['--no-default-route'] : [];
    const child = await joined(t, line.left, ...gateAt, '--hub', 'mikalab', '--user', 'staff01', ...more);
    const takesRouters = await at('cat', '/proc/sys/net/ipv6/conf/vpn0/accept_ra_defrtr');
    assert.equal(takesRouters.trim(), more.length > 0 ? '0' : '1');
    const routes = await at('ip', '-4', 'route');
    assert.match(routes, /10\.0\.1\.0\/24 via 192\.168\.30\.1 dev vpn0/);
    assert.match(routes, /10\.77\.0\.2 dev lab0/);
    assert.doesNotMatch(routes, /default/);
    for (const port of [80, 443])
      assert.equal(await at('curl', '-sS', '--max-time', '10', `http://10.0.1.26:${port}/`), 'the old groupware');
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
    await until(`everything is as before ${signal}`, async () => (await at('ip', '-4', 'route')) === before);
    await until('the device is gone', async () => !(await at('ip', '-br', 'link')).includes('vpn0'));
  }
});

test('SoftEther’s own server is joined without a device: an address of its SecureNAT, and a page through it', {
  skip: whyNoHubLab() ?? false,
  timeout: 120_000,
}, async t => {
  const line = await layLine(t);
  await startVpnServer(t, line.right);
  const under = inside(line.right);
  const vpncmd = (...lines: string[]) => administer('localhost:5555', '', lines, { under, patience: 20 });
  const { codes, text } = await vpncmd(
    ...['HubCreate lab /PASSWORD:none', 'Hub lab', 'SecureNatEnable'],
    ...['UserCreate staff01 /GROUP:none /REALNAME:none /NOTE:none', `UserPasswordSet staff01 "/PASSWORD:${password}"`],
  );
  assert.deepEqual(new Set(codes), new Set([0]), text);
  const [program = '', ...there] = inside(line.right);
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-join-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'index.html'), 'beyond their server');
  const web = ['python3', '-u', '-m', 'http.server', '-d', dir, '8080'];
  await using _web = await serving(program, [...there, ...web], /Serving HTTP/);

  const [, ...here] = inside(line.left);
  const socks = ['--socks', '127.0.0.1:1080', '--no-verify', '--connections', '2'];
  await joined(t, line.left, '--gate', `https://${line.rightHost}`, '--hub', 'lab', '--user', 'staff01', ...socks);
  const page = ['curl', '-sS', '--max-time', '20', '-x', 'socks5h://127.0.0.1:1080', `http://${line.rightHost}:8080/`];
  const { stdout, stderr } = await run(program, [...here, ...page]);
  assert.equal(stdout, 'beyond their server', stderr);
});
