// A changed policy and a cut, as each real client sees them: within a second after the command has returned. (sstpc: in
// sstp.test.ts.) Needs root, /dev/net/tun, SoftEther's client and openvpn.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type GateProcess, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { whyNoHubLab } from '../fixtures/hub-lab.ts';
import { isUp, startOpenVpn, whyNoOpenVpn } from '../fixtures/openvpn-client.ts';
import { addAddress, startVpnClient } from '../fixtures/softether-programs.ts';
import { inside, type Line, layLine } from './namespaces.ts';

const password = 'correct horse';
const router = '192.168.30.1';
const skip = whyNoHubLab() ?? whyNoOpenVpn() ?? false;
const second = 1000;
const wait = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

type Join = (t: TestContext, line: Line, gate: GateProcess) => Promise<void>;
const main = join(import.meta.dirname, '../../src/main.ts');
const started = (t: TestContext, namespace: string, program: string, ...args: string[]) => {
  const [ip = '', ...there] = inside(namespace);
  const child = spawn(ip, [...there, program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return createInterface({ input: child.stdout });
};

const openvpn =
  (proto: 'tcp' | 'udp'): Join =>
  async (t, line, gate) => {
    const { stdout: profile } = await gate.run('vpn', 'openvpn', 'lab');
    const client = startOpenVpn(t, {
      ...{ namespace: line.left, profile, device: 'tun0', login: { user: 'alice', password } },
      remote: { host: line.rightHost, port: proto === 'udp' ? 1194 : 443, proto },
    });
    await client.said(isUp);
  };
const joins: Readonly<Record<string, Join>> = {
  async vpnclient(t, line) {
    const client = await startVpnClient(t, line.left);
    await client.connect('a', { server: `${line.rightHost}:443/tcp`, hub: 'lab', user: 'alice', password });
    await until('it is in', async () => /Session Established/.test(await client.status('a')));
    addAddress(line.left, client.device, '192.168.30.50/24');
  },
  async 'sekisho vpn join'(t, line, gate) {
    const file = join(gate.folder, 'password');
    writeFileSync(file, `${password}\n`);
    const to = ['--gate', `https://${line.rightHost}`, '--no-verify', '--hub', 'lab', '--user', 'alice'];
    const words = [main, 'vpn', 'join', '--json', '--password-file', file, ...to];
    for await (const said of started(t, line.left, process.execPath, ...words))
      if (said.includes('"ready":true')) return;
    throw new Error('the client ended before it was ready');
  },
  'openvpn by TCP': openvpn('tcp'),
  'openvpn by UDP': openvpn('udp'),
};

for (const [name, join] of Object.entries(joins))
  test(`${name}: a policy holds, and a member is out, within a second`, { skip, timeout: 300_000 }, async t => {
    const line = await layLine(t);
    const gate = await startGate(t, {
      config: `gate: { name: gate.test, addresses: [ ${line.rightHost} ], listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  openvpn: { listen: "udp://0.0.0.0:1194" }
  hubs:
    lab: { nat: { address: ${router}/24, dhcp: { range: 192.168.30.10-192.168.30.40 } } }
`,
      under: inside(line.right),
    });
    const must = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await gate.run(...args);
      assert.equal(status, 0, stderr);
      return stdout;
    };
    const user = ['vpn', 'user', 'add', 'lab/alice', '--password-stdin', '--data', gate.data];
    const { status, stderr } = await runSekisho(user, { input: `${password}\n` });
    assert.equal(status, 0, stderr);
    await join(t, line, gate);

    const echoes: number[] = [];
    started(t, line.left, 'ping', '-i', '0.1', router).on('line', said => {
      if (said.includes('icmp_seq=') && said.includes('time=')) echoes.push(Date.now());
    });
    const flow = (since: number): Promise<void> =>
      until('echoes come', () => echoes.filter(at => at > since).length >= 3);
    const change = async (...args: string[]): Promise<number> => {
      await must(...args);
      return Date.now();
    };
    const silent = async (since: number, what: string): Promise<void> => {
      await wait(3 * second);
      assert.deepEqual(
        echoes.filter(at => at > since + second),
        [],
        what,
      );
    };
    const names = async (): Promise<string[]> =>
      JSON.parse(await must('vpn', 'session', 'list', 'lab', '--json')).sessions.map(
        (one: { name: string }) => one.name,
      );

    await flow(Date.now());
    const filtered = await change('vpn', 'user', 'set', 'lab/alice', '--policy', 'filterIpv4=true');
    await silent(filtered, 'no IPv4 passes once the policy says so');
    const [session = ''] = await names();
    assert.match(session, /^SID-ALICE/, 'and it was not put out for that');
    const free = await change('vpn', 'user', 'set', 'lab/alice', '--policy', 'none');
    await flow(free);
    assert.ok((echoes.find(at => at > free) ?? 0) <= free + second, 'it passes again');

    await must('vpn', 'session', 'cut', `lab/${session}`);
    assert.ok(!(await names()).includes(session), 'a cut session is gone');
    const out = await change('vpn', 'user', 'set', 'lab/alice', '--policy', 'access=false');
    assert.deepEqual(await names(), [], 'nor does it come back when it may not');
    await silent(out, 'nothing of it passes any more');
    assert.deepEqual(await names(), []);
  });
