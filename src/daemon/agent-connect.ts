// `tunnel connect` in the agent's file: the source side for a PC that has nothing but Node 18 and this one file.
import { Duplex } from 'node:stream';
import { parseArgs } from 'node:util';
import { formatAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { endpointOf, joinTunnel, type LocalService, proxyFor } from '../features/tunnel/local.ts';
import { machineRoots } from './agent-roots.ts';
import { parsePlace, readFile, readToken } from './agent-tunnel.ts';

/** Resolves when the tunnel is over. @throws Fault */
export async function connectTunnel(
  args: readonly string[],
  io: { readonly env: Readonly<Record<string, string | undefined>>; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { env, log, signal } = io;
  const { values } = parseArgs({
    args: [...args],
    options: {
      gate: { type: 'string' },
      region: { type: 'string' },
      'token-file': { type: 'string' },
      listen: { type: 'string', multiple: true },
      stdio: { type: 'boolean', default: false },
      service: { type: 'string' },
      ca: { type: 'string' },
    },
  });
  const { gate, region } = values;
  const place = { ...(gate === undefined ? {} : { endpoint: gate }), ...(region === undefined ? {} : { region }) };
  const { host, port } = endpointOf(place);
  const proxy = proxyFor(host, port, env);
  const stdio: Record<string, LocalService> = values.stdio
    ? { [values.service ?? '*']: { stream: Duplex.from({ readable: process.stdin, writable: process.stdout }) } }
    : {};
  const listen = Object.fromEntries((values.listen ?? []).flatMap(text => text.split(',')).map(pairOf));
  const services = values.stdio ? stdio : listen;
  const joined = await joinTunnel({
    ...place,
    ...(proxy === undefined ? {} : { proxy }),
    ...(values.ca === undefined ? {} : { ca: [readFile(values.ca, '--ca'), ...machineRoots()] }),
    ...(Object.keys(services).length > 0 ? { services } : {}),
    ...{ token: readToken(values['token-file'], env), mode: 'source', signal, log },
  });
  for (const [name, address] of Object.entries(joined.listening))
    if (!values.stdio) process.stdout.write(`${name || 'tunnel'} = ${formatAddress(address)}\n`);
  const end = await joined.ended;
  if (end.cause === 'refused') throw new Fault('denied', end.text);
  if (end.cause === 'broken') throw new Fault('unreachable', end.text);
}

/** `ssh=127.0.0.1:10022`, `ssh=10022`, `10022`. */
function pairOf(text: string): [string, LocalService] {
  const [, name = '*', rest = ''] = /^(?:([a-zA-Z0-9:_-]+)=)?(.+)$/.exec(text) ?? [];
  return [name, parsePlace(rest)];
}
