// The hub: frames a second through the switch alone, then everything beside Debian's vpnserver (vpn-beside.ts).
// `node bench/vpn.ts [--seconds 4] [--turns 3]`; the second part needs root, iproute2, Perl, iperf3, and SoftEther's packages.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { systemClock } from '../src/core/clock.ts';
import type { FilterRule, HubPort, SecurityPolicy } from '../src/features/vpn/hub.ts';
import { defaultSecurity } from '../src/features/vpn/softether/policy.ts';
import { Switch } from '../src/features/vpn/switch/switch.ts';
import { encodeEthernet } from '../src/wire/ethernet.ts';
import { encodeIpv4 } from '../src/wire/ipv4.ts';
import { encodeTcp } from '../src/wire/tcp.ts';
import { whyNoHubLab } from '../test/fixtures/hub-lab.ts';
import { memoryLog, memoryMetrics } from '../test/fixtures/quiet.ts';
import { besideSoftEther } from './vpn-beside.ts';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    turns: { type: 'string', default: '3' },
    rows: { type: 'string', multiple: true, default: [] }, // parts of names: "TAP", "SecureNAT 1 stream up", "switch", "idle"
    subject: { type: 'string', multiple: true, default: [] },
    before: { type: 'string' }, // the folder of another checkout, measured in the same turns
  },
});
const seconds = Number(options.seconds);
const batch = 64;
const isHere = (program: string): boolean => spawnSync('which', [program]).status === 0;

// --- The switch alone -----------------------------------------------------------------------------------------------

const segment = (from: number, to: number, size: number): Uint8Array => {
  const [source, target] = [0x0a000000 + from, 0x0a000000 + to];
  const ports = { sourcePort: 1000 + from, targetPort: 80, sequence: 1, acknowledgement: 1, window: 1 };
  const payload = encodeTcp({ ...ports, flags: 16, options: {}, payload: new Uint8Array(size - 54) }, source, target);
  const fixed = { ttl: 64, id: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 };
  return encodeEthernet({
    target: Uint8Array.of(2, 0, 0, 0, 0, to),
    source: Uint8Array.of(2, 0, 0, 0, 0, from),
    type: 0x0800,
    payload: encodeIpv4({ source, target, protocol: 6, ...fixed, payload }),
  });
};

/** Millions of frames a second from port to port, all ports sending to their neighbours in turn. */
async function switchAlone(
  ports: number,
  size: number,
  security: Partial<SecurityPolicy>,
  filter: FilterRule[],
): Promise<{ rate: number; garbage: number }> {
  const net = new Switch('bench', { clock: systemClock, log: memoryLog(), metrics: memoryMetrics() });
  net.setFilter(filter);
  let received = 0;
  const inputs: ((frames: readonly Uint8Array[]) => void)[] = [];
  const batches: Uint8Array[][] = [];
  for (let index = 0; index < ports; index++) {
    const port: HubPort = {
      name: `p${index}`,
      send: () => true,
      sendBatch(frames) {
        received += frames.length;
        return frames.length;
      },
      receive() {},
      receiveBatch: deliver => void inputs.push(deliver),
      async [Symbol.asyncDispose]() {},
    };
    const policy = { kind: 'member', session: `s${index}`, user: `u${index}`, groups: [] } as const;
    net.plug(port, { ...policy, security: { ...defaultSecurity, ...security } });
    batches.push(Array.from({ length: batch }, () => segment(index, (index + 1) % ports, size)));
  }
  const round = (): Promise<void> => {
    for (let index = 0; index < ports; index++) inputs[index]!(batches[index]!);
    return new Promise(resolve => setImmediate(resolve));
  };
  for (let warm = 0; warm < 2000; warm++) await round();
  received = 0;
  const heap = process.memoryUsage().heapUsed;
  let garbage = 0;
  const start = performance.now();
  for (let rounds = 0; performance.now() - start < seconds * 500; rounds++) {
    await round();
    if (rounds === 20) garbage = (process.memoryUsage().heapUsed - heap) / received;
  }
  return { rate: received / ((performance.now() - start) * 1000), garbage };
}

const lines: FilterRule[] = Array.from({ length: 20 }, (_, index) => ({
  priority: index,
  action: 'discard',
  protocol: 'tcp',
  to: `10.9.${index}.0/24`,
  toPort: [1000 + index, 1000 + index],
}));
async function measureSwitch(): Promise<void> {
  console.log('switch alone                                        million frames/s   bytes of heap a frame');
  for (const [name, ports, size, security, filter] of [
    ['2 ports, 64 bytes', 2, 64, {}, []],
    ['2 ports, 1,514 bytes', 2, 1514, {}, []],
    ['64 ports, 1,514 bytes', 64, 1514, {}, []],
    [
      '2 ports, every check and 20 lines of access list',
      2,
      1514,
      { checkMac: true, checkIp: true, noBridge: true, noRouting: true, raFilter: true, dhcpNoServer: true },
      lines,
    ],
  ] as const) {
    const { rate, garbage } = await switchAlone(ports, size, security, [...filter]);
    console.log(`${name.padEnd(52)}${rate.toFixed(2).padStart(16)}${garbage.toFixed(1).padStart(24)}`);
  }
}

if (options.rows.length === 0 || options.rows.includes('switch')) await measureSwitch();
const reason = whyNoHubLab() ?? (isHere('vpnserver') ? undefined : 'softether-vpnserver is not installed');
if (reason) console.log(`the rest is left out: ${reason}`);
else
  await besideSoftEther({
    ...{ seconds, turns: Number(options.turns), members: 200 },
    rows: options.rows,
    subjects: options.subject,
    before: options.before,
  });
