// Devices through a whole gate: they join by a code, carry streams, come back, and are sent away.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startAgent } from '../../fixtures/agent.ts';
import {
  echoServer,
  freePorts,
  type GateProcess,
  newFolder,
  runSekisho,
  startGate,
  talk,
  until,
} from '../../fixtures/gate-process.ts';

interface House {
  readonly gate: GateProcess;
  readonly url: string;
  readonly route: number;
  readonly echo: Awaited<ReturnType<typeof echoServer>>;
  json(...args: string[]): Promise<Record<string, unknown>>;
  code(name: string, ...args: string[]): Promise<string>;
  state(name: string): Promise<unknown>;
}

async function house(t: TestContext): Promise<House> {
  const [port = 0, route = 0] = await freePorts(2);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }
device: { ping: 2s }
proxy: { pump: { listen: "tcp://127.0.0.1:${route}", to: "device://pump-7/echo" } }\n`,
  });
  const json = (...args: string[]): Promise<Record<string, unknown>> => gate.json(...args);
  const echo = await echoServer(t);
  return {
    ...{ gate, route, json, echo, url: `https://127.0.0.1:${port}` },
    code: async (name, ...args) => String((await json('device', 'enroll', name, ...args))['code']),
    state: async name => (await json('device', 'show', name))['state'],
  };
}
const service = ({ echo }: House): string => `echo=127.0.0.1:${echo.port}`;
const events = async ({ gate }: House): Promise<string[]> =>
  (await gate.run('audit', 'export')).stdout
    .split('\n')
    .flatMap(line => /"event":"(device\.[a-z]+)"/.exec(line)?.[1] ?? []);

test('a device joins by its code, carries streams through a route, comes back when killed, and a revoked one is cut', async t => {
  const inside = await house(t);
  const { gate, url, route } = inside;
  const code = await inside.code(
    'pump-7',
    '--service',
    service(inside),
    '--tag',
    'site=north',
    '--imsi',
    '440101234567890',
  );
  const first = await startAgent(t, ['--gate', url, '--enroll', code]);
  await first.logged(/linked/);
  await until('it is online', async () => (await inside.state('pump-7')) === 'online');
  assert.equal(statSync(join(first.dir, 'identity.pem')).mode & 0o777, 0o600);
  assert.match(readFileSync(join(first.dir, 'services.yaml'), 'utf8'), /^echo: 127\.0\.0\.1:\d+$/m);
  const shown = await inside.json('device', 'show', '440101234567890');
  assert.deepEqual([shown['name'], shown['tags']], ['pump-7', { site: 'north' }]);
  assert.equal(await (await talk(t, route)).say('through'), 'through');

  // A code works once, and a device whose agent is killed is online again when it is back.
  const second = await startAgent(t, ['--gate', url, '--enroll', code]);
  assert.equal(await second.ended, 3);
  assert.match(second.lines.join('\n'), /the code is wrong, used or older than 15 minutes/);
  const broken = await talk(t, route);
  await broken.say('still');
  first.child.kill('SIGKILL');
  assert.equal(await broken.over, 'ECONNRESET');
  await until('it is offline', async () => (await inside.state('pump-7')) === 'offline');
  const back = await startAgent(t, [], { dir: first.dir });
  await back.logged(/linked/);
  const again = await talk(t, route);
  await again.say('again');

  // The list beside the key has the last word, also while it runs.
  writeFileSync(join(first.dir, 'services.yaml'), 'other: 127.0.0.1:1\n');
  assert.notEqual(await (await talk(t, route)).over, '');
  await gate.logged(/does not allow/);
  writeFileSync(join(first.dir, 'services.yaml'), `echo: 127.0.0.1:${inside.echo.port}\n`);
  assert.equal(await (await talk(t, route)).say('allowed'), 'allowed');

  await inside.json('device', 'revoke', 'pump-7');
  assert.equal(await again.over, 'ECONNRESET');
  await back.logged(/does not accept this device/);
  assert.equal(await inside.state('pump-7'), 'offline');
  const seen = await events(inside);
  for (const event of [
    'device.enrolled',
    'device.online',
    'device.connected',
    'device.disconnected',
    'device.offline',
    'device.revoked',
    'device.denied',
  ])
    assert.ok(seen.includes(event), `${event} in ${seen.join(' ')}`);
  assert.equal((await gate.run('audit', 'verify')).status, 0);
});

test('a code leads to its own gate only: whoever else answers is refused before the code is sent', async t => {
  const inside = await house(t);
  const other = await house(t);
  const code = await inside.code('pump-7');
  const agent = await startAgent(t, ['--gate', other.url, '--enroll', code]);
  assert.equal(await agent.ended, 3);
  assert.match(agent.lines.join('\n'), /its CA is another one.*The code was not sent/);
  assert.deepEqual(
    (await events(other)).filter(event => event === 'device.denied'),
    [],
  );
  const cut = await startAgent(t, ['--gate', inside.url, '--enroll', code.split('.')[0] ?? '']);
  assert.equal(await cut.ended, 2);
  const good = await startAgent(t, ['--gate', inside.url, '--enroll', code]);
  await good.logged(/linked/);
});

