// OpenVPN's real client through a hub of ours, and through OpenVPN's own server: `node bench/openvpn.ts [seconds] [turns]`.
// tun over UDP with AES-256-GCM to both; the page beyond is iperf3 beside the servers. Ours carries TCP in user space (no
// root, and the gate asked for each flow), theirs in the kernel. Needs root, iproute2, iperf3 and openvpn.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { makeCa } from '../test/fixtures/certificates.ts';
import { runSekisho, startGate } from '../test/fixtures/gate-process.ts';
import { isUp, startOpenVpn, whyNoOpenVpn } from '../test/fixtures/openvpn-client.ts';
import { run, serving } from '../test/fixtures/programs.ts';
import { inside, layLine } from '../test/lab/namespaces.ts';
import { inScope, median } from './load.ts';
import { cpuSeconds, describeMachine } from './machine.ts';

const [seconds = '3', turns = '3'] = process.argv.slice(2);
const web = '10.0.1.26';
const rows = { up: [], down: ['-R'], 'up, 4 streams': ['-P', '4'], 'down, 4 streams': ['-P', '4', '-R'] } as const;
const reason = whyNoOpenVpn();
if (reason) console.log(`left out: ${reason}`);
else
  await inScope(async scope => {
    const t = Object.assign(scope, { diagnostic: () => {} });
    const line = await layLine(t);
    const { left, right, rightHost: host } = line;
    execFileSync('ip', ['-n', right, 'addr', 'add', `${web}/32`, 'dev', 'lo']);
    await using _iperf = await serving('ip', [...inside(right).slice(1), 'iperf3', '-s', '--forceflush'], /listening/);
    const gate = await startGate(t, {
      config: `gate: { name: gate.test, listen: "tls://0.0.0.0:443", workers: 0 }
vpn:
  openvpn: { listen: "udp://0.0.0.0:1194" }
  hubs:
    lab: { nat: { address: 192.168.30.1/24, dhcp: { range: 192.168.30.10-192.168.30.99, routes: [ 10.0.1.0/24 ] } } }
`,
      under: inside(right),
    });
    const say = async (input: string, ...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await runSekisho([...args, '--data', gate.data], { input });
      if (status !== 0) throw new Error(stderr);
      return stdout;
    };
    await say('correct horse\n', 'vpn', 'user', 'add', 'lab/alice', '--plain-only');
    const profile = await say('', 'vpn', 'openvpn', 'lab');

    const ca = makeCa('OpenVPN bench');
    const [own, member] = [ca.issue({ san: ['gate.test'] }), ca.issue({ cn: 'alice', client: true })];
    const theirs = spawn(
      'ip',
      [
        ...inside(right).slice(1),
        ...['openvpn', '--dev', 'tun9', '--dev-type', 'tun', '--proto', 'udp', '--port', '1195', '--dh', 'none'],
        ...['--server', '192.168.31.0', '255.255.255.0', '--topology', 'subnet', '--push', `route ${web}`],
        ...['--ca', ca.certFile, '--cert', own.certFile, '--key', own.keyFile, '--data-ciphers', 'AES-256-GCM'],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let said = '';
    theirs.stdout.on('data', text => {
      said += text;
    });
    t.after(() => theirs.kill('SIGKILL'));
    while (!isUp.test(said)) await once(theirs.stdout, 'data');
    const inline = (name: string, text: string): string => `<${name}>\n${text}</${name}>\n`;
    const theirProfile = `client\nnobind\nremote-cert-tls server\n${inline('ca', ca.cert)}${inline('cert', member.cert)}${inline('key', member.key)}`;
    const subjects = [
      {
        name: 'Sekisho',
        pid: gate.child.pid ?? 0,
        port: 1194,
        profile,
        login: { user: 'alice', password: 'correct horse' },
      },
      { name: 'openvpn', pid: theirs.pid ?? 0, port: 1195, profile: theirProfile },
    ];
    const samples = new Map<string, Map<string, number[]>>();
    const add = (row: string, name: string, value: number): void => {
      const values = samples.get(row) ?? new Map<string, number[]>();
      samples.set(row, values);
      values.set(name, [...(values.get(name) ?? []), value]);
    };
    const there = inside(left).slice(1);
    for (let turn = -1; turn < Number(turns); turn++)
      for (const { name, pid, port, ...more } of subjects) {
        const remote = { host, port, proto: 'udp' } as const;
        const client = startOpenVpn(t as never, { namespace: left, device: 'tun0', remote, ...more });
        await client.said(isUp);
        const ping = await run('ip', [
          ...there,
          'ping',
          '-c',
          '100',
          '-i',
          '0.01',
          name === 'openvpn' ? '192.168.31.1' : '192.168.30.1',
        ]);
        const times = [...ping.stdout.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms));
        if (turn >= 0) add('ping p50, ms', name, median(times));
        for (const [row, args] of Object.entries(rows)) {
          const before = cpuSeconds(pid);
          const { stdout } = await run('ip', [
            ...there,
            'iperf3',
            '-J',
            '-c',
            web,
            '-t',
            turn < 0 ? '2' : seconds,
            ...args,
          ]);
          const { bytes, bits_per_second: bits } = JSON.parse(stdout).end.sum_received;
          if (turn < 0) continue; // the compiler's turn
          add(`${row}, Mbit/s`, name, bits / 1e6);
          add(`${row}, CPU s/GB`, name, (cpuSeconds(pid) - before) / (bytes / 1e9));
        }
        await client.stop();
      }
    console.log(`\n${describeMachine()}; ${turns} turns of ${seconds} s, load ${loadavg()[0]?.toFixed(1)}`);
    console.log('| | Sekisho | openvpn | ratio |\n|---|---|---|---|');
    for (const [row, values] of samples) {
      const [mine = [], other = []] = [values.get('Sekisho'), values.get('openvpn')];
      const ratio = median(mine.map((value, at) => value / (other[at] ?? Number.NaN)));
      console.log(`| ${row} | ${median(mine).toFixed(2)} | ${median(other).toFixed(2)} | ${ratio.toFixed(2)} |`);
    }
  });
