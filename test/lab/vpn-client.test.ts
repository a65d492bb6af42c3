// The real vpnclient in every way it can connect: proofs, numbers of connections, one-way ones, compression; two of them see
// each other; it is killed, cut, outlived by a restart, and told of a changed policy. Needs root, SoftEther's client and iperf3.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type GateProcess, newFolder, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import {
  type Account,
  addAddress,
  administer,
  startVpnClient,
  type VpnClient,
} from '../fixtures/softether-programs.ts';
import { inside, layLine } from './namespaces.ts';

const password = 'correct horse';

const must = async (gate: GateProcess, input: string, ...args: string[]): Promise<string> => {
  const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
  assert.equal(status, 0, stderr);
  return stdout;
};
interface Shown {
  readonly name: string;
  readonly connections: { readonly now: number };
}
const sessionsOf = async (gate: GateProcess): Promise<Shown[]> =>
  JSON.parse(await must(gate, '', 'vpn', 'session', 'list', '--json')).sessions;
/** As `until`, for what the client takes its time for. */
async function patiently(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `not within a minute: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 300));
  }
}

async function lab(t: TestContext) {
  const line = await layLine(t);
  // The second client lives beside the gate: its way to it is the loopback of that namespace.
  const config = 'gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }\n';
  const start = (folder?: string): Promise<GateProcess> =>
    startGate(t, { config, under: inside(line.right), ...(folder === undefined ? {} : { folder }) });
  const gate = await start();
  await must(gate, '', 'vpn', 'hub', 'create', 'lab');
  for (const name of ['alice', 'bob']) await must(gate, `${password}\n`, 'vpn', 'user', 'add', `lab/${name}`);
  await must(gate, `${password}\n`, 'vpn', 'user', 'add', 'lab/carol', '--plain-only');
  return { line, gate, start, alice: await startVpnClient(t, line.left) };
}
const isUp = async (client: VpnClient, name: string): Promise<boolean> =>
  /Session Established/.test(await client.status(name));

const ways: Readonly<Record<string, Partial<Account> & { readonly count: number }>> = {
  one: { connections: 1, count: 1 },
  four: { connections: 4, count: 4 },
  eight: { connections: 8, count: 8 },
  half: { connections: 4, half: true, count: 4 },
  packed: { connections: 2, compress: true, count: 2 },
  plain: { user: 'carol', type: 'radius', count: 1 },
};

test('every way of connecting carries frames both ways between two real clients', async t => {
  const { line, gate, alice } = await lab(t);
  const bob = await startVpnClient(t, line.right);
  await bob.connect('bob', { server: '127.0.0.1:443/tcp', hub: 'lab', user: 'bob', password });
  await patiently('bob is in', () => isUp(bob, 'bob'));
  addAddress(line.right, bob.device, '192.168.40.2/24');
  const folder = newFolder();
  await must(gate, '', 'cert', 'issue', 'alice', '--pem', folder);
  const certificate = { cert: join(folder, 'alice.crt'), key: join(folder, 'alice.key') };
  for (const [name, { count, ...way }] of Object.entries({ ...ways, certificate: { certificate, count: 1 } })) {
    const proof = 'certificate' in way ? {} : { password };
    await alice.connect(name, { server: `${line.rightHost}:443`, hub: 'lab', user: 'alice', ...proof, ...way });
    await patiently(`${name}: ${count} connections`, async () =>
      (await sessionsOf(gate)).some(one => !one.name.startsWith('SID-BOB') && one.connections.now === count),
    );
    addAddress(line.left, alice.device, '192.168.40.1/24');
    const server = spawn('ip', ['netns', 'exec', line.right, 'iperf3', '-s', '-1', '-B', '192.168.40.2'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => server.kill('SIGKILL'));
    await once(server.stdout, 'data');
    // A file of bytes in both directions at once; iperf3 fails when it is not all there.
    const { status, stdout } = spawnSync(
      'ip',
      ['netns', 'exec', line.left, 'iperf3', '-c', '192.168.40.2', '-n', '8M', '--bidir', '-J'],
      { encoding: 'utf8', timeout: 60_000 },
    );
    assert.equal(status, 0, `${name}: ${stdout.slice(-500)}`);
    await alice.disconnect(name);
    await patiently('no connection of it is left', async () =>
      (await sessionsOf(gate)).every(one => one.name.startsWith('SID-BOB') || one.connections.now === 0),
    );
  }
});

test('killed, cut, restarted, disabled: the client comes back when it may, and is told when it may not', async t => {
  const { line, gate, start, alice } = await lab(t);
  const account = { server: `${line.rightHost}:443`, hub: 'lab', user: 'alice', password, connections: 2 };
  await alice.connect('a', account);
  await patiently('it is in', () => isUp(alice, 'a'));

  // Cut: gone within a second, and back by itself.
  const [first] = await sessionsOf(gate);
  await must(gate, '', 'vpn', 'session', 'cut', `lab/${first?.name}`);
  assert.ok((await sessionsOf(gate)).every(({ name }) => name !== first?.name));
  await patiently('it came back after a cut', async () => (await sessionsOf(gate)).length === 1);

  // The gate ends and comes again: with close_notify on every connection, the client finds back.
  gate.signal('SIGTERM');
  assert.equal(await gate.ended, 0);
  const again = await start(gate.folder);
  await patiently('it came back after a restart', async () => (await sessionsOf(again)).length === 1);

  // A policy without access: out, and refused with 12.
  await must(again, '', 'vpn', 'user', 'set', 'lab/alice', '--policy', 'access=false');
  await until('it is out', async () => (await sessionsOf(again)).length === 0);
  await patiently('it was told', async () => /"a".*\(code 12\)/.test(alice.log()));
  await must(again, '', 'vpn', 'user', 'set', 'lab/alice', '--policy', 'none');
  await patiently('it may come in again', async () => (await sessionsOf(again)).length === 1);

  // kill -9: the session waits for its time-out, then the hub has forgotten it.
  alice.kill();
  await patiently('the gate noticed', async () => (await sessionsOf(again)).length === 0);
  const { macs } = JSON.parse(await must(again, '', 'vpn', 'table', 'lab', 'macs', '--json'));
  assert.deepEqual(macs, []);
});

test('vpncmd makes a bridge of its own and takes it away', async t => {
  const { line, gate } = await lab(t);
  await must(gate, 'a long password\n', 'vpn', 'admin', 'passwd');
  const under = { under: inside(line.right) };
  const made = await administer(
    '127.0.0.1:443',
    'a long password',
    ['BridgeCreate lab /DEVICE:lab0 /TAP:yes', 'BridgeCreate lab /DEVICE:eth0 /TAP:no', 'BridgeList'],
    under,
  );
  assert.deepEqual(made.codes, [0, 84, 0], made.text);
  assert.match(made.text, /lab *\|lab0 *\|(Operating|Running|Online)/i);
  execFileSync('ip', ['-n', line.right, 'link', 'show', 'tap_lab0'], { stdio: 'ignore' });
  const gone = await administer('127.0.0.1:443', 'a long password', ['BridgeDelete lab /DEVICE:lab0'], under);
  assert.deepEqual(gone.codes, [0]);
  await until('the device is gone', () => spawnSync('ip', ['-n', line.right, 'link', 'show', 'tap_lab0']).status !== 0);
});
