// The real sstpc and pppd join a hub, lease an address and fetch a page through SecureNAT; wrong passwords, PAP, a cut. This
// kernel may have no PPP, so they run inside a User-Mode Linux. Needs root, /dev/net/tun, Debian's user-mode-linux,
// sstp-client, ppp and curl.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type GateProcess, newFolder, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { inside, whyNot } from './namespaces.ts';

const missing = ['/usr/bin/linux.uml', '/usr/sbin/sstpc', '/usr/sbin/pppd', '/usr/bin/curl', '/dev/net/tun'].find(
  path => !existsSync(path),
);
const skip = whyNot() ?? (missing === undefined ? false : `${missing} is not here`);
const guestScript = join(import.meta.dirname, 'sstp-guest.sh');
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });

interface Lab {
  readonly gate: GateProcess;
  readonly password: string;
  readonly bulk: string;
  join(user: string, options?: { readonly password?: string; readonly pppd?: string }): Promise<Guest>;
}
interface Guest {
  /** Lines that it has said. */
  readonly lines: readonly string[];
  /** When it told of an answered echo. */
  readonly echoes: readonly number[];
  /** The rest of the first line that begins so. @throws when it ends before */
  said(start: string): Promise<string>;
  readonly ended: Promise<unknown>;
}

/** A gate and the end of a wire, in a namespace; a web server beside it that only the hub's forward leads to. */
async function openLab(t: TestContext): Promise<Lab> {
  const name = `sekisho-sstp-${process.pid}-${randomBytes(2).toString('hex')}`;
  ip('netns', 'add', name);
  t.after(() => ip('netns', 'del', name));
  ip('-n', name, 'link', 'set', 'lo', 'up');
  execFileSync('ip', [...inside(name).slice(1), 'ip', 'tuntap', 'add', 'dev', 'wire0', 'mode', 'tap']);
  ip('-n', name, 'addr', 'add', '10.88.0.1/24', 'dev', 'wire0');
  ip('-n', name, 'link', 'set', 'wire0', 'up');

  const [folder, password] = [newFolder(), randomBytes(12).toString('base64url')];
  const site = join(folder, 'site');
  mkdirSync(site);
  const bulk = randomBytes(512 * 1024);
  writeFileSync(join(site, 'index.html'), 'the private page');
  writeFileSync(join(site, 'bulk'), bulk);
  const [ns = '', ...enter] = inside(name);
  const web = spawn(ns, [...enter, 'python3', '-u', '-m', 'http.server', '-d', site, '--bind', '127.0.0.1', '8099'], {
    stdio: 'ignore',
  });
  t.after(() => web.kill('SIGKILL'));
  const config = `gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  hubs:
    lab:
      sstp: true
      nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.20, routes: [ 10.0.1.0/24 ], dns: router } }
      forward: [ { listen: "192.168.30.1:80", to: "tcp://127.0.0.1:8099" } ]
`;
  const gate = await startGate(t, { config, under: inside(name), folder });
  const add = async (user: string, ...more: string[]): Promise<void> => {
    const args = ['vpn', 'user', 'add', `lab/${user}`, '--password-stdin', ...more, '--data', gate.data];
    const { status, stderr } = await runSekisho(args, { input: `${password}\n` });
    assert.equal(status, 0, stderr);
  };
  await add('alice');
  await add('bob', '--plain-only');
  let count = 0;
  return {
    ...{ gate, password, bulk: createHash('sha256').update(bulk).digest('hex') },
    join: async (user, options = {}) =>
      boot(t, name, join(folder, `guest-${++count}`), { user, password: options.password ?? password, ...options }),
  };
}

