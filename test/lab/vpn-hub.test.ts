// A hub with kernels at its ports: DHCP, NAT, forwards, two members beside each other, impostors, storms, bad lines.
// LAB_SECONDS and LAB_BYTES set how long the streams run (default 10 s, 256 MiB). Needs root.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { HubOptions } from '../../src/features/vpn/hub.ts';
import { defaultSecurity } from '../../src/features/vpn/softether/policy.ts';
import { articleNat, type HubLab, net, openHubLab, whyNoHubLab } from '../fixtures/hub-lab.ts';
import { memoryPort } from '../fixtures/memory-port.ts';
import { run, serving } from '../fixtures/programs.ts';
import { origin } from './origin.ts';

const skip = whyNoHubLab() ?? false;
const seconds = process.env['LAB_SECONDS'] ?? '10';
const bytes = Number(process.env['LAB_BYTES'] ?? 256 * 1024 * 1024);
const python = '/usr/bin/python3'; // where Debian's python3-scapy is
const scapy = (text: string): string[] => [
  python,
  '-c',
  `import logging; logging.disable(logging.CRITICAL)\nfrom scapy.all import *\nconf.verb = 0\n${text}`,
];

const web = (lab: HubLab): ReturnType<typeof serving> =>
  serving(lab.target.prefix[0]!, [...lab.target.prefix.slice(1), python, '-u', '-c', origin], /listening/);
const iperf = (prefix: readonly string[], ...more: string[]): ReturnType<typeof serving> =>
  serving(prefix[0]!, [...prefix.slice(1), 'iperf3', '-s', '--forceflush', ...more], /listening/i);

interface Iperf {
  readonly error?: string;
  readonly end: { readonly sum_received: { readonly bits_per_second: number; readonly bytes: number } };
}
const result = ({ stdout }: { readonly stdout: string }): Iperf => {
  const parsed = JSON.parse(stdout) as Iperf;
  assert.equal(parsed.error, undefined);
  return parsed;
};
const speed = (one: { readonly stdout: string }): number => result(one).end.sum_received.bits_per_second / 1e6;
/** Nothing tells of these; they are looked for, until the test is out of time. */
const pause = (t: TestContext): Promise<void> => setTimeout(50, undefined, { signal: t.signal });
/** Gone with the test, also with one that is out of time: the next one has the same addresses. */
async function openLab(t: TestContext, options?: HubOptions): Promise<HubLab> {
  const lab = await openHubLab('vpnnet', options);
  t.after(() => lab[Symbol.asyncDispose]());
  return lab;
}
const kill = (t: TestContext, child: ChildProcess): void => t.after(() => child.kill('SIGKILL'));

test('DHCP leases to dhclient: the route as option 121, no default gateway, a web page beyond', { skip }, async t => {
  await using lab = await openLab(t);
  await using _web = await web(lab);
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-lab-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const conf = join(dir, 'dhclient.conf');
  writeFileSync(
    conf,
    `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, rfc3442-classless-static-routes;
`,
  );
  const member = await lab.member();
  const args = ['-4', '-1', '-v', '-pf', join(dir, 'pid'), '-lf', join(dir, 'leases'), '-cf', conf, member.device];
  const leased = await member.run('dhclient', ...args);
  assert.equal(leased.code, 0, leased.stderr);
  const routes = (await member.run('ip', '-4', 'route')).stdout;
  assert.ok(routes.includes(`${net}.0/24 via 192.168.30.1`), routes);
  assert.doesNotMatch(routes, /default/);
  const [lease] = lab.hub.leases();
  assert.equal(lease?.address, '192.168.30.10');
  assert.ok(lab.hub.ipTable().some(({ address, dhcp }) => address === '192.168.30.10' && dhcp));
  const page = await member.run('curl', '-sS', '--max-time', '5', `http://${lab.target.host}/5`);
  assert.equal(page.stdout.length, 5, page.stderr);
  const released = await member.run('dhclient', '-4', '-r', ...args.slice(3));
  assert.equal(released.code, 0, released.stderr);
  assert.deepEqual(lab.hub.leases(), []);
  const [audited] = lab.gate.admissions;
  assert.equal(audited?.request.action, 'vpn.nat');
  assert.equal(audited?.request.resource, `vpn/${net}.2:80`);
  assert.equal(audited?.request.who.id, 'user1');
  await audited?.ended;
  assert.ok((audited?.bytes.down ?? 0) > 5);
});

