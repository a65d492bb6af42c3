// The agent's one file without a link, under each Node that it promises to run on: both ends of a tunnel, the
// notice by MQTT, and wrap.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AgentProcess, startAgent, startAgentFile } from '../../fixtures/agent.ts';
import { makeCa, temporaryFolder } from '../../fixtures/certificates.ts';
import { newFolder, until } from '../../fixtures/gate-process.ts';
import { agentNodes, lackingNodes } from '../../fixtures/nodes.ts';
import { ask, digestServer } from './ends.ts';
import { type TunnelGate, tunnelGate } from './rig.ts';

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const bytes = randomBytes(3_000_000);

const portIn = (line: string): number => Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]);
const wrapping = async (agent: AgentProcess): Promise<number> => portIn(await agent.logged(/wrapping/));

function tokenFile(token: string): string {
  const path = join(newFolder(), 'token');
  writeFileSync(path, `${token}\n`, { mode: 0o600 });
  return path;
}

async function source(t: TestContext, house: TunnelGate, token: string, node: string) {
  const gate = ['--gate', `https://localhost:${house.port}`, '--ca', house.caFile];
  const args = ['tunnel', 'connect', ...gate, '--token-file', tokenFile(token), '--listen', 'digest=127.0.0.1:0'];
  const agent = await startAgentFile(t, args, { node });
  return { agent, port: portIn(await agent.logged(/^digest = /)) };
}

async function stopped({ child, ended, lines }: AgentProcess): Promise<void> {
  child.kill('SIGTERM');
  assert.equal(await ended, 0, lines.join('\n'));
}

test('Node 18, 20 and 24 are all at hand where every test must run', t => {
  t.diagnostic(`the agent’s file is run under Node ${[...agentNodes.keys()].join(', ')}`);
  if (process.env['SEKISHO_ALL_TESTS']) assert.deepEqual(lackingNodes, []);
});

