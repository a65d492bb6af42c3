// Sockets that systemd passes are believed only when they are for us; states reach NOTIFY_SOCKET in their order.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { Log } from '../core/parts.ts';
import { createNotifier, passedSockets } from './systemd.ts';

const silent: Log = { child: () => silent, debug() {}, info() {}, warn() {}, error() {} };

test('sockets for another process are not taken, and no child sees the variables', () => {
  const env: NodeJS.ProcessEnv = { LISTEN_PID: '1', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b', PATH: '/bin' };
  assert.deepEqual(passedSockets(env, 2), []);
  assert.deepEqual(env, { PATH: '/bin' });
});

test('nonsense in LISTEN_FDS is no socket', () => {
  for (const LISTEN_FDS of ['', '0', '-1', 'x', '999999999']) {
    assert.deepEqual(passedSockets({ LISTEN_PID: '2', LISTEN_FDS }, 2), []);
  }
});

/** What stands in for systemd: each datagram's states as a line. */
async function notifySocket() {
  const path = join(mkdtempSync(join(tmpdir(), 'sekisho-notify-')), 's');
  // systemd-notify waits until its barrier descriptor is closed, so the listener takes what comes with a datagram.
  const listener = spawn(
    'python3',
    [
      '-uc',
      'import socket,os,sys,array\n' +
        's=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1]); print("bound")\n' +
        'while True:\n' +
        '  m,a,_,_=s.recvmsg(4096,1024)\n' +
        '  for l,t,d in a:\n' +
        '    if t==socket.SCM_RIGHTS: [os.close(f) for f in array.array("i",d)]\n' +
        '  print(" ".join(m.decode().split("\\n")))',
      path,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return { path, next: async () => String((await lines.next()).value), close: () => listener.kill() };
}

test('READY, RELOADING and STOPPING reach the notify socket in this order', async () => {
  const { path, next, close } = await notifySocket();
  const said: string[] = [];
  const notifier = createNotifier({ log: silent, env: { ...process.env, NOTIFY_SOCKET: path } });
  notifier.ready('3 listeners');
  notifier.reloading();
  notifier.stopping();
  while (!said.some(line => line.includes('STOPPING'))) said.push(await next());
  close();
  notifier[Symbol.dispose]();
  const states = said.filter(line => !line.startsWith('BARRIER'));
  assert.match(states[0] ?? '', /READY=1.*STATUS=3 listeners/);
  assert.match(states[1] ?? '', /RELOADING=1.*MONOTONIC_USEC=\d+/);
  assert.match(states[2] ?? '', /STOPPING=1/);
  assert.match(states[0] ?? '', new RegExp(`MAINPID=${process.pid}`));
});

test('the watchdog is fed twice within the time that systemd gives, by the process that it watches and no other', async () => {
  const { path, next, close } = await notifySocket();
  const env = { ...process.env, NOTIFY_SOCKET: path, WATCHDOG_USEC: '100000' };
  const other = createNotifier({ log: silent, env: { ...env, WATCHDOG_PID: '1' } });
  other.status('from the other');
  let line = await next();
  while (!line.includes('from the other')) line = await next();
  other.stopping();
  while (!line.includes('STOPPING')) {
    assert.doesNotMatch(line, /WATCHDOG/);
    line = await next();
  }
  const notifier = createNotifier({ log: silent, env: { ...env, WATCHDOG_PID: String(process.pid) } });
  notifier.ready('1 listener'); // what waits for the next line must not be all that keeps the process
  const holds = setInterval(() => {}, 1000);
  for (let fed = 0; fed < 3; ) if ((await next()).includes('WATCHDOG=1')) fed++;
  clearInterval(holds);
  notifier[Symbol.dispose]();
  other[Symbol.dispose]();
  close();
});

test('without NOTIFY_SOCKET nothing is started', () => {
  const notifier = createNotifier({ log: silent, env: {} });
  notifier.ready('x');
  notifier.stopping();
  notifier[Symbol.dispose]();
});