test('bytes through the NAT are exact, up and down', { skip, timeout: 600_000 }, async t => {
  await using lab = await openLab(t);
  await using _web = await web(lab);
  const member = await lab.member({ address: '192.168.30.11/24' });
  const down = await member.run('bash', '-c', `curl -sS http://${lab.target.host}/${bytes} | sha256sum`);
  const direct = await member.run(
    'bash',
    '-c',
    `${python} -c "
import sys
n = ${bytes}; i = 0; block = bytes(range(256)) * 256
while n > 0:
    part = (i.to_bytes(8, 'big') + block)[:min(n, 65536)]; sys.stdout.buffer.write(part); n -= len(part); i += 1
" | tee >(sha256sum >&2) | curl -sS -T - -H 'Transfer-Encoding:' -H 'Content-Length: ${bytes}' http://${lab.target.host}/`,
  );
  const [sum] = down.stdout.split(' ');
  assert.match(direct.stderr, new RegExp(`${sum}`), 'the download is what was made');
  assert.equal(direct.stdout, sum, 'the upload is what was made');
});

test('eight streams each way over a line that loses, reorders and delays', { skip, timeout: 600_000 }, async t => {
  await using lab = await openLab(t);
  await using _server = await iperf(lab.target.prefix);
  const member = await lab.member({
    address: '192.168.30.11/24',
    line: { loss: 0.005, reorder: 0.005, delay: 5 },
  });
  const before = process.memoryUsage().rss;
  for (const way of [[], ['-R']]) {
    const outcome = await member.run('iperf3', '-J', '-c', lab.target.host, '-P', '8', '-t', seconds, ...way);
    assert.ok(speed(outcome) > 5, `${speed(outcome)} Mbit/s`);
  }
  assert.ok(process.memoryUsage().rss - before < 300 * 1024 * 1024, 'memory does not grow');
  assert.equal(lab.hub.natTable().filter(({ state }) => state === 'connecting').length, 0);
});

test('two members see each other: ARP, broadcast, IPv6 link-local, and any TCP', { skip }, async t => {
  await using lab = await openLab(t, {});
  const [a, b] = [await lab.member({ address: '192.168.40.1/24' }), await lab.member({ address: '192.168.40.2/24' })];
  await using _server = await iperf(b.prefix);
  const arp = await a.run(
    ...(scapy(
      `r = srp1(Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(pdst='192.168.40.2'), iface='${a.device}', timeout=3); print(r[ARP].hwsrc)`,
    ) as [string, ...string[]]),
  );
  assert.equal(arp.stdout.trim(), b.tap.mac, arp.stderr);
  const address = /inet6 (fe80::\S+)\//.exec((await b.run('ip', '-6', 'addr', 'show', 'dev', b.device)).stdout)?.[1];
  for (const host of ['192.168.40.2', `${address}%${a.device}`]) {
    const outcome = await a.run('iperf3', '-J', '-c', host, '-t', '1');
    assert.ok(speed(outcome) > 10, `${host}: ${outcome.stdout.slice(-300)}`);
  }
  assert.ok(b.attached.counts().down.broadcastFrames > 0);
});

