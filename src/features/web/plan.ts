// `web:` → everything that can be known before it runs: plain data, every mistake at its key.
import { Fault } from '../../core/fault.ts';
import type { WebConfig } from './config.ts';
import { compileHosts, type HostEntry, parseHostEntry } from './hosts.ts';

/** Where a mistake stands, `['web', 'forward', 'hosts', 'server1']`. */
interface Finding {
  readonly path: readonly (string | number)[];
  readonly text: string;
}

export interface ForwardPlan {
  readonly name?: string;
  readonly port?: number;
  readonly pac: { readonly path: string; readonly public: boolean; readonly direct: boolean };
  readonly entries: readonly HostEntry[];
  readonly resolver?: readonly string[];
  readonly identity: boolean | 'signed';
  readonly help?: string;
  /** Milliseconds. */
  readonly timeouts: {
    readonly connect: number;
    readonly read: number;
    readonly tunnel: number;
    readonly idle: number;
  };
  readonly limits: {
    readonly connections: number;
    readonly streams: number;
    readonly upstream: number;
    readonly header: number;
  };
  readonly warnings: readonly string[];
}

export interface WebPlan {
  readonly forward?: ForwardPlan;
}

const at = ['web', 'forward'] as const;
const ownPaths = new Set(['/check', '/v1', '/ca.pem', '/ca.crl']);

/** @throws Fault `invalid` with every mistake in its facts */
export function planWeb(config: WebConfig | undefined): WebPlan {
  if (!config?.forward) return {};
  const { forward } = config;
  const mistakes: Finding[] = [];
  const entries: HostEntry[] = [];
  for (const [key, to] of Object.entries(forward.hosts)) {
    try {
      entries.push(entryOf(key, to));
      compileHosts(entries);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      entries.splice(
        Math.max(
          0,
          entries.findIndex(entry => entry.key === key),
        ),
        1,
      );
      mistakes.push({ path: [...at, 'hosts', key], text: error.message });
    }
  }
  if (entries.length === 0 && mistakes.length === 0) {
    mistakes.push({ path: [...at, 'hosts'], text: 'name at least one host; without a map the proxy reaches nothing' });
  }
  const { pac } = forward;
  if (ownPaths.has(pac.path) || pac.path.startsWith('/v1/')) {
    mistakes.push({ path: [...at, 'pac', 'path'], text: `${pac.path} is used by the gate itself; choose another` });
  }
  if (forward.certificate !== undefined && forward.name === undefined) {
    mistakes.push({
      path: [...at, 'certificate'],
      text: 'this certificate is for a name of its own; write name, or use gate.certificate',
    });
  }
  if (mistakes.length > 0) {
    throw new Fault('invalid', mistakes.map(({ path, text }) => `${path.join('.')}: ${text}`).join('\n'), {
      facts: { mistakes },
    });
  }
  const { name, port, resolver, identity, help, timeouts, limits } = forward;
  return {
    forward: {
      ...(name === undefined ? {} : { name: name.toLowerCase() }),
      ...(port === undefined ? {} : { port }),
      ...(resolver === undefined ? {} : { resolver }),
      ...(help === undefined ? {} : { help }),
      ...{ entries, identity, timeouts, limits },
      pac: { path: pac.path, public: pac.public, direct: pac.fallback === 'direct' },
      warnings: pac.fallback === 'direct' ? [failsOpen] : [],
    },
  };
}

function entryOf(key: string, to: NonNullable<WebConfig['forward']>['hosts'][string]): HostEntry {
  const { to: place, 'sign-in': signIn } = to !== 'resolve' && 'to' in to ? to : { to };
  if (place !== 'resolve' && place.kind !== 'tcp') throw new Fault('invalid', 'write resolve or tcp://host:port');
  const entry = parseHostEntry(key, place === 'resolve' ? place : { host: place.host, port: place.port });
  return signIn === undefined ? entry : { ...entry, signIn: signIn.within };
}

const failsOpen =
  'web.forward.pac.fallback: browsers go round a gate that does not answer; names that exist elsewhere too are then asked elsewhere';
