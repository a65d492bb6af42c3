// Echo (ping) beyond the hub. Node has no ICMP, so a small Perl process asks in our place, as for the TAP: with an ICMP
// datagram socket, which needs no root where net.ipv4.ping_group_range allows it, or else a raw one. Where neither is
// to be had there is no answer.
//
//   to it, a line:   id address bytes\n        from it:   id\n   when the answer has come
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Echoes under way: of all, and of one asker. */
const most = { all: 256, ofAsker: 16 } as const;
/** Milliseconds. */
const patience = 3000;
/** Milliseconds without an echo until the process is sent home. */
const idle = 60_000;

export class Echo implements Disposable {
  readonly #askers = new Map<unknown, number>();
  readonly #waiting = new Map<number, (answered: boolean) => void>();
  #child: ChildProcess | undefined;
  #state: 'works' | 'absent' = 'works';
  #id = 0;
  #rest: NodeJS.Timeout | undefined;

  /** Whether the host answers to an echo with so many bytes of data. */
  async ask(host: string, size: number, asker: unknown): Promise<boolean> {
    const own = this.#askers.get(asker) ?? 0;
    if (this.#state === 'absent' || this.#waiting.size >= most.all || own >= most.ofAsker) return false;
    this.#askers.set(asker, own + 1);
    try {
      return await this.#send(host, size);
    } finally {
      const left = (this.#askers.get(asker) ?? 1) - 1;
      if (left > 0) this.#askers.set(asker, left);
      else this.#askers.delete(asker);
    }
  }
  [Symbol.dispose](): void {
    clearTimeout(this.#rest);
    this.#child?.stdin?.end();
    this.#child = undefined;
    for (const done of this.#waiting.values()) done(false);
  }

  #send(host: string, size: number): Promise<boolean> {
    const child = this.#start();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this[Symbol.dispose](), idle).unref();
    this.#id = (this.#id + 1) % 65_536;
    const id = this.#id;
    this.#waiting.get(id)?.(false);
    return new Promise(resolve => {
      const timer = setTimeout(() => done(false), patience);
      const done = (answered: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(answered);
      };
      this.#waiting.set(id, done);
      child.stdin?.write(`${id} ${host} ${Math.min(size, 8192)}\n`);
    });
  }
  #start(): ChildProcess {
    if (this.#child) return this.#child;
    const child = spawn('perl', ['-e', asker], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#child = child;
    const gone = (): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#state = 'absent';
      for (const done of this.#waiting.values()) done(false);
    };
    child.on('error', gone).on('exit', gone);
    child.stdin?.on('error', () => {});
    createInterface({ input: child.stdout! }).on('line', line => this.#waiting.get(Number(line))?.(true));
    return child;
  }
}

/** The kernel gives a datagram socket an id of its own and hands it only its answers; of a raw one we pick ours out. */
const asker = `
use strict; use Socket; use Fcntl;
my ($s, $raw);
socket($s, AF_INET, SOCK_DGRAM, 1) or do { $raw = 1; socket($s, AF_INET, SOCK_RAW, 1) or exit 3 };
my $own = $$ & 0xffff;
sub sum { my ($d) = @_; my $n = 0; $n += $_ for unpack('n*', length($d) % 2 ? "$d\\0" : $d); $n = ($n & 0xffff) + ($n >> 16) while $n >> 16; ~$n & 0xffff }
$| = 1; my $buf = '';
for (;;) {
  my $bits = ''; vec($bits, 0, 1) = 1; vec($bits, fileno($s), 1) = 1;
  next if select($bits, undef, undef, undef) < 0;
  if (vec($bits, 0, 1)) {
    sysread(STDIN, $buf, 65536, length $buf) or exit 0;
    while ($buf =~ s/^(\\d+) ([\\d.]+) (\\d+)\\n//) {
      my ($id, $to, $size) = ($1, inet_aton($2), $3);
      my $p = pack('CCnnn', 8, 0, 0, $own, $id) . ("\\0" x $size);
      substr($p, 2, 2) = pack('n', sum($p));
      send($s, $p, MSG_DONTWAIT, pack_sockaddr_in(0, $to)) if $to;
    }
  }
  if (vec($bits, fileno($s), 1)) {
    defined recv($s, my $p, 65536, MSG_DONTWAIT) or next;
    if ($raw) { my $h = (ord($p) & 15) * 4; $p = length($p) > $h ? substr($p, $h) : ''; }
    next if length($p) < 8;
    my ($type, $code, $sum, $who, $id) = unpack('CCnnn', $p);
    syswrite(STDOUT, "$id\\n") if $type == 0 && (!$raw || $who == $own);
  }
}
`;
