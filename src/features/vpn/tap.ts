// A local bridge: a TAP device as a port of a hub. The device is opened by a small Perl process (perl-base is part of
// every Debian), since Node has no ioctl; it moves frames between the device and a pipe, away from our thread.
// Why this and not a native module: docs/decisions/0005-tap-by-perl.md.
//
//   pipe, both ways:   | length 4 | virtio_net_hdr 10 | frame |     first of all from the device:  | length 4 | 0 10 | MAC 6 | name |
//   What the headers say: to-kernel.ts and from-kernel.ts.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Fault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';
import { formatMac } from '../../wire/ethernet.ts';
import { FromKernel } from './from-kernel.ts';
import type { HubPort } from './hub.ts';
import { encodeForKernel } from './to-kernel.ts';
import { takeBuffer, writeBuffer } from './write-buffers.ts';

export interface TapOptions {
  /** At most 15 characters; made if it does not exist, and then gone when the port is. */
  readonly device: string;
  /** Bytes of an IP packet; default 1500. */
  readonly mtu?: number;
  readonly log: Log;
}

export interface TapPort extends HubPort {
  readonly device: string;
  readonly mac: string;
  /** Resolves when the device is gone, and says why. */
  readonly ended: Promise<string>;
}

/** Bytes that may wait for the device; what comes then is dropped, as a full transmit queue would. */
const ahead = 4 * 1024 * 1024;

/** @throws Fault `invalid` */
export function checkDevice(device: string): void {
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(device) || device === '.' || device === '..') {
    throw new Fault(
      'invalid',
      `"${device}" is not a name for a network device: at most 15 letters, digits, "_", "-", "."`,
    );
  }
}

/** @throws Fault `unreachable` where Perl, /dev/net/tun or the right is missing; `invalid` for a name that is none */
export async function openTap({ device, mtu = 1500, log }: TapOptions): Promise<TapPort> {
  checkDevice(device);
  const child = spawn('perl', ['-e', pump, device, String(mtu)], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    if (complaint.length < 1000) complaint += text.toString();
  });
  const ended = Promise.race([
    once(child, 'close').then(() => complaint.trim() || 'the process ended'),
    once(child, 'error').then(([error]) => (error as Error).message),
  ]).catch((error: Error) => error.message);
  const port = new Tap(child, log);
  const hello = await Promise.race([port.hello, ended]);
  if (typeof hello === 'string') {
    throw new Fault(
      'unreachable',
      `the TAP device ${device} cannot be opened: ${hello}; it needs Perl, /dev/net/tun and the right CAP_NET_ADMIN`,
    );
  }
  return Object.assign(port, { device: hello.name, mac: formatMac(hello.mac), ended });
}

class Tap implements HubPort {
  readonly name: string;
  readonly hello: Promise<{ name: string; mac: Uint8Array }>;
  readonly #child: ChildProcess;
  readonly #log: Log;
  #deliver: ((frames: readonly Uint8Array[]) => void) | undefined;
  #greet: (hello: { name: string; mac: Uint8Array }) => void = () => {};
  #state: 'greeting' | 'open' | 'closed' = 'greeting';
  readonly #reader = new FromKernel();

