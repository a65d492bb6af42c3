// The real vpnclient joins a hub of the gate over one TLS port, from a network namespace of its own. Needs root.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GateProcess, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { addAddress, startVpnClient } from '../fixtures/softether-programs.ts';
import { inside, layLine } from '../lab/namespaces.ts';

interface Shown {
  readonly name: string;
  readonly connections: { readonly now: number };
}

const say = async (gate: GateProcess, input: string, ...args: string[]): Promise<void> => {
  const { status, stderr } = await runSekisho([...args, '--data', gate.data], { input });
  assert.equal(status, 0, stderr);
};
async function sessionsOf(gate: GateProcess): Promise<Shown[]> {
  const { stdout } = await gate.run('vpn', 'session', 'list', '--json');
  return (JSON.parse(stdout) as { sessions: Shown[] }).sessions;
}

test('a member joins with nothing but the client’s own settings, is cut, and is told why others are not let in', async t => {
  const line = await layLine(t);
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }\n`,
    under: inside(line.right),
  });
  await say(gate, '', 'vpn', 'hub', 'create', 'lab', '--nat', '192.168.30.1/24');
  await say(gate, 'correct horse\n', 'vpn', 'user', 'add', 'lab/alice', '--password-stdin');
  await say(gate, 'correct horse\n', 'vpn', 'user', 'add', 'lab/bob', '--plain-only');
  const client = await startVpnClient(t, line.left);
  const account = { server: `${line.rightHost}:443`, hub: 'lab', user: 'alice', password: 'correct horse' };
  const code = (name: string, number: number) =>
    until(`${name}: code ${number}`, () => new RegExp(`"${name}".*\\(code ${number}\\)`).test(client.log()));

  await client.connect('wrong', { ...account, password: 'incorrect' });
  await code('wrong', 9);
  await client.connect('nowhere', { ...account, hub: 'nowhere' });
  await code('nowhere', 8);
  await client.connect('hashed', { ...account, user: 'bob' });
  await code('hashed', 9);

  await client.connect('four', { ...account, connections: 4 });
  await until('four connections stand', async () => (await sessionsOf(gate))[0]?.connections.now === 4);
  assert.match(await client.status('four'), /Session Established/);
  addAddress(line.left, client.device, '192.168.30.50/24');
  // ARP and ICMP through the hub to its virtual router, by the kernel alone: no ping is needed.
  const { execFileSync } = await import('node:child_process');
  execFileSync('bash', ['-c', `ip netns exec ${line.left} bash -c 'echo > /dev/udp/192.168.30.1/9'`]);
  await until('the router answered ARP', () =>
    /192\.168\.30\.1 .*lladdr/.test(execFileSync('ip', ['-n', line.left, 'neigh'], { encoding: 'utf8' })),
  );
  await client.disconnect('four');
  await until('it left', async () => (await sessionsOf(gate)).every(({ connections }) => connections.now === 0));

  await client.connect('plain', { ...account, user: 'bob', type: 'radius', compress: true });
  await until('bob is in', async () => (await sessionsOf(gate)).some(({ name }) => name.startsWith('SID-BOB')));
  const bob = (await sessionsOf(gate)).find(({ name }) => name.startsWith('SID-BOB'))?.name ?? '';
  await say(gate, '', 'vpn', 'session', 'cut', `lab/${bob}`);
  await until('the client noticed', async () => !/Established/.test(await client.status('plain')));

  const { stdout } = await gate.run('audit', 'search', '--event', 'vpn.denied', '--json');
  assert.match(stdout, /the proof for \\"alice\\" is wrong/);
  assert.match(stdout, /there is no hub of this name/);
});