/** Boots the guest on this machine's own files, read only. Its console is its voice. */
async function boot(
  t: TestContext,
  namespace: string,
  path: string,
  { user, password, pppd = '' }: { user: string; password: string; pppd?: string },
): Promise<Guest> {
  const sstpc = `--log-stderr --log-level 4 --cert-warn --priv-dir /run/sstpc --user 'lab\\${user}' --password '${password}'`;
  const more = `noauth nodefaultroute noipdefault usepeerdns nodetach debug logfd 2 ${pppd}`;
  writeFileSync(path, `exec sstpc ${sstpc} 10.88.0.1 -- ${more}\n`, { mode: 0o600 });
  const [ns = '', ...enter] = inside(namespace);
  const kernel = [
    'linux.uml mem=192M root=/dev/root rootfstype=hostfs rootflags=/ ro quiet con=null con0=fd:0,fd:1 ssl=null',
    `eth0=tuntap,wire0 init=${guestScript} sstp_args=${path} sstp_try=12`,
  ];
  const child = spawn(ns, [...enter, ...kernel.join(' ').split(' ')], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  const echoes: number[] = [];
  const all: string[] = [];
  const heard = createInterface({ input: child.stdout });
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const call of waiting) call();
    waiting.clear();
  };
  heard.on('line', line => {
    all.push(line);
    const said = /sstp: (.*?)\r?$/.exec(line)?.[1];
    if (said?.startsWith('echo ')) echoes.push(Date.now());
    else if (said !== undefined) lines.push(said);
    wake();
  });
  const ended = once(heard, 'close').then(() => {
    lines.push('ended');
    wake();
  });
  return {
    lines,
    echoes,
    ended,
    async said(start) {
      for (;;) {
        const found = lines.find(line => line.startsWith(start));
        if (found !== undefined) return found.slice(start.length).trim();
        assert.ok(!lines.includes('ended'), `the guest never said "${start}":\n${all.join('\n')}`);
        await new Promise<void>(resolve => waiting.add(resolve));
      }
    },
  };
}
const sessionsOf = async ({ gate }: Lab): Promise<Record<string, unknown>[]> => {
  const { stdout } = await gate.run('vpn', 'session', 'list', 'lab', '--json');
  return JSON.parse(stdout).sessions;
};

test('sstpc and pppd lease an address, reach the page and nothing else, and are cut within a second', {
  skip,
}, async t => {
  const lab = await openLab(t);
  const alice = await lab.join('alice');
  assert.equal(await alice.said('address'), '192.168.30.10 192.168.30.1');
  await alice.said('ping ok');
  assert.equal(await alice.said('page'), 'the private page');
  assert.equal(await alice.said('bulk'), lab.bulk, 'bit by bit');
  assert.equal(await alice.said('unreached'), '000');
  await alice.said('joined');
  const [session] = await sessionsOf(lab);
  assert.deepEqual(
    [session?.['name'], session?.['protocol'], session?.['client'], session?.['ips']],
    ['SID-ALICE-1', 'sstp', 'SSTP (MS-CHAPv2)', ['192.168.30.10']],
  );
  // A changed policy, and back.
  const policy = async (item: string): Promise<number> => {
    const { status, stderr } = await lab.gate.run('vpn', 'user', 'set', 'lab/alice', '--policy', item);
    assert.equal(status, 0, stderr);
    return Date.now();
  };
  await until('echoes come', () => alice.echoes.length >= 3);
  const filtered = await policy('filterIpv4=true');
  await new Promise(resolve => setTimeout(resolve, 3000));
  assert.deepEqual(
    alice.echoes.filter(at => at > filtered + 1000),
    [],
    'no IPv4 passes once the policy says so',
  );
  const free = await policy('none');
  await until('echoes come again', () => alice.echoes.some(at => at > free));
  const { status, stderr } = await lab.gate.run('vpn', 'session', 'cut', 'lab/SID-ALICE-1');
  assert.equal(status, 0, stderr);
  assert.deepEqual(await sessionsOf(lab), [], 'gone at once');
  await alice.said('ended');
  const audit = async (): Promise<string> => (await lab.gate.run('audit', 'search', '--json')).stdout;
  assert.match(await audit(), /vpn\.joined/);
  await until('its end is written down', async () => /"cause":\s*"closed"/.test(await audit()));
});

test('PAP inside TLS lets in who has a modern hash alone, and MS-CHAPv2 does not', { skip }, async t => {
  const lab = await openLab(t);
  const bob = await lab.join('bob', { pppd: 'refuse-eap refuse-chap refuse-mschap refuse-mschap-v2' });
  await bob.said('address');
  assert.equal(await bob.said('page'), 'the private page');
  await bob.said('joined');
  assert.equal((await sessionsOf(lab))[0]?.['client'], 'SSTP (PAP)');
  lab.gate.signal('SIGTERM');
  await bob.said('ended');
  assert.equal(await lab.gate.ended, 0);
});

test('a wrong password is 691 for pppd, and nobody is on the hub', { skip }, async t => {
  const lab = await openLab(t);
  const alice = await lab.join('alice', { password: 'something else' });
  await alice.said('ended');
  assert.ok(
    alice.lines.some(line => /E=691/.test(line)),
    alice.lines.join('\n'),
  );
  await until('nobody is on the hub', async () => (await sessionsOf(lab)).length === 0);
  assert.ok(lab.gate.log.some(line => /a client by SSTP was refused/.test(line)));
});