test('who speaks in the name of others is not heard where the policy says so', { skip }, async t => {
  await using lab = await openLab(t);
  const victim = await lab.member({ address: '192.168.30.11/24' });
  const security = { checkIp: true, checkMac: true, dhcpNoServer: true, noBridge: true };
  const villain = await lab.member({ address: '192.168.30.66/24', user: 'villain', security });
  await victim.run('curl', '-sS', '--max-time', '1', 'http://192.168.30.1/'); // both are known to the hub now
  await villain.run('curl', '-sS', '--max-time', '1', 'http://192.168.30.1/');
  const witness: string[] = [];
  const port = memoryPort('witness', frame => witness.push(Buffer.from(frame).toString('hex')));
  lab.hub.attach(port, { kind: 'member', session: 'SID-W-1', user: 'w', groups: [], security: defaultSecurity });
  const dropped = (): number => villain.attached.counts().dropped;
  for (const [what, frame] of [
    ["the router's address", "Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op=2,psrc='192.168.30.1',pdst='192.168.30.11')"],
    ["the victim's address", "Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op=2,psrc='192.168.30.11',pdst='192.168.30.1')"],
    [
      "the victim's MAC",
      `Ether(src='${victim.tap.mac}',dst='ff:ff:ff:ff:ff:ff')/IP(src='192.168.30.66',dst='192.168.30.255')/UDP()`,
    ],
    [
      "the router's MAC",
      "Ether(src=router,dst='ff:ff:ff:ff:ff:ff')/IP(src='192.168.30.66',dst='192.168.30.255')/UDP()",
    ],
    [
      'a DHCP server',
      "Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='192.168.30.66',dst='255.255.255.255')/UDP(sport=67,dport=68)/BOOTP(op=2)/DHCP(options=[('message-type','offer'),'end'])",
    ],
    [
      'a DHCP server that says it is none',
      "Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='192.168.30.66',dst='255.255.255.255')/UDP(sport=1067,dport=68)/BOOTP(op=2)/DHCP(options=[('message-type','offer'),'end'])",
    ],
    // A Linux behind it takes both tags off, and believes what is in them.
    [
      "the victim's address in a tag within a tag",
      "Ether(dst='ff:ff:ff:ff:ff:ff')/Dot1Q(vlan=0)/Dot1Q(vlan=0)/ARP(op=2,psrc='192.168.30.11',pdst='192.168.30.1')",
    ],
    [
      'a sender that is a group',
      "Ether(src='01:00:5e:00:00:01',dst='ff:ff:ff:ff:ff:ff')/IP(src='192.168.30.66')/UDP()",
    ],
  ] as const) {
    const router = lab.hub.macTable().find(({ session }) => session.includes('SECURENAT'))?.mac;
    const refused = dropped();
    const sent = await villain.run(
      ...(scapy(`router = '${router}'\nf = ${frame}\nsendp(f, iface='${villain.device}')\nprint(raw(f).hex())`) as [
        string,
        ...string[],
      ]),
    );
    assert.equal(sent.code, 0, sent.stderr);
    assert.ok(!witness.includes(sent.stdout.trim()), `${what}: others heard it`);
    assert.ok(dropped() > refused, `${what}: the hub took it`);
  }
});

