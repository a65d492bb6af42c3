// Tunnels: source + gate + agent beside ssh -L doing the same job, in turn; and AWS's localproxy on both ends of a tunnel.
// npm run bench -- tunnel [--seconds 2] [--turns 5] [--rows PART]; LOCALPROXY=/path/to/localproxy for its rows
import { parseArgs } from 'node:util';
import type { Scope } from '../test/fixtures/gate-process.ts';
import { localproxyAt, withoutLocalproxy } from '../test/fixtures/localproxy.ts';
import { beside, turnOptions, turnsOf, type Way } from './beside.ts';
import { type LinkedGate, service, startLinkedGate, startService, startSource, startSsh } from './device-path.ts';
import { inScope } from './load.ts';

const { values: options } = parseArgs({ options: turnOptions });

await inScope(async scope => {
  const backend = await startService(scope);
  const linked = await startLinkedGate(scope, backend);
  const ways = [await startSsh(scope, '-L', backend), await startSource(scope, linked)];
  if (withoutLocalproxy) process.stdout.write(`left out: ${withoutLocalproxy}\n`);
  else ways.push(await startLocalproxies(scope, linked, backend));
  await beside(ways, turnsOf(options));
});

async function startLocalproxies(scope: Scope, linked: LinkedGate, backend: number): Promise<Way> {
  const here = localproxyAt(scope, linked);
  const { sourceToken, destinationToken } = await linked.call<Record<'sourceToken' | 'destinationToken', string>>(
    ...['tunnel', 'open', 'elsewhere', '--service', service],
  );
  const destination = await here.destination(destinationToken, { [service]: backend });
  const source = await here.source(sourceToken, [service]);
  return {
    name: 'localproxy, gate, localproxy',
    port: source.ports[service] ?? 0,
    pids: [source.pid, linked.gatePid, destination.pid],
  };
}
