// What the gate process itself listens on: `gate.listen`, `gate.http` and `gate.metrics`, which a reload changes by
// difference, and what other rooms ask for.
import { formatUrl, type ListenAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { Listener } from '../core/parts.ts';
import type { GateConfig } from './config.ts';
import { reallyAt } from './gateway-parts.ts';

export type GateKey = 'gate.listen' | 'gate.http' | 'gate.metrics';

export interface OwnListenersOptions {
  /** @throws Fault saying which address and what to do */
  readonly listen: (key: string, address: ListenAddress) => Promise<Listener>;
  /** Puts a listener to work; what is given back ends that and the listener, but no conn that is served as it should be. */
  readonly serve: Readonly<Record<GateKey, (listener: Listener) => AsyncDisposable>>;
}

export interface OwnListeners extends AsyncDisposable {
  /** All that are open, the gate's port first. The array itself changes. */
  readonly all: readonly Listener[];
  shown(): { name: string; listen: string }[];
  /** For others: stays until the end. */
  open(key: string, address: ListenAddress, name?: string): Promise<Listener>;
  /** Opens what the configuration has and is not open yet. @throws Fault; then everything is as it was */
  change(gate: GateConfig): Promise<Change>;
}

export interface Change {
  /** What is new is served, what is left over is closed. */
  commit(): void;
  /** As it was before. */
  undo(): Promise<void>;
}

interface Entry {
  readonly key: string;
  readonly name: string;
  readonly address: ListenAddress;
  readonly listener: Listener;
  served?: AsyncDisposable;
}

export function createOwnListeners({ listen, serve }: OwnListenersOptions): OwnListeners {
  const entries = new Set<Entry>();
  const all: Listener[] = [];
  /** In place: others hold the array. */
  const sort = (): void => {
    const [gate, rest] = [[...entries].filter(isGatePort), [...entries].filter(entry => !isGatePort(entry))];
    all.splice(0, all.length, ...[...gate, ...rest].map(({ listener }) => listener));
  };
  const add = async (key: string, name: string, address: ListenAddress): Promise<Entry> => {
    const entry: Entry = { key, name, address, listener: await listen(key, address) };
    entries.add(entry);
    sort();
    return entry;
  };
  const close = async (entry: Entry): Promise<void> => {
    entries.delete(entry);
    sort();
    await (entry.served ?? entry.listener)[Symbol.asyncDispose]();
  };
  const work = (entry: Entry): void => {
    if (isGateKey(entry.key)) entry.served = serve[entry.key](entry.listener);
  };

  return {
    all,
    shown: () =>
      [...entries].map(({ name, address, listener }) => ({ name, listen: formatUrl(reallyAt(address, listener)) })),
    open: async (key, address, name = key) => (await add(key, name, address)).listener,
    async change(gate) {
      const wanted = wantedBy(gate);
      const have = [...entries].filter(({ key }) => isGateKey(key));
      const fresh = wanted.filter(one => !have.some(other => isSame(one, other)));
      const gone = have.filter(one => !wanted.some(other => isSame(one, other)));
      const added: Entry[] = [];
      const early: Entry[] = [];
      const undo = async (): Promise<void> => {
        for (const entry of added) await close(entry);
        for (const { key, name, address } of early) work(await add(key, name, address));
      };
      try {
        for (const { key, name, address } of fresh) {
          try {
            added.push(await add(key, name, address));
          } catch (error) {
            // 127.0.0.1:443 and 0.0.0.0:443 are in each other's way: the old one has to let go first.
            const rivals = gone.filter(one => !early.includes(one) && portOf(one) === portOf({ address }));
            if (!(error instanceof Fault) || error.code !== 'conflict' || rivals.length === 0) throw error;
            early.push(...rivals);
            for (const rival of rivals) await close(rival);
            added.push(await add(key, name, address));
          }
        }
      } catch (error) {
        await undo();
        throw error;
      }
      return {
        commit() {
          for (const entry of added) work(entry);
          for (const entry of gone) if (!early.includes(entry)) void close(entry);
        },
        undo,
      };
    },
    async [Symbol.asyncDispose]() {
      for (const entry of [...entries].reverse()) await close(entry);
    },
  };
}

const gateKeys = ['gate.listen', 'gate.http', 'gate.metrics'] as const satisfies readonly GateKey[];
const isGateKey = (key: string): key is GateKey => (gateKeys as readonly string[]).includes(key);
const isGatePort = ({ key }: Entry): boolean => key === 'gate.listen';
const portOf = ({ address }: Pick<Entry, 'address'>): number | undefined =>
  'port' in address && address.port !== 0 ? address.port : undefined;
const isSame = (one: Pick<Entry, 'key' | 'address'>, other: Pick<Entry, 'key' | 'address'>): boolean =>
  one.key === other.key && formatUrl(one.address) === formatUrl(other.address);

const wantedBy = ({ listen, http, metrics }: GateConfig): Pick<Entry, 'key' | 'name' | 'address'>[] => [
  ...listen.map(address => ({ key: 'gate.listen', name: 'gate', address })),
  ...(http ? [{ key: 'gate.http', name: 'gate.http', address: http }] : []),
  ...(metrics ? [{ key: 'gate.metrics', name: 'gate.metrics', address: metrics }] : []),
];
