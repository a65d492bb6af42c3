// The real openvpn on a bad line, with keys that are renewed every few seconds: what is carried stays whole. Needs root.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runSekisho, startGate } from '../fixtures/gate-process.ts';
import { isUp, startOpenVpn, whyNoOpenVpn } from '../fixtures/openvpn-client.ts';
import { run, serving } from '../fixtures/programs.ts';
import { inside, layLine } from './namespaces.ts';

const web = '10.0.1.26';
const renewals = /Outgoing Data Channel: Cipher/g;

for (const { proto, loss } of [
  { proto: 'udp', loss: 2 },
  { proto: 'tcp', loss: 0 },
] as const)
  test(`files arrive whole by ${proto} with ${loss} % loss while keys are renewed`, {
    skip: whyNoOpenVpn() ?? false,
  }, async t => {
    const line = await layLine(t, loss > 0 ? { delay: 5, loss } : undefined);
    const gate = await startGate(t, {
      config: `
gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  openvpn: { listen: "udp://0.0.0.0:1194" }
  hubs:
    lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.99, routes: [ 10.0.1.0/24 ] } } }
`,
      under: inside(line.right),
    });
    execFileSync('ip', ['-n', line.right, 'addr', 'add', `${web}/32`, 'dev', 'lo']);
    const bytes = randomBytes(8 * 1024 * 1024);
    const file = join(gate.folder, 'file');
    writeFileSync(file, bytes);
    const server = `require('node:http').createServer((_, answer) => answer.end(require('node:fs').readFileSync('${file}'))).listen(80, '${web}', () => console.log('ready'))`;
    await using _web = await serving('ip', ['netns', 'exec', line.right, process.execPath, '-e', server], /ready/);
    const say = async (input: string, ...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
      assert.equal(status, 0, stderr);
      return stdout;
    };
    await say('correct horse\n', 'vpn', 'user', 'add', 'lab/alice', '--plain-only');
    const client = startOpenVpn(t, {
      ...{ namespace: line.left, profile: await say('', 'vpn', 'openvpn', 'lab'), device: 'tun0' },
      remote: { host: line.rightHost, port: proto === 'udp' ? 1194 : 443, proto },
      login: { user: 'alice', password: 'correct horse' },
      args: ['--reneg-sec', '5'],
    });
    await client.said(isUp);
    const wanted = createHash('sha256').update(bytes).digest('hex');
    const before = Date.now();
    do {
      const { stdout, stderr } = await run('ip', [
        ...['netns', 'exec', line.left, 'bash', '-c'],
        `curl -sS -m 120 http://${web}/ | sha256sum`,
      ]);
      assert.match(stdout, new RegExp(wanted), stderr);
    } while (Date.now() - before < 20_000);
    const count = [...client.log().matchAll(renewals)].length;
    assert.ok(count >= 3, `keys were renewed ${count - 1} times`);
    assert.doesNotMatch(client.log(), /SIGUSR1|TLS Error/);
  });
