// A learning switch between ports, and no more: SecureNAT, filters and bridges refuse with a sentence.
import { Fault } from '../../core/fault.ts';
import type { CreateHub, HubPort, MacEntry, PortCounts, PortPolicy } from './hub.ts';

interface Plug {
  readonly port: HubPort;
  policy: PortPolicy;
  readonly counts: { up: number; down: number; upFrames: number; downFrames: number };
}

export const createHub: CreateHub = async (name, _options, { clock }) => {
  const plugs = new Set<Plug>();
  const macs = new Map<string, { plug: Plug; created: Date; updated: Date }>();
  const text = (bytes: Uint8Array): string => (Buffer.from(bytes).toString('hex').match(/../g) ?? []).join(':');
  const countsOf = ({ counts }: Plug): PortCounts => ({
    up: { unicastBytes: counts.up, unicastFrames: counts.upFrames, broadcastBytes: 0, broadcastFrames: 0 },
    down: { unicastBytes: counts.down, unicastFrames: counts.downFrames, broadcastBytes: 0, broadcastFrames: 0 },
    dropped: 0,
  });
  const pass = (from: Plug, frame: Uint8Array): void => {
    from.counts.up += frame.length;
    from.counts.upFrames++;
    const source = text(frame.subarray(6, 12));
    const now = clock.now();
    macs.set(source, { plug: from, created: macs.get(source)?.created ?? now, updated: now });
    const group = ((frame[0] ?? 0) & 1) === 1;
    const known = group ? undefined : macs.get(text(frame.subarray(0, 6)))?.plug;
    for (const to of known ? [known] : plugs) {
      if (to === from) continue;
      to.counts.down += frame.length;
      to.counts.downFrames++;
      to.port.send(frame);
    }
  };
  const missing = (): Promise<void> => Promise.reject(new Fault('invalid', 'this hub is a switch and nothing else'));
  return {
    name,
    attach(port, policy) {
      const plug: Plug = { port, policy, counts: { up: 0, down: 0, upFrames: 0, downFrames: 0 } };
      plugs.add(plug);
      port.receive(frame => pass(plug, frame));
      return {
        macs: () => [...macs].filter(([, entry]) => entry.plug === plug).map(([mac]) => mac),
        ips: () => [],
        counts: () => countsOf(plug),
        setPolicy(next) {
          plug.policy = next;
        },
        async [Symbol.asyncDispose]() {
          plugs.delete(plug);
          for (const [mac, entry] of macs) if (entry.plug === plug) macs.delete(mac);
        },
      };
    },
    counts: () => countsOf([...plugs][0] ?? ({ counts: { up: 0, down: 0, upFrames: 0, downFrames: 0 } } as Plug)),
    macTable: () =>
      [...macs].map(
        ([mac, { plug, created, updated }], index): MacEntry => ({
          ...{ key: index + 1, session: plug.policy.session, mac, vlan: 0, created, updated },
        }),
      ),
    ipTable: () => [],
    forgetMac: () => false,
    forgetIp: () => false,
    leases: () => [],
    natTable: () => [],
    ownPorts: () => [],
    setFilter() {},
    setNat: options => (options ? missing() : Promise.resolve()),
    setForward: rules => (rules.length > 0 ? missing() : Promise.resolve()),
    setBridge: device => (device === undefined ? Promise.resolve() : missing()),
    async [Symbol.asyncDispose]() {
      plugs.clear();
    },
  };
};
