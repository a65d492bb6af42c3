// OpenSSH through a tunnel: our own source and destination, ssh's ProxyCommand, and AWS's real localproxy where it is at hand.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, until } from '../fixtures/gate-process.ts';
import { run, serving } from '../fixtures/programs.ts';
import { type SshServer, sshServer } from '../fixtures/ssh-server.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('ssh through a tunnel', async t => {
  const house = await tunnelGate(t);
  await using server = await sshServer();
  const folder = temporaryFolder('ssh');
  const gate = ['--gate', `https://localhost:${house.port}`, '--ca', house.caFile];
  const tokenFile = (name: string, token: string): string => {
    writeFileSync(join(folder, name), token, { mode: 0o600 });
    return join(folder, name);
  };
  const connect = (...args: string[]) =>
    serving(process.execPath, [main, 'tunnel', 'connect', ...gate, ...args], /Ctrl-C ends it/);

  await t.test('sekisho tunnel connect on both ends: a command, and scp both ways, bit by bit', async () => {
    const { sourceToken, destinationToken } = await house.open('TunnelTestDevice', ['ssh']);
    await using destination = await connect(
      '--token-file',
      tokenFile('d', destinationToken),
      '--to',
      `ssh=127.0.0.1:${server.port}`,
    );
    const [port = 0] = await freePorts(1);
    await using source = await connect(
      '--token-file',
      tokenFile('s', sourceToken),
      '--listen',
      `ssh=127.0.0.1:${port}`,
    );
    assert.match(source.output(), new RegExp(`ssh = 127.0.0.1:${port}`));
    assert.match(destination.output(), /joined as the destination of ssh/);
    await trySsh(t, server, ['-p', String(port)], folder);
  });

  await t.test('as ssh’s ProxyCommand', async () => {
    const { sourceToken, destinationToken } = await house.open('TunnelTestDevice', ['ssh', 'web']);
    await using destination = await connect(
      '--token-file',
      tokenFile('d2', destinationToken),
      '--to',
      `ssh=${server.port}`,
    );
    assert.ok(destination);
    const command = [
      process.execPath,
      main,
      'tunnel',
      'connect',
      ...gate,
      '--token-file',
      tokenFile('s2', sourceToken),
      '--stdio',
      '--service',
      'ssh',
    ];
    const options = [...server.options, '-o', `ProxyCommand=${command.join(' ')}`];
    const { code, stdout, stderr } = await run('ssh', [...options, `${server.user}@device`, 'cat; exit 7'], {
      input: 'by stdio',
    });
    assert.deepEqual([code, stdout], [7, 'by stdio'], stderr);
  });

  await t.test('to a device with our agent: nothing to start there, the link is the destination', async () => {
    const { code } = await house.call<{ code: string }>(
      'device',
      'enroll',
      'pump-9',
      '--service',
      `ssh=127.0.0.1:${server.port}`,
    );
    await using agent = await serving(
      process.execPath,
      [main, 'agent', '--gate', `https://localhost:${house.port}`, '--enroll', code, '--dir', join(folder, 'agent')],
      /linked|online/i,
    );
    assert.ok(agent);
    await until('the device is online', async () => {
      const { devices } = await house.call<{ devices: { name: string; state: string }[] }>('device', 'list');
      return devices.some(({ name, state }) => name === 'pump-9' && state === 'online');
    });
    const { id, sourceToken } = await house.open('pump-9', ['ssh']);
    const shown = await house.call<{ destination: { state: string } }>('tunnel', 'show', id);
    assert.equal(shown.destination.state, 'connected');
    const [port = 0] = await freePorts(1);
    await using source = await connect(
      '--token-file',
      tokenFile('s9', sourceToken),
      '--listen',
      `ssh=127.0.0.1:${port}`,
    );
    assert.ok(source);
    await trySsh(t, server, ['-p', String(port)], folder);
  });

  await t.test('a refused token is one clear sentence and status 3', async () => {
    const outcome = await run(process.execPath, [
      main,
      'tunnel',
      'connect',
      ...gate,
      '--token-file',
      tokenFile('bad', 'guessed'),
    ]);
    assert.equal(outcome.code, 3);
    assert.match(outcome.stderr, /does not let this side in: Invalid access token: It opens no tunnel of this gate/);
  });

  const localproxy = process.env['LOCALPROXY'];
  if (!localproxy || !existsSync(localproxy)) {
    t.diagnostic('the real localproxy is not at hand (LOCALPROXY=/path/to/localproxy): its tests are left out');
    return;
  }
  // It reads CAs from a hashed folder only.
  const capath = join(folder, 'ca');
  mkdirSync(capath);
  copyFileSync(house.caFile, join(capath, 'gate.pem'));
  execFileSync('openssl', ['rehash', capath]);
  const start = (token: string, ...args: string[]) =>
    serving(
      localproxy,
      ['-e', `localhost:${house.port}`, '-c', capath, '-v', '5', ...args],
      /Successfully established websocket/,
      {
        env: { AWSIOT_TUNNEL_ACCESS_TOKEN: token },
      },
    );
  for (const [what, sourceArgs, destinationArgs] of [
    ['on both ends', [], []],
    ['as a V1 source', ['-y', 'V1'], []],
    ['as a V2 source', ['-y', 'V2'], []],
    ['as a V1 destination', [], ['-y', 'V1']],
  ] as const) {
    await t.test(`AWS’s localproxy ${what}`, async () => {
      const { sourceToken, destinationToken } = await house.open('TunnelTestDevice', ['ssh']);
      const [port = 0] = await freePorts(1);
      await using destination = await start(destinationToken, '-d', `ssh=127.0.0.1:${server.port}`, ...destinationArgs);
      await using source = await start(sourceToken, '-s', `ssh=${port}`, '-b', '127.0.0.1', ...sourceArgs);
      assert.ok(source && destination);
      await trySsh(t, server, ['-p', String(port)], folder);
    });
  }
});

async function trySsh(t: TestContext, server: SshServer, where: readonly string[], folder: string): Promise<void> {
  const { code, stdout, stderr } = await run(
    'ssh',
    [...server.options, ...where, `${server.user}@127.0.0.1`, 'tr a-z A-Z'],
    {
      input: 'through the firewall',
    },
  );
  assert.deepEqual([code, stdout], [0, 'THROUGH THE FIREWALL'], stderr);
  const bytes = randomBytes(20_000_000);
  writeFileSync(join(folder, 'file'), bytes);
  const scp = ['-q', ...server.options, '-P', where[1] ?? ''];
  const up = await run('scp', [...scp, join(folder, 'file'), `${server.user}@127.0.0.1:${folder}/there`]);
  assert.equal(up.code, 0, up.stderr);
  const down = await run('scp', [...scp, `${server.user}@127.0.0.1:${folder}/there`, join(folder, 'back')]);
  assert.equal(down.code, 0, down.stderr);
  assert.equal(sha(readFileSync(join(folder, 'back'))), sha(bytes));
  t.diagnostic('20 MB there and back');
}
