// OpenSSH through a tunnel: our own source and destination, ssh's ProxyCommand, the agent.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, until } from '../fixtures/gate-process.ts';
import { run, serving } from '../fixtures/programs.ts';
import { sshServer, trySsh } from '../fixtures/ssh-server.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

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
    await trySsh(t, server, port);
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
    await trySsh(t, server, port);
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
});