  constructor(child: ChildProcess, log: Log) {
    this.#child = child;
    this.#log = log;
    this.name = `tap-${child.pid ?? 0}`;
    this.hello = new Promise(resolve => {
      this.#greet = resolve;
    });
    child.stdout?.on('data', (chunk: Buffer) => this.#read(chunk));
    for (const stream of [child.stdin, child.stdout, child]) stream?.on('error', error => this.#failed(error));
  }

  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = frames => {
      for (const frame of frames) deliver(frame);
    };
  }
  receiveBatch(deliver: (frames: readonly Uint8Array[]) => void): void {
    this.#deliver = deliver;
  }
  send(frame: Uint8Array): boolean {
    return this.sendBatch([frame]) === 1;
  }
  sendBatch(frames: readonly Uint8Array[]): number {
    const pipe = this.#child.stdin;
    if (this.#state !== 'open' || !pipe || pipe.destroyed || pipe.writableLength > ahead) return 0;
    writeBuffer(pipe, encodeForKernel(frames, takeBuffer));
    return frames.length;
  }
  backlog(): number {
    return (this.#child.stdin?.writableLength ?? 0) / ahead;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'closed';
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const gone = once(child, 'close');
    child.stdin?.end();
    child.stdout?.resume();
    await gone;
  }

  #read(chunk: Buffer): void {
    try {
      this.#take(this.#reader.read(chunk));
    } catch (error) {
      this.#failed(error as Error);
      this.#child.kill();
    }
  }
  #take(frames: readonly Uint8Array[]): void {
    if (frames.length === 0) return;
    if (this.#state === 'open') this.#deliver?.(frames);
    if (this.#state !== 'greeting') return;
    const hello = frames[0]!;
    this.#state = 'open';
    this.#greet({ name: Buffer.from(hello.subarray(6)).toString('latin1'), mac: hello.slice(0, 6) });
    if (frames.length > 1) this.#deliver?.(frames.slice(1));
  }
  #failed(error: Error): void {
    if (this.#state !== 'closed') this.#log.debug({ error }, 'the pipe to a TAP device broke');
    this.#state = 'closed';
  }
}

/**
 * One process for both ways: what the kernel answers at once (ACKs, echoes) is there when the frames that asked for it are
 * written, so nobody has to be woken for it. When our end of the pipe closes it ends, and the device goes.
 *
 * 0x400454ca TUNSETIFF (IFF_TAP 2, IFF_NO_PI 0x1000, IFF_VNET_HDR 0x4000: ten bytes before each frame), 0x400454dc
 * TUNSETVNETLE (those are little-endian), 0x400454d0 TUNSETOFFLOAD (TUN_F_CSUM 1, TUN_F_TSO4 2, TUN_F_TSO6 4), 0x8913/0x8914 SIOC[GS]IFFLAGS, 0x8922 SIOCSIFMTU, 0x8927 SIOCGIFHWADDR.
 */
const pump = `
use strict; use Socket; use Fcntl;
my ($name, $mtu) = @ARGV;
sub fail { print STDERR "$_[0]: $!\\n"; exit 1 }
sysopen(my $tap, '/dev/net/tun', O_RDWR | O_NONBLOCK) or fail('/dev/net/tun');
my $request = pack('a16 S x22', $name, 0x5002);
ioctl($tap, 0x400454ca, $request) or fail('TUNSETIFF');
my $little = pack('i', 1);
ioctl($tap, 0x400454dc, $little) or fail('TUNSETVNETLE');
ioctl($tap, 0x400454d0, 7) or fail('TUNSETOFFLOAD');
$name = unpack('Z16', $request);
socket(my $s, AF_INET, SOCK_DGRAM, 0) or fail('socket');
my $arg = pack('a16 i x20', $name, $mtu);
ioctl($s, 0x8922, $arg) or fail('SIOCSIFMTU');
$arg = pack('a16 x24', $name);
ioctl($s, 0x8913, $arg) or fail('SIOCGIFFLAGS');
my $flags = unpack('x16 S', $arg);
$arg = pack('a16 S x22', $name, $flags | 1);
ioctl($s, 0x8914, $arg) or fail('SIOCSIFFLAGS');
$arg = pack('a16 x24', $name);
ioctl($s, 0x8927, $arg) or fail('SIOCGIFHWADDR');
my $mac = substr($arg, 18, 6);
binmode STDIN; binmode STDOUT;
syswrite(STDOUT, pack('N x10', 6 + length $name) . $mac . $name);
my $bits = ''; vec($bits, fileno($tap), 1) = 1; vec($bits, fileno(STDIN), 1) = 1;
my ($out, $buf) = ('', '');
for (;;) {
  my $ready = $bits;
  next if select($ready, undef, undef, undef) < 1;
  if (vec($ready, fileno(STDIN), 1)) {
    my $got = sysread(STDIN, $buf, 262144, length $buf);
    next if !defined $got && $!{EINTR};
    last unless $got;
    my ($at, $len) = (0, length $buf);
    while ($at + 4 <= $len) {
      my $size = unpack('N', substr($buf, $at, 4));
      last if $at + 14 + $size > $len;
      syswrite($tap, $buf, $size + 10, $at + 4);
      $at += 14 + $size;
    }
    substr($buf, 0, $at, '');
  }
  $out = '';
  while (length($out) < 200000) {
    my $at = length $out;
    my $got = sysread($tap, $out, 66000, $at + 4);
    if (!defined $got) {
      exit 1 unless $!{EAGAIN} || $!{EINTR};
      $out = substr($out, 0, $at);
      last;
    }
    substr($out, $at, 4) = pack('N', $got - 10);
  }
  my $at = 0;
  while ($at < length $out) {
    my $sent = syswrite(STDOUT, $out, length($out) - $at, $at);
    if (!defined $sent) { next if $!{EINTR}; exit 0; }
    $at += $sent;
  }
}
`;
