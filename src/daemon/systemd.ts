// What systemd and the gate tell each other: sockets that were opened for us, and states that we announce.
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import type { Log } from '../core/parts.ts';

/** A socket that systemd listens on for us (sd_listen_fds(3)). */
export interface PassedSocket {
  readonly fd: number;
  /** `FileDescriptorName=` of the socket unit; default: the unit's name. */
  readonly name: string;
}

/** Where passed descriptors start, by definition. */
const first = 3;

/**
 * Takes LISTEN_FDS out of the environment, so that no child believes it. LISTEN_PID must be ours: the variables may have
 * been inherited through a launcher whose descriptors did not come along.
 */
export function passedSockets(env: NodeJS.ProcessEnv = process.env, pid = process.pid): PassedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (LISTEN_PID !== String(pid)) return [];
  const count = Number(LISTEN_FDS);
  if (!Number.isInteger(count) || count < 1 || count > 1024) return [];
  const names = (LISTEN_FDNAMES ?? '').split(':');
  return Array.from({ length: count }, (_, at) => ({ fd: first + at, name: names[at] || 'unknown' })).filter(({ fd }) =>
    isSocket(fd),
  );
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}

export interface Notifier extends Disposable {
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
  status(text: string): void;
}

/**
 * sd_notify(3). Node has no AF_UNIX datagram sockets, so systemd's own program speaks for us, once a state; the unit needs
 * `NotifyAccess=all`. Does nothing where NOTIFY_SOCKET is not set.
 */
export function createNotifier(options: { readonly log: Log; readonly env?: NodeJS.ProcessEnv }): Notifier {
  const env = { ...(options.env ?? process.env) };
  const silent = { ready() {}, reloading() {}, stopping() {}, status() {}, [Symbol.dispose]() {} };
  if (!env['NOTIFY_SOCKET']) return silent;
  let last: Promise<void> = Promise.resolve();
  let isBroken = false;
  /** One after the other: READY must not overtake RELOADING. */
  const send = (...states: string[]): void => {
    last = last.then(
      () =>
        new Promise(done => {
          const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...states], { env, stdio: 'ignore' });
          child.on('error', error => {
            if (!isBroken)
              options.log.warn({ error }, 'systemd cannot be told about our state: is systemd-notify installed?');
            isBroken = true;
            done();
          });
          child.on('exit', () => done());
        }),
    );
  };
  const watchdog = Number(env['WATCHDOG_USEC']) / 1000;
  const isWatched = watchdog > 0 && (env['WATCHDOG_PID'] ?? String(process.pid)) === String(process.pid);
  const timer = isWatched ? setInterval(() => send('WATCHDOG=1'), watchdog / 2) : undefined;
  timer?.unref();
  return {
    ready: status => send('READY=1', `STATUS=${status}`),
    // Type=notify-reload wants the time of CLOCK_MONOTONIC, which on Linux is what hrtime reads.
    reloading: () => send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: () => send('STOPPING=1', 'STATUS=draining'),
    status: text => send(`STATUS=${text}`),
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
