// A device with other people's programs: the printed line under a shell with curl and sha256sum, OpenSSH through the link,
// Squid in between, requests made by openssl.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startAgent } from '../fixtures/agent.ts';
import { freePorts, newFolder, startGate, until } from '../fixtures/gate-process.ts';
import { oldestNode } from '../fixtures/nodes.ts';
import { run, serving } from '../fixtures/programs.ts';

async function house(t: TestContext, service: number) {
  const [port = 0, route = 0] = await freePorts(2);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }
proxy: { pump: { listen: "tcp://127.0.0.1:${route}", to: "device://pump-7/${service}" } }\n`,
  });
  const enroll = async (): Promise<{ code: string; command: string }> => {
    const made = await gate.run('device', 'enroll', 'pump-7', '--service', `ssh=127.0.0.1:${service}`, '--json');
    return JSON.parse(made.stdout) as { code: string; command: string };
  };
  const online = (): Promise<void> =>
    until('it is online', async () => (await gate.json<{ online: number }>('device', 'list')).online > 0);
  return { gate, port, route, enroll, online, url: `https://127.0.0.1:${port}` };
}

test('the printed line, pasted into a shell, fetches the agent, checks it and joins; a wrong key or digest stops it', async t => {
  const { enroll, online } = await house(t, 22);
  const { command } = await enroll();
  const cwd = newFolder();
  const env = { SEKISHO_AGENT_DIR: join(cwd, 'agent') };
  const wrongKey = command.replace(/sha256\/\/[^';]+/g, `sha256//${'A'.repeat(43)}=`);
  const refused = await run('bash', ['-c', wrongKey], { cwd, env });
  assert.equal(refused.code, 90, 'curl: SSL public key does not match pinned public key');
  const wrongDigest = command.replace(/echo '[0-9a-f]{64}/, `echo '${'0'.repeat(64)}`);
  assert.notEqual((await run('bash', ['-c', wrongDigest], { cwd, env })).code, 0);
  assert.equal(existsSync(env.SEKISHO_AGENT_DIR), false, 'nothing has run yet');
  const child = spawn('bash', ['-c', command.replace('&& node ', '&& exec node ')], {
    cwd,
    stdio: 'ignore',
    env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined },
  });
  t.after(() => child.kill('SIGKILL'));
  await online();
});

async function sshd(t: TestContext): Promise<{ port: number; folder: string; ssh: string[] }> {
  const [port = 0] = await freePorts(1);
  const folder = newFolder();
  for (const name of ['host', 'own'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  writeFileSync(join(folder, 'keys'), readFileSync(join(folder, 'own.pub')));
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${folder}/host`,
    `AuthorizedKeysFile ${folder}/keys`,
    'StrictModes no',
    'PidFile none',
    'PermitRootLogin yes',
    'Subsystem sftp internal-sftp',
  ];
  writeFileSync(join(folder, 'conf'), `${lines.join('\n')}\n`);
  mkdirSync('/run/sshd', { recursive: true });
  const server = await serving('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'conf')], /Server listening/);
  t.after(() => server[Symbol.asyncDispose]());
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'].flatMap(text => [
    '-o',
    text,
  ]);
  return { port, folder, ssh: ['-F', 'none', '-i', join(folder, 'own'), ...options] };
}

test('ssh and scp through gate and agent, bit by bit, under the oldest Node', {
  skip: process.getuid?.() !== 0 && 'sshd needs root',
}, async t => {
  const server = await sshd(t);
  const { url, route, enroll } = await house(t, server.port);
  const { code } = await enroll();
  const node = oldestNode();
  const agent = await startAgent(t, ['--gate', url, '--enroll', code], { node });
  await agent.logged(/linked/);
  const said = await run('ssh', [...server.ssh, '-p', String(route), 'root@127.0.0.1', 'echo through; exit 7']);
  assert.deepEqual([said.code, said.stdout], [7, 'through\n'], said.stderr);
  const [from, to] = [join(server.folder, 'big'), join(server.folder, 'copy')];
  await run('sh', ['-c', `head -c 64000000 /dev/urandom > ${from}`]);
  const copied = await run('scp', [...server.ssh, '-P', String(route), from, `root@127.0.0.1:${to}`]);
  assert.equal(copied.code, 0, copied.stderr);
  assert.equal((await run('cmp', [from, to])).code, 0);
});

test('an agent behind Squid that wants a password joins by CONNECT; without the password it says what is missing', async t => {
  const [port = 0] = await freePorts(1);
  const folder = newFolder();
  await run('chmod', ['777', folder]);
  writeFileSync(
    join(folder, 'auth.sh'),
    '#!/bin/sh\nwhile read user password; do [ "$user $password" = "pump secret%20word" ] && echo OK || echo ERR; done\n',
    { mode: 0o755 },
  );
  const lines = [
    `http_port 127.0.0.1:${port}`,
    `auth_param basic program ${folder}/auth.sh`,
    'acl known proxy_auth REQUIRED',
    'http_access allow known',
    'http_access deny all',
    `pid_filename ${folder}/pid`,
    `cache_log ${folder}/log`,
    'access_log none',
    'cache deny all',
    `coredump_dir ${folder}`,
    'shutdown_lifetime 0 seconds',
  ];
  writeFileSync(join(folder, 'conf'), `${lines.join('\n')}\n`);
  const squid = await serving(
    'squid',
    ['-N', '-d', '1', '-f', join(folder, 'conf')],
    /Accepting HTTP Socket connections/,
  );
  t.after(() => squid[Symbol.asyncDispose]());
  const { url, enroll, online } = await house(t, 22);
  const { code } = await enroll();
  const proxy = `http://127.0.0.1:${port}`;
  const barred = await startAgent(t, ['--gate', url, '--enroll', code, '--proxy', proxy]);
  assert.equal(await barred.ended, 3);
  assert.match(barred.lines.join('\n'), /wants a user and password/);
  writeFileSync(join(folder, 'secret'), 'pump:secret word\n', { mode: 0o600 });
  const env = { HTTPS_PROXY: proxy, NO_PROXY: 'localhost' };
  const agent = await startAgent(t, ['--gate', url, '--enroll', code, '--proxy-credentials', join(folder, 'secret')], {
    env,
  });
  await agent.logged(/linked/);
  await online();
});

test('a device with a clock that is days off is told both times, and joins when the gate’s time is trusted', async t => {
  const { url, enroll, online } = await house(t, 22);
  const { code } = await enroll();
  // The agent’s own clock: the machine’s is not for a test to change.
  const shift = join(newFolder(), 'shift.cjs');
  writeFileSync(shift, 'const now = Date.now; Date.now = () => now() - 40 * 86400000;\n');
  const env = { NODE_OPTIONS: `--require ${shift}` };
  const lost = await startAgent(t, ['--gate', url, '--enroll', code], { env });
  assert.equal(await lost.ended, 2);
  assert.match(lost.lines.join('\n'), /clock says \d{4}-.*the gate’s says \d{4}-.*--trust-gate-time/);
  const agent = await startAgent(t, ['--gate', url, '--enroll', code, '--trust-gate-time'], { env });
  await agent.logged(/linked/);
  await online();
});

test('a request made by openssl is certified for the device, and openssl verifies what it gets', async t => {
  const { gate } = await house(t, 22);
  const folder = newFolder();
  const at = (name: string): string => join(folder, name);
  await run('openssl', [
    'req',
    '-new',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=anything',
    '-keyout',
    at('k'),
    '-out',
    at('csr'),
  ]);
  const made = await gate.run('device', 'enroll', 'camera-3', '--csr', at('csr'), '--out', at('crt'));
  assert.equal(made.status, 0, made.stderr);
  writeFileSync(at('ca'), (await gate.run('cert', 'ca')).stdout);
  const verified = await run('openssl', [
    'verify',
    '-CAfile',
    at('ca'),
    '-untrusted',
    at('crt'),
    '-purpose',
    'sslclient',
    at('crt'),
  ]);
  assert.match(verified.stdout, /: OK/, verified.stderr);
});
