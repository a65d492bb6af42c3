// `wrap` in the agent's file: TLS put on or taken off around one address, on a machine that has nothing but Node 18.
import { isIP } from 'node:net';
import { formatAddress, parseListen, parseTarget } from '../core/address.ts';
import { Fault, isWeather, toFault } from '../core/fault.ts';
import type { Conn, Log, Metrics } from '../core/parts.ts';
import { splice } from '../net/splice.ts';
import { dialTcp, listenTcp } from '../net/tcp.ts';
import { type ClientTlsOptions, dialTls, upgradeTls } from '../net/tls.ts';
import { dialUnix } from '../net/unix.ts';
import { readFile } from './agent-tunnel.ts';

export interface AgentWrapOptions {
  readonly listen: string;
  readonly to: string;
  readonly ca?: string;
  readonly name?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly verify: boolean;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const patience = 20_000;
const metrics: Metrics = { count() {}, gauge() {}, observe() {} };

/** Resolves when the signal has ended it. @throws Fault `invalid`, `conflict` (the port) */
export async function wrapHere(options: AgentWrapOptions): Promise<void> {
  const { log, signal, cert, key, verify } = options;
  const from = parseListen(options.listen);
  const target = parseTarget(options.to);
  if (from.kind !== 'tcp' && from.kind !== 'tls')
    throw new Fault('invalid', '--listen is tcp://host:port or tls://host:port');
  if ((cert === undefined) !== (key === undefined)) throw new Fault('invalid', '--cert and --key belong together');
  const identity = cert && key ? { cert: readFile(cert, '--cert'), key: readFile(key, '--key') } : undefined;
  if (from.kind === 'tls' && !identity) throw new Fault('invalid', '--listen tls:// needs --cert and --key');
  if (!verify) log.warn({}, 'any certificate of the target is accepted: encrypted, but from whom?');
  const session = { tickets: true, cache: 0, timeout: 300_000 };
  const upgrade =
    from.kind === 'tls' && identity
      ? upgradeTls({ identities: [identity], session, context: 'wrap', handshake: patience })
      : undefined;
  const dial = dialler(options, target, from.kind === 'tcp' ? identity : undefined);
  const listener = await listenTcp({ host: from.host, port: from.port, log, metrics });
  signal.addEventListener('abort', () => void listener[Symbol.asyncDispose](), { once: true });
  log.info({ listen: formatAddress(listener.address), to: options.to }, 'wrapping');
  const serve = async (raw: Conn): Promise<void> => {
    try {
      const near = upgrade ? await upgrade(raw, AbortSignal.timeout(patience)) : raw;
      const far = await dial(signal);
      await splice(near, far, { signal, idle: 0, halfClose: true, count: () => {} });
      const end = AbortSignal.timeout(5000);
      await Promise.all([near.close(end), far.close(end)]);
    } catch (error) {
      if (!isWeather(error) && !signal.aborted) log.warn({ from: formatAddress(raw.peer) }, toFault(error).message);
      raw.stream.destroy();
    }
  };
  for await (const conn of listener) void serve(conn);
}

function dialler(
  { ca, name, verify }: AgentWrapOptions,
  target: ReturnType<typeof parseTarget>,
  identity: { readonly cert: string; readonly key: string } | undefined,
): (signal: AbortSignal) => Promise<Conn> {
  if (target.kind === 'unix') return signal => dialUnix({ path: target.path, timeout: patience }, signal);
  if (target.kind !== 'tcp' && target.kind !== 'tls') throw new Fault('invalid', '--to is tcp://, tls:// or unix:');
  const { host, port } = target;
  if (target.kind === 'tcp') return signal => dialTcp({ host, port, timeout: patience }, signal);
  const expected = name ?? host;
  const roots = ca === undefined ? {} : { ca: [readFile(ca, '--ca')] };
  // One object: net/tls-dial.ts makes its OpenSSL context once.
  const options: ClientTlsOptions = {
    ...{ host, port, connect: patience, handshake: patience },
    verify: verify ? { name: expected, ...roots } : false,
    ...(isIP(expected) === 0 ? { servername: expected } : {}),
    ...(identity ? { identity } : {}),
  };
  return signal => dialTls(options, signal);
}
