// Devices: gate + agent beside ssh -L doing the same job, in turn; then what 1,000 idle devices and an idle agent cost.
// npm run bench -- device [--seconds 2] [--turns 5] [--rows PART] [--idle 1000] [--agent-node /usr/bin/node]
// --turns 0: only the idle ones, in a fresh gate
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { parseArgs } from 'node:util';
import { makeRequest, newDeviceKey } from '../src/features/device/agent/csr.ts';
import { serveLink } from '../src/features/device/agent/serve-link.ts';
import { makeConn } from '../src/net/conn.ts';
import { freePorts } from '../test/fixtures/gate-process.ts';
import { beside, turnOptions, turnsOf } from './beside.ts';
import { device, type LinkedGate, service, startLinkedGate, startService, startSsh } from './device-path.ts';
import { inScope } from './load.ts';
import { cpuSeconds, memory } from './machine.ts';

const { values: options } = parseArgs({
  options: {
    ...turnOptions,
    idle: { type: 'string', default: '1000' },
    'agent-node': { type: 'string', default: process.execPath },
  },
});

await inScope(async scope => {
  const backend = await startService(scope);
  const [own = 0] = await freePorts(1);
  const route = `proxy: { link: { listen: "tcp://127.0.0.1:${own}", to: "device://${device}/${service}" } }`;
  const linked = await startLinkedGate(scope, backend, route, options['agent-node']);
  const ways = [
    await startSsh(scope, '-L', backend),
    { name: 'Sekisho: gate, agent', port: own, pids: [linked.gatePid, linked.agentPid] },
  ];
  if (Number(options.turns) > 0) await beside(ways, turnsOf(options));
  if (Number(options.idle) > 0) await measureIdle(linked, Number(options.idle));
});
process.exit(); // the idle devices of this process have nobody left to talk to

/** Devices of this process, each with a certificate of its own; what the gate grew by is divided by their number. */
async function measureIdle(linked: LinkedGate, idle: number): Promise<void> {
  const { agentPid, gatePid, port, gate } = linked;
  const hasWorked = Number(options.turns) > 0;
  const [when, idleFor] = hasWorked ? [' after the rows above', 5] : ['', 60];
  if (!hasWorked) await new Promise(resolve => setTimeout(resolve, 5000)); // its start is not its rest
  const spent = cpuSeconds(agentPid);
  await new Promise(resolve => setTimeout(resolve, idleFor * 1000));
  process.stdout.write(
    `\nidle agent: ${(memory(agentPid) / 1024 / 1024).toFixed(0)} MB RSS${when}, ${(((cpuSeconds(agentPid) - spent) / idleFor) * 100).toFixed(2)} % CPU in ${idleFor} s\n`,
  );
  const names = Array.from({ length: idle + 20 }, (_, n) => `d${n}`);
  const own: Identity[] = [];
  for (const name of names) own.push(await enrolled(join(gate.data, 'sekisho.sock'), name));
  const quiet = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
  const requests = {
    hello: () => ({ version: '0', node: '0', platform: '', services: {} }),
    renew: async () => '',
    identity() {},
  };
  const linkUp = async (identity: Identity): Promise<void> => {
    const socket = tlsConnect({
      ...identity,
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ['sekisho-device'],
    });
    await once(socket, 'secureConnect');
    serveLink(makeConn(socket, { peer: { host: '', port: 0 } }), {
      services: { find: () => undefined, all: () => ({}) },
      requests,
      log: quiet,
    });
  };
  for (const identity of own.slice(0, 20)) await linkUp(identity);
  await new Promise(resolve => setTimeout(resolve, 2000));
  const before = { untouched: memory(gatePid), ...(await linked.memory()) };
  for (const identity of own.slice(20)) await linkUp(identity);
  await new Promise(resolve => setTimeout(resolve, 3000));
  const untouched = memory(gatePid);
  const after = { untouched, ...(await linked.memory()) };
  const each = (key: keyof typeof after): string => ((after[key] - before[key]) / 1024 / idle).toFixed(1);
  process.stdout.write(
    `${idle} idle devices, kB of gate memory each: ${each('untouched')}; after a collection of garbage ${each('total')}, of which JavaScript heap ${each('heapUsed')} (${each('asItIs')} before it), external ${each('external')}\n`,
  );
}

interface Identity {
  readonly cert: string;
  readonly key: string;
}
/** Over the gate's own socket: a thousand command lines would take longer than all the rest. */
async function enrolled(socketPath: string, name: string): Promise<Identity> {
  const key = await newDeviceKey(); // P-256, as the agent makes it: a thousand RSA keys would take minutes
  const body = JSON.stringify({ name, csr: makeRequest(key, name) });
  const headers = { host: 'localhost', 'content-type': 'application/json', 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path: '/v1/devices', method: 'POST', headers }, answer => {
      let text = '';
      answer.on('data', chunk => {
        text += chunk;
      });
      answer.on('end', () => {
        const { issued } = JSON.parse(text) as { issued: { cert: string; chain: string[] } };
        resolve({
          cert: issued.cert + issued.chain.join(''),
          key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
        });
      });
    });
    asking.on('error', reject).end(body);
  });
}