test('a broadcast storm is held, and others go on', { skip, timeout: 100_000 }, async t => {
  await using lab = await openLab(t);
  await using _web = await web(lab);
  const [storm, calm] = [
    await lab.member({ address: '192.168.30.11/24' }),
    await lab.member({ address: '192.168.30.12/24' }),
  ];
  const [program = '', ...args] = [
    ...storm.prefix,
    'perl',
    '-e',
    `use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0); setsockopt($s, SOL_SOCKET, SO_BROADCAST, 1);
     my $to = pack_sockaddr_in(9, inet_aton('192.168.30.255')); send($s, 'x' x 1000, 0, $to) while 1;`,
  ];
  const child = spawn(program, args, { stdio: 'ignore' });
  kill(t, child);
  while (storm.attached.counts().dropped < 10_000) await pause(t);
  const before = calm.attached.counts().down.broadcastFrames;
  const started = Date.now();
  const page = await calm.run(
    'curl',
    '-sS',
    '--max-time',
    '20',
    `http://${lab.target.host}/20000000`,
    '-o',
    '/dev/null',
    '-w',
    '%{size_download}',
  );
  assert.equal(page.stdout, '20000000', page.stderr);
  const heard = calm.attached.counts().down.broadcastFrames - before;
  const rate = heard / Math.max(1, (Date.now() - started) / 1000);
  assert.ok(rate < 200, `${rate} broadcasts a second came through`);
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('members who read nothing cost a bounded amount, and no other member his share', {
  skip,
  timeout: 200_000,
}, async t => {
  await using lab = await openLab(t);
  await using _web = await web(lab);
  await using _server = await iperf(lab.target.prefix);
  const [idle, busy] = [
    await lab.member({ address: '192.168.30.11/24' }),
    await lab.member({ address: '192.168.30.12/24' }),
  ];
  const before = process.memoryUsage().rss;
  for (let count = 0; count < 40; count++) {
    const [program = '', ...args] = [
      ...idle.prefix,
      'perl',
      '-e',
      `use Socket; my $s; do { socket($s, AF_INET, SOCK_STREAM, 0) } until connect($s, pack_sockaddr_in(80, inet_aton('${lab.target.host}')));
       syswrite($s, "GET /100000000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); sleep 1000;`,
    ];
    kill(t, spawn(program, args, { stdio: 'ignore' }));
  }
  while (lab.hub.natTable().filter(({ received }) => received > 0).length < 40) await pause(t);
  const outcome = await busy.run('iperf3', '-J', '-c', lab.target.host, '-t', '4', '-R');
  assert.ok(speed(outcome) > 1, `${speed(outcome)} Mbit/s`);
  const grown = (process.memoryUsage().rss - before) / 1024 / 1024;
  assert.ok(grown < 250, `${grown} MiB`);
});

test('members who are busy at the same time have like shares', { skip, timeout: 600_000 }, async t => {
  await using lab = await openLab(t);
  const members = [
    await lab.member({ address: '192.168.30.11/24' }),
    await lab.member({ address: '192.168.30.12/24' }),
    await lab.member({ address: '192.168.30.13/24' }),
  ];
  await using _first = await iperf(lab.target.prefix, '-p', '5301');
  await using _second = await iperf(lab.target.prefix, '-p', '5302');
  await using _third = await iperf(lab.target.prefix, '-p', '5303');
  for (const way of [[], ['-R']]) {
    const speeds = await Promise.all(
      members.map(async (member, index) =>
        speed(
          await member.run(
            'iperf3',
            '-J',
            '-c',
            lab.target.host,
            '-p',
            `${5301 + index}`,
            '-P',
            '4',
            '-t',
            seconds,
            ...way,
          ),
        ),
      ),
    );
    const sum = speeds.reduce((total, one) => total + one, 0);
    // Jain's index: 1 = all alike, 1/3 = one has everything.
    const fairness = sum ** 2 / (speeds.length * speeds.reduce((total, one) => total + one ** 2, 0));
    t.diagnostic(`${way}: ${speeds.map(one => one.toFixed(0))} Mbit/s, Jain's index ${fairness.toFixed(3)}`);
    assert.ok(fairness > 0.95, `${way}: ${speeds.map(one => one.toFixed(0))} Mbit/s`);
  }
});

test('a port forward leads out, echo is answered near and far, other ways are refused and written down', {
  skip,
}, async t => {
  await using lab = await openLab(t, {
    nat: { ...articleNat, dhcp: { range: ['192.168.30.10', '192.168.30.20'], routes: [{ network: `${net}.2/32` }] } },
    forward: [{ listen: '192.168.30.1:8080', to: `tcp://${net}.2:80` }],
  });
  await using _web = await web(lab);
  const member = await lab.member({ address: '192.168.30.11/24' });
  const page = await member.run('curl', '-sS', '--max-time', '5', 'http://192.168.30.1:8080/7');
  assert.equal(page.stdout.length, 7, page.stderr);
  await member.run('ip', 'route', 'add', '169.254.169.254/32', 'via', '192.168.30.1');
  for (const url of ['http://192.168.30.1:81/', `http://${net}.1/`, 'http://169.254.169.254/']) {
    const refused = await member.run('curl', '-sS', '--max-time', '5', url);
    assert.equal(refused.code, 7, `${url}: ${refused.stderr}`);
  }
  assert.ok(lab.gate.refusals.length >= 3);
  const echo = await member.run(
    ...(scapy(`
for to in ('192.168.30.1', '${net}.2', '${net}.77'):
    r = sr1(IP(dst=to)/ICMP(id=7, seq=3)/(b'sekisho' * 300), iface='${member.device}', timeout=4)
    print(to, bool(r) and r.haslayer(ICMP) and r[ICMP].type)
`) as [string, ...string[]]),
  );
  assert.match(echo.stdout, /^\S+ 0\n\S+ 0\n\S+ (3|False)\n$/, echo.stdout + echo.stderr);
});

test('a local bridge: this machine is on the hub, its kernel routes, and the device goes with the hub', {
  skip,
}, async t => {
  const device = `tap_${process.pid % 10_000}`;
  const lab = await openLab(t, { bridge: device });
  assert.deepEqual(
    lab.hub.ownPorts().map(({ kind, active, device: name }) => [kind, active, name]),
    [['bridge', true, device]],
  );
  const ip = (...args: string[]) => run('ip', args);
  assert.equal((await ip('addr', 'add', '192.168.30.1/24', 'dev', device)).code, 0);
  for (const name of [device, lab.near]) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, '1');
  const [first = '', ...there] = lab.target.prefix;
  await run(first, [...there, 'ip', 'route', 'add', '192.168.30.0/24', 'via', `${net}.1`]);
  await using _server = await iperf(lab.target.prefix);
  const member = await lab.member({ address: '192.168.30.11/24' });
  for (const way of [[], ['-R']])
    assert.ok(speed(await member.run('iperf3', '-J', '-c', lab.target.host, '-t', '2', ...way)) > 1);
  const twin = await lab.hub.setBridge('no/name').catch((error: Error) => error.message);
  assert.match(String(twin), /not a name for a network device/);
  await lab[Symbol.asyncDispose]();
  assert.notEqual((await ip('link', 'show', device)).code, 0, 'the device is gone');
});
