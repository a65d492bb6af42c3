// The real client over a line that loses and delays, with frames that overtake each other on its eight connections: bulk is
// exact, memory stays, and who has stopped reading costs nobody else. LAB_SECONDS and LAB_BYTES set the sizes (default 60 s,
// 32 MiB). Needs root, softether-vpnclient and iperf3.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { whyNoHubLab } from '../fixtures/hub-lab.ts';
import { run, serving } from '../fixtures/programs.ts';
import { addAddress, startVpnClient } from '../fixtures/softether-programs.ts';
import { inside, layLine } from './namespaces.ts';
import { origin } from './origin.ts';

const seconds = process.env['LAB_SECONDS'] ?? '60';
const bytes = Number(process.env['LAB_BYTES'] ?? 32 * 1024 * 1024);
const password = 'correct horse';
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const residentOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1024;

interface Iperf {
  readonly error?: string;
  readonly end: { readonly sum_received: { readonly bits_per_second: number } };
}

test('eight streams each way over a rough line, then beside a member who reads nothing', {
  skip: whyNoHubLab() ?? false,
  timeout: 1_200_000,
}, async t => {
  const line = await layLine(t, { delay: 10, loss: 0.5 });
  const far = `sekisho-rough-${process.pid}`;
  ip('netns', 'add', far);
  t.after(() => ip('netns', 'del', far));
  ip('link', 'add', 'priv0', 'netns', line.right, 'type', 'veth', 'peer', 'name', 'priv0', 'netns', far);
  ip('-n', line.right, 'addr', 'add', '10.0.1.1/24', 'dev', 'priv0');
  ip('-n', line.right, 'link', 'set', 'priv0', 'up');
  ip('-n', far, 'addr', 'add', '10.0.1.26/24', 'dev', 'priv0');
  for (const device of ['lo', 'priv0']) ip('-n', far, 'link', 'set', device, 'up');
  const there = inside(far).slice(1);
  await using _iperf = await serving('ip', [...there, 'iperf3', '-s', '--forceflush'], /listening/);
  await using _web = await serving('ip', [...there, '/usr/bin/python3', '-u', '-c', origin], /listening/);
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  hubs:
    lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.200, routes: [ 10.0.1.0/24 ] } } }
`,
    under: inside(line.right),
  });
  for (const name of ['alice', 'bob']) {
    const { status, stderr } = await runSekisho(['vpn', 'user', 'add', `lab/${name}`, '--data', gate.data], {
      input: `${password}\n`,
    });
    assert.equal(status, 0, stderr);
  }
  // Bob sits beside the gate: his line is good.
  const members = [
    {
      user: 'alice',
      namespace: line.left,
      server: `${line.rightHost}:443/tcp`,
      address: '192.168.30.50/24',
      connections: 8,
    },
    { user: 'bob', namespace: line.right, server: '127.0.0.1:443/tcp', address: '192.168.30.51/24', connections: 1 },
  ] as const;
  const clients = await Promise.all(
    members.map(async ({ user, namespace, server, address, connections }) => {
      const client = await startVpnClient(t, namespace);
      await client.connect(user, { server, hub: 'lab', user, password, connections });
      await until(`${user} is in`, async () => /Session Established/.test(await client.status(user)));
      addAddress(namespace, client.device, address);
      return client;
    }),
  );
  ip('-n', line.left, 'route', 'replace', '10.0.1.0/24', 'via', '192.168.30.1');
  const at = (namespace: string, ...words: string[]) => run('ip', [...inside(namespace).slice(1), ...words]);

  // Exact, both ways.
  const made = `/usr/bin/python3 -c "
import sys
n = ${bytes}; i = 0; block = bytes(range(256)) * 256
while n > 0:
    part = (i.to_bytes(8, 'big') + block)[:min(n, 65536)]; sys.stdout.buffer.write(part); n -= len(part); i += 1
"`;
  const down = await at(line.left, 'bash', '-c', `curl -sS http://10.0.1.26/${bytes} | sha256sum`);
  const up = await at(
    line.left,
    ...[
      'bash',
      '-c',
      `${made} | tee >(sha256sum >&2) | curl -sS -T - -H 'Transfer-Encoding:' -H 'Content-Length: ${bytes}' http://10.0.1.26/`,
    ],
  );
  const [sum = 'nothing'] = down.stdout.split(' ');
  assert.match(up.stderr, new RegExp(sum), 'the download is what was made');
  assert.equal(up.stdout, sum, 'the upload is what was made');

  const iperf = async (...args: string[]): Promise<number> => {
    const { stdout } = await at(line.left, 'iperf3', '-J', '-c', '10.0.1.26', '-P', '8', ...args);
    const parsed = JSON.parse(stdout) as Iperf;
    assert.equal(parsed.error, undefined);
    return parsed.end.sum_received.bits_per_second / 1e6;
  };
  const pid = gate.child.pid ?? 0;
  await iperf('-t', '2', '--bidir');
  const before = residentOf(pid);
  for (const way of [[], ['-R']]) {
    const speed = await iperf('-t', seconds, ...way);
    t.diagnostic(`${line.by}, 8 streams ${way.length > 0 ? 'down' : 'up'}: ${speed.toFixed(1)} Mbit/s`);
    assert.ok(speed > 0, `${speed} Mbit/s`);
  }
  const grown = (residentOf(pid) - before) / 1024 / 1024;
  t.diagnostic(`the gate holds ${grown.toFixed(0)} MiB more than before`);
  assert.ok(grown < 150, `${grown} MiB`);

  // Bob asks for much at layer 2 of the hub, and stops reading: his client is stopped.
  const alone = await iperf('-t', '10', '-R');
  const [, bob] = clients;
  const pids = execFileSync('pgrep', ['-P', String(bob?.pid)], { encoding: 'utf8' })
    .trim()
    .split('\n');
  for (const one of pids) process.kill(Number(one), 'SIGSTOP');
  // Everything that goes to all goes to him as well.
  await at(line.left, 'ping', '-b', '-f', '-c', '2000', '-s', '1400', '-W', '1', '192.168.30.255');
  const beside = await iperf('-t', '10', '-R');
  t.diagnostic(`down before he stopped ${alone.toFixed(1)}, beside him ${beside.toFixed(1)} Mbit/s`);
  assert.ok(beside > alone / 4, `${alone}, ${beside}`);
  const idle = (residentOf(pid) - before) / 1024 / 1024;
  assert.ok(idle < 150, `${idle} MiB`);
});
