// Our own client against a whole gate: a program of this machine reaches the private network through the hub, and only it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { joinAsMember, type Member, type MemberState, type PrintedLease } from '../../src/daemon/member.ts';
import { freePorts, type GateProcess, newFolder, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';
import { memoryLog } from '../fixtures/quiet.ts';

const password = 'correct horse';

async function must(gate: GateProcess, input: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** An http server of the private network; the forward of the hub leads to it. */
async function privateWeb(t: TestContext): Promise<number> {
  const server = createServer((request, answer) => {
    if (request.url === '/big') answer.end(Buffer.alloc(5_000_000, 'sekisho '));
    else answer.end(`you asked ${request.headers.host} for ${request.url}\n`);
  });
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** An address of this machine that is not loopback: what a hub's NAT may lead to. */
function ownAddress(): string {
  const found = Object.values(networkInterfaces())
    .flat()
    .find(one => one?.family === 'IPv4' && !one.internal)?.address;
  assert.ok(found, 'this machine has an address besides loopback');
  return found;
}

interface Lab {
  readonly gate: GateProcess;
  readonly port: number;
  readonly ca: string;
  /** Of the private web server. */
  readonly web: number;
  restart(): Promise<GateProcess>;
}
async function lab(t: TestContext): Promise<Lab> {
  const [port = 0] = await freePorts(1);
  const web = await privateWeb(t);
  const config =
    `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\n` +
    'vpn: { hubs: { mikalab: {\n' +
    `  nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.20, routes: [ 10.0.1.0/24, ${ownAddress()}/32 ] } },\n` +
    `  forward: [ { listen: "192.168.30.1:80", to: "tcp://127.0.0.1:${web}" }, { listen: "192.168.30.26:80", to: "tcp://127.0.0.1:${web}" } ] } } }\n`;
  const folder = newFolder();
  const gate = await startGate(t, { config, folder });
  await must(gate, `${password}\n`, 'vpn', 'user', 'add', 'mikalab/staff01', '--password-stdin');
  await must(gate, `${password}\n`, 'vpn', 'user', 'add', 'mikalab/plain01', '--plain-only');
  const ca = await must(gate, '', 'cert', 'ca');
  return { gate, port, ca, web, restart: () => startGate(t, { config, folder }) };
}

interface Joined {
  readonly member: Member;
  readonly states: MemberState[];
  readonly leases: (PrintedLease | undefined)[];
}
async function joinHubOf(
  t: TestContext,
  { port, ca }: Pick<Lab, 'port' | 'ca'>,
  more: { readonly user?: string; readonly hub?: string; readonly plain?: boolean; readonly connections?: number } = {},
): Promise<Joined> {
  const states: MemberState[] = [];
  const leases: (PrintedLease | undefined)[] = [];
  const end = new AbortController();
  const member = await joinAsMember({
    gate: { host: '127.0.0.1', port },
    ...{ hub: more.hub ?? 'mikalab', user: more.user ?? 'staff01', ca, verify: true },
    proof: { kind: more.plain ? 'plain' : 'password', password },
    connections: more.connections ?? 1,
    how: { kind: 'socks', host: '127.0.0.1', port: 0 },
    ...{ signal: end.signal, log: memoryLog() },
    onState: state => void states.push(state),
    onLease: lease => void leases.push(lease),
  });
  t.after(() => member[Symbol.asyncDispose]());
  return { member, states, leases };
}
const curl = (...args: string[]) => run('curl', ['-sS', '--max-time', '20', ...args]);

test('curl reaches a pushed route through SOCKS5 and HTTP, in either proof, and nothing else', async t => {
  const { port, ca, gate, web } = await lab(t);
  const { member, leases } = await joinHubOf(t, { port, ca }, { connections: 3 });
  await until('a lease', () => leases.length > 0);
  const via = '192.168.30.1';
  assert.deepEqual(leases[0]?.routes, [
    { network: '10.0.1.0/24', via },
    { network: `${ownAddress()}/32`, via },
  ]);
  assert.match(leases[0]?.address ?? '', /^192\.168\.30\.1\d\/24$/);

  const said = 'you asked 192.168.30.26 for /hello\n';
  assert.equal((await curl('-x', `socks5h://${member.at}`, 'http://192.168.30.26/hello')).stdout, said);
  assert.equal((await curl('-x', `http://${member.at}`, 'http://192.168.30.26/hello')).stdout, said);
  assert.equal((await curl('-p', '-x', `http://${member.at}`, 'http://192.168.30.26/hello')).stdout, said);
  const big = await curl(
    '-x',
    `socks5://${member.at}`,
    'http://192.168.30.1/big',
    '-o',
    '/dev/null',
    '-w',
    '%{size_download}',
  );
  assert.equal(big.stdout, '5000000');

  const pushed = `${ownAddress()}:${web}`;
  const through = await curl('-x', `socks5h://${member.at}`, `http://${pushed}/route`);
  assert.equal(through.stdout, `you asked ${pushed} for /route\n`);

  const away = await curl('-x', `http://${member.at}`, 'http://198.51.100.7/');
  assert.match(away.stdout, /none of the networks that the hub has pushed a route for/);
  const own = await curl('-p', '-x', `http://${member.at}`, `http://127.0.0.1:${port}/`);
  assert.match(own.stderr, /403/);

  await until('three connections', async () =>
    /"now": 3/.test(await must(gate, '', 'vpn', 'session', 'list', '--json')),
  );
  const other = await joinHubOf(t, { port, ca }, { user: 'plain01', plain: true });
  await until('a second lease', () => other.leases.length > 0);
  assert.notEqual(other.leases[0]?.address, leases[0]?.address);
  assert.match(await must(gate, '', 'audit', 'search', '--event', 'vpn.connected', '--json'), /staff01/);
});

test('a gate on every address keeps to itself what is its own, and no other machine’s port of the same number', async t => {
  const [port = 0, route = 0] = await freePorts(2);
  const web = await privateWeb(t);
  const gate = await startGate(t, {
    config:
      `gate: { listen: "tls://0.0.0.0:${port}", workers: 0 }\n` +
      `proxy: { db: { listen: "tcp://0.0.0.0:${route}", to: "tcp://127.0.0.1:${web}" } }\n` +
      'vpn: { hubs: { mikalab: { nat: { address: 192.168.30.1/24,\n' +
      `  dhcp: { range: 192.168.30.10-192.168.30.20, routes: [ 192.0.2.0/24, ${ownAddress()}/32 ] } } } } }\n`,
  });
  await must(gate, `${password}\n`, 'vpn', 'user', 'add', 'mikalab/staff01', '--password-stdin');
  const ca = await must(gate, '', 'cert', 'ca');
  const { member, leases } = await joinHubOf(t, { port, ca });
  await until('a lease', () => leases.length > 0);
  for (const own of [port, route]) {
    const refused = await curl('-x', `socks5h://${member.at}`, `http://${ownAddress()}:${own}/`);
    assert.notEqual(refused.code, 0);
  }
  const denied = await must(gate, '', 'audit', 'search', '--event', 'vpn.denied', '--json');
  for (const own of [port, route])
    assert.ok(denied.includes(`${ownAddress()}:${own} is a listener of this gate`), denied);
  void curl('--max-time', '5', '-x', `socks5h://${member.at}`, `http://192.0.2.1:${port}/`);
  await until('the flow to another machine', async () =>
    (await must(gate, '', 'audit', 'search', '--event', 'vpn.connected', '--json')).includes(`vpn/192.0.2.1:${port}`),
  );
});

test('a web page cannot use the proxy: what is not absolute is refused, and so is another address than loopback', async t => {
  const { port, ca } = await lab(t);
  const { member } = await joinHubOf(t, { port, ca });
  const socket = connect(Number(member.at.split(':')[1]), '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nHost: 10.0.1.26\r\n\r\n');
  const heard = Buffer.concat(await socket.toArray());
  assert.equal(heard.length, 0);
  const file = join(newFolder(), 'p');
  writeFileSync(file, `${password}\n`);
  const gate = [
    '--gate',
    `https://127.0.0.1:${port}`,
    '--hub',
    'mikalab',
    '--user',
    'staff01',
    '--password-file',
    file,
  ];
  const open = await runSekisho(['vpn', 'join', ...gate, '--no-verify', '--socks', '0.0.0.0:0']);
  assert.equal(open.status, 2);
  assert.match(open.stderr, /loopback only/);
});

test('the command line says why it is not let in', async t => {
  const { port, ca } = await lab(t);
  const file = join(newFolder(), 'ca.pem');
  writeFileSync(file, ca);
  const attempt = (input: string, ...args: string[]) =>
    runSekisho(
      ['vpn', 'join', '--gate', `https://127.0.0.1:${port}`, '--ca', file, '--socks', '127.0.0.1:0', ...args],
      { input },
    );
  const wrong = await attempt('not it\n', '--hub', 'mikalab', '--user', 'staff01');
  assert.match(wrong.stderr, /wrong user, password or certificate/);
  assert.equal(wrong.status, 3);
  const unknown = await attempt(`${password}\n`, '--hub', 'nolab', '--user', 'staff01');
  assert.match(unknown.stderr, /there is no hub of this name/);
  assert.equal(unknown.status, 4);
  const form = await attempt(`${password}\n`, '--hub', 'mikalab', '--user', 'plain01');
  assert.match(form.stderr, /--plain/);
  const stranger = await runSekisho(
    [
      'vpn',
      'join',
      '--gate',
      `https://127.0.0.1:${port}`,
      '--hub',
      'mikalab',
      '--user',
      'staff01',
      '--socks',
      '127.0.0.1:0',
    ],
    { input: `${password}\n` },
  );
  assert.equal(stranger.status, 6);
  assert.match(stranger.stderr, /certificate of 127\.0\.0\.1/);
});

test('a cut session comes back by itself, and ends for good when the member is removed', async t => {
  const { port, ca, gate } = await lab(t);
  const { member, states, leases } = await joinHubOf(t, { port, ca });
  await until('a lease', () => leases.length > 0);
  await must(gate, '', 'vpn', 'session', 'cut', 'mikalab/SID-STAFF01-1');
  await until('it is back', () => states.filter(({ state }) => state === 'joined').length === 2);
  assert.deepEqual(
    states.filter(state => state.state === 'joined').map(state => state.session),
    ['SID-STAFF01-1', 'SID-STAFF01-2'],
  );
  await until('curl goes on', async () =>
    (await curl('-x', `socks5h://${member.at}`, 'http://192.168.30.26/again')).stdout.endsWith('/again\n'),
  );
  assert.equal(leases.filter(Boolean).length, 1, 'the address is still the same');
  await must(gate, '', 'vpn', 'user', 'remove', 'mikalab/staff01');
  const fault = await member.ended;
  assert.match(fault?.message ?? '', /wrong user, password or certificate/);
});

test('a gate that restarts is joined again', async t => {
  const { port, ca, gate, restart } = await lab(t);
  const { member, states, leases } = await joinHubOf(t, { port, ca });
  await until('a lease', () => leases.length > 0);
  gate.signal('SIGTERM');
  await gate.ended;
  await until('it notices', () => states.some(({ state }) => state === 'away'));
  await restart();
  await until('it is back', () => states.at(-1)?.state === 'joined' && states.length > 2);
  await until('curl goes on', async () =>
    (await curl('-x', `socks5h://${member.at}`, 'http://192.168.30.26/back')).stdout.endsWith('/back\n'),
  );
});
