// A shell on a device from the command line, as the console opens one: OpenSSH's server behind a real agent and a real gate.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startAgent } from '../fixtures/agent.ts';
import { freePorts, runSekisho, startGate, until } from '../fixtures/gate-process.ts';
import { sshServer } from '../fixtures/ssh-server.ts';

test('sekisho device terminal: a shell whose host key is looked at once, recorded, over the socket and over TLS', async t => {
  const server = await sshServer();
  t.after(() => server[Symbol.asyncDispose]());
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
device: { terminal: { recording: { devices: ['pump-*'] } } }
`,
  });
  const { json } = gate;
  const { code } = await json('device', 'enroll', 'pump-7', '--service', `ssh=127.0.0.1:${server.port}`);
  await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
  await until('the device is online', async () => (await json('device', 'show', 'pump-7'))['state'] === 'online');
  const key = join(server.folder, 'user');
  const shell = (input: string, more: string[] = [], env: Record<string, string> = {}) =>
    runSekisho(['device', 'terminal', 'pump-7', '--user', server.user, '--key', key, ...more], { input, env });
  const here = ['--data', gate.data];
  const [, fingerprint = ''] =
    /(SHA256:\S+)/.exec(execFileSync('ssh-keygen', ['-lf', join(server.folder, 'host.pub')], { encoding: 'utf8' })) ??
    [];

  const unknown = await shell('', here);
  assert.equal(unknown.status, 3, 'a key that nobody looked at is not trusted');
  assert.ok(unknown.stderr.includes(fingerprint), unknown.stderr);
  assert.equal((await shell('', [...here, '--trust', 'SHA256:other'])).status, 3);
  const first = await shell('echo one-$((1+1)); stty size\nexit 3\n', [...here, '--trust', fingerprint]);
  assert.equal(first.status, 3, first.stderr);
  assert.match(first.stdout, /one-2\r\n24 80/);
  assert.match(first.stderr, /this terminal is recorded/);
  // It is known now; a pipe that ends is Ctrl-D.
  const lines = (await shell('echo 関所-$((2+2))\n', [...here, '--json'])).stdout.trim().split('\n');
  const told = lines.map(line => JSON.parse(line) as { kind: string; text?: string; state?: string });
  assert.deepEqual(
    told.filter(({ kind }) => kind === 'host-key').map(({ state }) => state),
    ['known'],
  );
  assert.match(told.map(({ kind, text }) => (kind === 'printed' ? text : '')).join(''), /関所-4/);
  assert.equal(told.at(-1)?.kind, 'end');
  // 6 MB, byte for byte, through the credit of a terminal.
  const much = await shell('stty -opost; printf S; head -c 6000000 /dev/zero | tr "\\\\0" x; printf E; exit\n', here);
  assert.equal(/Sx+E/.exec(much.stdout)?.[0].length, 6_000_002);

  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const away = async (user: string, role: string) => {
    await json('user', 'add', user, '--role', role);
    const { token } = await json<{ token: string }>('token', 'create', user, '--scope', 'device.*');
    return { SEKISHO_GATE: `https://127.0.0.1:${port}`, SEKISHO_TOKEN: token, SEKISHO_CA: ca };
  };
  const far = await shell('echo far-$((3+3))\nexit\n', [], await away('alice', 'operator'));
  assert.equal(far.status, 0, far.stderr);
  assert.match(far.stdout, /far-6/);
  const denied = await shell('', [], await away('carol', 'approver'));
  assert.equal(denied.status, 3);
  assert.match(denied.stderr, /^sekisho: not allowed/);
  const { recordings } = await json<{ recordings: unknown[] }>('audit', 'recordings');
  assert.equal(recordings.length, 4, 'all that were opened, and no other');
});