for (const [major, node] of agentNodes) {
  test(`the agent's file under Node ${major}`, async t => {
    const house = await tunnelGate(t);
    const gate = ['--gate', `https://localhost:${house.port}`, '--ca', house.caFile];
    const { port: digest } = await digestServer(t);
    const service = ['--service', `digest=127.0.0.1:${digest}`];

    await t.test('source and destination of one tunnel by their tokens; its end ends both', async t => {
      const { id, sourceToken, destinationToken } = await house.open(undefined, ['digest']);
      const destination = await startAgent(t, [...gate, ...service, '--token-file', tokenFile(destinationToken)], {
        node,
      });
      await destination.logged(/joined a tunnel/);
      const { agent, port } = await source(t, house, sourceToken, node);
      assert.equal(await ask(port, bytes), digestOf(bytes));
      await house.call('tunnel', 'close', id);
      assert.equal(await destination.ended, 0);
      assert.match(destination.lines.join('\n'), /the tunnel is over: the tunnel was closed/);
      assert.equal(await agent.ended, 0);
      const spent = await startAgentFile(t, ['tunnel', 'connect', ...gate, '--token-file', tokenFile(sourceToken)], {
        node,
      });
      assert.equal(await spent.ended, 3);
      assert.match(spent.lines.join('\n'), /Invalid access token/);
    });

    await t.test('an enrolled device waits by MQTT with its own certificate, besides its link, and joins', async t => {
      const code = String((await house.call('device', 'enroll', 'pump-7', ...service))['code']);
      const mqtt = ['--mqtt', `mqtts://localhost:${house.port}`];
      const url = `https://localhost:${house.port}`;
      const agent = await startAgent(t, ['--gate', url, '--enroll', code, ...service, ...mqtt], { node });
      await Promise.all([agent.logged(/linked/), agent.logged(/waiting for tunnels over MQTT/)]);
      const { sourceToken } = await house.open('pump-7', ['digest']);
      await agent.logged(/joined a tunnel/);
      const near = await source(t, house, sourceToken, node);
      assert.equal(await ask(near.port, bytes), digestOf(bytes));
      await Promise.all([stopped(near.agent), stopped(agent)]);
    });

    await t.test(
      'a thing without a link waits by MQTT with files, and joins each tunnel that it is told of',
      async t => {
        const dir = newFolder();
        await house.call('device', 'enroll', 'thing-9', '--pem', dir);
        const files = ['--cert', join(dir, 'thing-9.crt'), '--key', join(dir, 'thing-9.key')];
        const mqtt = ['--mqtt', `mqtts://localhost:${house.port}`, '--thing', 'thing-9', ...files];
        const agent = await startAgent(t, [...gate, ...service, ...mqtt], { node });
        await agent.logged(/waiting for tunnels over MQTT/);
        const opened = [await house.open('thing-9', ['digest']), await house.open('thing-9', ['digest'])];
        const near = await Promise.all(opened.map(({ sourceToken }) => source(t, house, sourceToken, node)));
        assert.deepEqual(await Promise.all(near.map(({ port }) => ask(port, bytes))), [
          digestOf(bytes),
          digestOf(bytes),
        ]);
        assert.equal(agent.lines.filter(line => /joined a tunnel/.test(line)).length, 2);
        await Promise.all([...near.map(one => stopped(one.agent)), stopped(agent)]);
      },
    );

    await t.test('stdin and stdout are one connection, as ssh’s ProxyCommand wants it', async t => {
      const { id, sourceToken, destinationToken } = await house.open(undefined, ['digest']);
      const args = ['tunnel', 'connect', ...gate, '--token-file', tokenFile(sourceToken), '--stdio'];
      const near = await startAgentFile(t, args, { node, stdin: 'pipe' });
      near.child.stdin?.end(bytes);
      // It stands in the same read as the tunnel's services when the destination comes at last.
      await until('the connection', async () => (await house.call('tunnel', 'show', id))['connections'] === 1);
      const to = [...gate, ...service, '--token-file', tokenFile(destinationToken)];
      const destination = await startAgent(t, to, { node });
      await near.logged(new RegExp(`^${digestOf(bytes)}$`));
      assert.equal(await near.ended, 0);
      assert.deepEqual(near.lines, [digestOf(bytes)]);
      await stopped(destination);
    });

    await t.test('a connection that the far side refuses is no success to who waits for it', async t => {
      const { sourceToken, destinationToken } = await house.open(undefined, ['digest', 'other']);
      const to = [...gate, ...service, '--token-file', tokenFile(destinationToken)];
      const destination = await startAgent(t, to, { node });
      const args = ['tunnel', 'connect', ...gate, '--token-file', tokenFile(sourceToken), '--stdio'];
      const near = await startAgentFile(t, [...args, '--service', 'other'], { node, stdin: 'pipe' });
      assert.equal(await near.ended, 6, near.lines.join('\n'));
      assert.match(near.lines.join('\n'), /the far side broke off the connection/);
      await stopped(destination);
    });

    await t.test('wrap puts TLS on and takes it off, and judges the certificate', async t => {
      const ca = makeCa('wrap');
      const { cert, key } = ca.issue({ cn: 'localhost', san: ['localhost'] });
      const folder = temporaryFolder('wrap');
      for (const [name, text] of Object.entries({ ca: ca.cert, cert, key })) writeFileSync(join(folder, name), text);
      const at = (name: string): string => join(folder, name);
      const off = await startAgentFile(
        t,
        [
          'wrap',
          '--listen',
          'tls://127.0.0.1:0',
          '--to',
          `tcp://127.0.0.1:${digest}`,
          '--cert',
          at('cert'),
          '--key',
          at('key'),
        ],
        { node },
      );
      const secure = await wrapping(off);
      const to = ['wrap', '--listen', 'tcp://127.0.0.1:0', '--to', `tls://localhost:${secure}`];
      const on = await startAgentFile(t, [...to, '--ca', at('ca')], { node });
      assert.equal(await ask(await wrapping(on), bytes), digestOf(bytes));
      const strict = await startAgentFile(t, to, { node });
      const refused = connect(await wrapping(strict), '127.0.0.1');
      refused.on('error', () => {}).resume();
      await once(refused, 'close');
      await strict.logged(/warn: .*certificate/);
      await Promise.all([on, off, strict].map(stopped));
    });
  });
}