test('a renamed device is online under its new name with a new certificate, and what it carried goes on', async t => {
  const inside = await house(t);
  const code = await inside.code('valve', '--service', service(inside));
  const agent = await startAgent(t, ['--gate', inside.url, '--enroll', code]);
  await agent.logged(/linked/);
  await inside.json('device', 'rename', 'valve', 'pump-7');
  await agent.logged(/new certificate/);
  const held = await talk(t, inside.route);
  await held.say('one');
  await until('the new certificate is in use', async () => {
    const { certs, state } = await inside.json('device', 'show', 'pump-7');
    return (certs as unknown[]).length === 2 && state === 'online';
  });
  assert.equal(await held.say('two'), 'two');
  assert.equal((await inside.json('device', 'show', 'valve'))['name'], 'pump-7');
  const taken = await inside.gate.run('device', 'enroll', 'valve');
  assert.equal(taken.status, 4, 'a former name is nobody else’s');
});

test('a folder that is used twice: the newer agent has the link, the older one says so and waits', async t => {
  const inside = await house(t);
  const code = await inside.code('pump-7', '--service', service(inside));
  const first = await startAgent(t, ['--gate', inside.url, '--enroll', code]);
  await first.logged(/linked/);
  const held = await talk(t, inside.route);
  await held.say('on the old link');
  const second = await startAgent(t, [], { dir: first.dir });
  await second.logged(/linked/);
  assert.equal(await held.say('goes on'), 'goes on');
  held.socket.end();
  await held.over;
  await first.logged(/another agent with this device’s identity/);
  assert.equal(await (await talk(t, inside.route)).say('on the new one'), 'on the new one');
});

test('the gate restarts, and its devices come back by themselves', async t => {
  const inside = await house(t);
  const code = await inside.code('pump-7', '--service', service(inside));
  const agent = await startAgent(t, ['--gate', inside.url, '--enroll', code]);
  await agent.logged(/linked/);
  inside.gate.signal('SIGTERM');
  assert.equal(await inside.gate.ended, 0);
  await agent.logged(/the gate is leaving/);
  const next = await startGate(t, { folder: inside.gate.folder, config: readFileSync(inside.gate.config, 'utf8') });
  const isOnline = async () => (await next.json<{ online: number }>('device', 'list')).online === 1;
  await until('it is online', isOnline, 60_000); // the device's back-off is random
  assert.equal(await (await talk(t, inside.route)).say('back'), 'back');
});

test('things without our agent get a certificate by request or with its key; both count as the device', async t => {
  const inside = await house(t);
  const folder = newFolder();
  await inside.json('device', 'enroll', 'camera-3', '--pem', folder);
  assert.equal(statSync(join(folder, 'camera-3.key')).mode & 0o777, 0o600);
  const { createPrivateKey, X509Certificate } = await import('node:crypto');
  const cert = new X509Certificate(readFileSync(join(folder, 'camera-3.crt')));
  assert.match(cert.subjectAltName ?? '', /URI:sekisho:device\/camera-3/);
  assert.ok(cert.checkPrivateKey(createPrivateKey(readFileSync(join(folder, 'camera-3.key')))));
  const { makeRequest, newDeviceKey } = await import('../../../src/features/device/agent/csr.ts');
  const key = await newDeviceKey();
  writeFileSync(join(folder, 'a.csr'), makeRequest(key, 'whatever it says'));
  await inside.json('device', 'enroll', 'camera-4', '--csr', join(folder, 'a.csr'), '--out', join(folder, 'a.crt'));
  const signed = new X509Certificate(readFileSync(join(folder, 'a.crt')));
  assert.ok(signed.checkPrivateKey(key));
  assert.match(signed.subjectAltName ?? '', /URI:sekisho:device\/camera-4/);
});

test('sekisho agent is the same agent, and one that is not enrolled says what to do', async t => {
  const inside = await house(t);
  const dir = newFolder();
  const lost = await runSekisho(['agent', '--dir', dir]);
  assert.equal(lost.status, 2);
  assert.match(lost.stderr, /sekisho device enroll NAME/);
  const code = await inside.code('pump-7', '--service', service(inside));
  const { spawn } = await import('node:child_process');
  const main = join(import.meta.dirname, '../../../src/main.ts');
  const child = spawn(
    process.execPath,
    [main, 'agent', '--gate', inside.url, '--enroll', code, '--dir', dir, '--json'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  t.after(() => child.kill('SIGKILL'));
  assert.deepEqual(JSON.parse(String((await once(child.stdout, 'data'))[0])), { linked: 'pump-7' });
  assert.equal(await (await talk(t, inside.route)).say('hello'), 'hello');
  child.kill('SIGTERM');
  await once(child, 'exit');
});
