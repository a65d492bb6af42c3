// The hub: frames a second through the switch alone, and bytes through the NAT and between two members with kernels at
// both ends (TAP). `node bench/vpn.ts [seconds]`; the second part needs root, iproute2, Perl and iperf3.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { systemClock } from '../src/core/clock.ts';
import type { FilterRule, HubPort, SecurityPolicy } from '../src/features/vpn/hub.ts';
import { defaultSecurity } from '../src/features/vpn/softether/policy.ts';
import { Switch } from '../src/features/vpn/switch/switch.ts';
import { encodeEthernet } from '../src/wire/ethernet.ts';
import { encodeIpv4 } from '../src/wire/ipv4.ts';
import { encodeTcp } from '../src/wire/tcp.ts';
import { openHubLab, whyNoHubLab } from '../test/fixtures/hub-lab.ts';
import { serving } from '../test/fixtures/programs.ts';
import { memoryLog, memoryMetrics } from '../test/fixtures/quiet.ts';

const seconds = Number(process.argv[2] ?? 4);
const batch = 64;

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

/** Connects 200 times and prints the median in milliseconds: SYN, the NAT's own dial, SYN-ACK. */
const roundTrips = `
use strict; use Socket; use Time::HiRes 'time'; my @t;
for (1 .. 200) {
  socket(my $s, AF_INET, SOCK_STREAM, 0); my $from = time;
  connect($s, pack_sockaddr_in(5201, inet_aton($ARGV[0]))) or next; push @t, (time - $from) * 1000; close $s;
}
@t = sort { $a <=> $b } @t; printf "%.2f", $t[@t / 2];
`;

// --- With kernels ---------------------------------------------------------------------------------------------------

const reason = whyNoHubLab();
if (reason) console.log(`the rest is left out: ${reason}`);
else await withKernels();

async function withKernels(): Promise<void> {
  await using lab = await openHubLab('vpnbench');
  const [a, b] = [await lab.member({ address: '192.168.30.11/24' }), await lab.member({ address: '192.168.30.12/24' })];
  await using _far = await serving(
    lab.target.prefix[0]!,
    [...lab.target.prefix.slice(1), 'iperf3', '-s', '--forceflush'],
    /listening/,
  );
  await using _near = await serving(b.prefix[0]!, [...b.prefix.slice(1), 'iperf3', '-s', '--forceflush'], /listening/);
  console.log('\nthrough TAP                          Mbit/s   CPU s/GB: ours   its Perl pumps   RSS MB');
  for (const [name, host, args] of [
    ['NAT, 1 stream up', lab.target.host, []],
    ['NAT, 1 stream down', lab.target.host, ['-R']],
    ['NAT, 4 streams up', lab.target.host, ['-P', '4']],
    ['NAT, 4 streams down', lab.target.host, ['-P', '4', '-R']],
    ['NAT, 8 streams both ways', lab.target.host, ['-P', '8', '--bidir']],
    ['member to member, 1 stream', '192.168.30.12', []],
    ['member to member, 4 streams', '192.168.30.12', ['-P', '4']],
  ] as const) {
    const [own, pumps] = [process.cpuUsage(), pumpSeconds()];
    const { stdout } = await a.run('iperf3', '-J', '-c', host, '-t', String(seconds), ...args);
    const used = process.cpuUsage(own);
    const sum = (JSON.parse(stdout) as { end: Record<string, { bytes: number; bits_per_second: number }> }).end;
    const ways = [sum['sum_received'], sum['sum_received_bidir_reverse']].filter(way => way !== undefined);
    const gigabytes = ways.reduce((total, { bytes }) => total + bytes, 0) / 1e9;
    const speed = ways.map(({ bits_per_second: bits }) => (bits / 1e6).toFixed(0)).join('+');
    const cpu = ((used.user + used.system) / 1e6 / gigabytes).toFixed(2);
    const perl = ((pumpSeconds() - pumps) / gigabytes).toFixed(2);
    const rss = (process.memoryUsage().rss / 1e6).toFixed(0);
    console.log(`${name.padEnd(34)}${speed.padStart(9)}${cpu.padStart(17)}${perl.padStart(17)}${rss.padStart(9)}`);
  }
  const trips = await a.run('perl', '-e', roundTrips, lab.target.host);
  console.log(`NAT, new connection p50: ${trips.stdout.trim()} ms`);
}

/** CPU seconds of the processes that move frames between TAP devices and us. */
function pumpSeconds(): number {
  const tick = Number(execFileSync('getconf', ['CLK_TCK']).toString());
  let total = 0;
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      if (
        !readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith(
          'perl\0-e\0\nuse strict; use Socket; use Fcntl;\nmy ($name',
        )
      )
        continue;
      const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/^.*\) /, '')
        .split(' ');
      total += (Number(fields[11]) + Number(fields[12])) / tick;
    } catch {
      // it has ended meanwhile
    }
  }
  return total;
}
