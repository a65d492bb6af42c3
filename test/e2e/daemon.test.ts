// A gate as a process: what it refuses to start with, how it reloads, drains and ends, and what survives a kill.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import {
  echoServer,
  freePorts,
  type GateProcess,
  isClosed,
  newFolder,
  runSekisho,
  startGate,
  takePort,
  talk,
  until,
} from '../fixtures/gate-process.ts';

const plain = (name: string, listen: number, to: number, more = ''): string =>
  `  ${name}: { listen: "tcp://127.0.0.1:${listen}", to: "tcp://127.0.0.1:${to}"${more} }\n`;

test('a file with mistakes starts nothing: all of them are told, and no folder is made', async () => {
  const folder = newFolder();
  const config = join(folder, 'sekisho.yaml');
  writeFileSync(
    config,
    'proxy:\n  a: { listen: "tls://127.0.0.1:0", to: "tcp://127.0.0.1:1", certificate: { cert: file:none.crt, key: file:none.key } }\n  b: { listen: "tcp://127.0.0.1:0", to: "tls://127.0.0.1:1", verify: { ca: file:none.pem } }\ntrust: { clients: [ file:none-ca.pem ] }\n',
  );
  const { status, stderr } = await runSekisho(['up', '-c', config, '--data', join(folder, 'data')]);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /sekisho\.yaml:2:\d+ proxy\.a\.certificate[.\w]*: .*none\.crt.*there is no such file/);
  assert.match(stderr, /sekisho\.yaml:3:\d+ proxy\.b\.verify[.\w[\]]*: .*none\.pem.*there is no such file/);
  assert.match(stderr, /sekisho\.yaml:4:\d+ trust[.\w[\]]*: .*none-ca\.pem/);
  writeFileSync(config, 'proxi: {}\n');
  const second = await runSekisho(['up', '-c', config, '--data', join(folder, 'other')]);
  assert.equal(second.status, 2);
  assert.match(second.stderr, /sekisho\.yaml:1:1 proxi: unknown key; did you mean "proxy"\?/);
  assert.equal(existsSync(join(folder, 'other')), false);
});

test('two gates on one folder: the second is told which process holds it', async t => {
  const gate = await startGate(t, { config: 'proxy: {}\n' });
  const { status, stderr } = await runSekisho(['up', '--data', gate.data]);
  assert.equal(status, 4, stderr);
  assert.match(
    stderr,
    new RegExp(`another gate \\(process ${gate.child.pid}\\) runs on .*; stop it, or give this one`),
  );
});

for (const workers of [0, 1]) {
  test(`a port in use: nothing half-starts, and the folder is free again (workers: ${workers})`, async t => {
    const [first = 0] = await freePorts(1);
    const { port } = await takePort(t);
    const folder = newFolder();
    const config = join(folder, 'sekisho.yaml');
    const head = `gate: { listen: "unix:${join(folder, 'gate.sock')}", workers: ${workers} }\nproxy:\n`;
    writeFileSync(config, head + plain('a', first, 1) + plain('b', port, 1));
    const args = ['up', '-c', config, '--data', join(folder, 'data')];
    const { status, stderr } = await runSekisho(args);
    assert.equal(status, 4, stderr);
    assert.match(stderr, new RegExp(`proxy\\.b\\.listen: .*${port}.*in use`));
    assert.ok(await isClosed(first), 'the listener of the first route was closed again');
    writeFileSync(config, head + plain('a', first, 1));
    const gate = await startGate(t, { config: readFileSync(config, 'utf8'), folder });
    assert.equal(await isClosed(first), false);
    gate.signal('SIGTERM');
    assert.equal(await gate.ended, 0);
  });
}

test('reload by difference: what did not change keeps its connection, what is gone stops, what is new opens', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0, c = 0] = await freePorts(3);
  const head = 'gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nproxy:\n';
  const gate = await startGate(t, { config: head + plain('a', a, echo.port) + plain('b', b, echo.port) });
  const [kept, old] = [await talk(t, a), await talk(t, b)];
  assert.equal(await kept.say('before'), 'before');
  await old.say('x');

  gate.write(head + plain('a', a, echo.port) + plain('c', c, echo.port));
  const { status, stdout, stderr } = await gate.run('reload', '--json');
  assert.equal(status, 0, stderr);
  const report = JSON.parse(stdout) as Record<string, string[]>;
  assert.deepEqual([report['added'], report['removed'], report['kept']], [['proxy/c'], ['proxy/b'], ['proxy/a']]);
  assert.equal(await kept.say('after'), 'after');
  assert.equal(await old.say('still'), 'still', 'a removed route lets its connections come to their end');
  assert.ok(await isClosed(b));
  assert.equal(await (await talk(t, c)).say('new'), 'new');
});

test('a bad file changes nothing and says why; SIGHUP and a saved file reload as well', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0, c = 0] = await freePorts(3);
  const gate = await startGate(t, { config: `proxy:\n${plain('a', a, echo.port)}`, args: ['--watch'] });
  const kept = await talk(t, a);
  await kept.say('x');

  gate.write(`proxy:\n${plain('a', a, echo.port)}${plain('b', b, echo.port)}  oops\n`);
  const refused = await gate.run('reload');
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /sekisho\.yaml:4:3 /);
  // The port of one new route is taken: the other new one must not stay open.
  await takePort(t, c);
  gate.write(`proxy:\n${plain('a', a, echo.port)}${plain('b', b, echo.port)}${plain('c', c, echo.port)}`);
  const half = await gate.run('reload');
  assert.equal(half.status, 4, half.stderr);
  assert.match(half.stderr, /proxy\.c\.listen: .*in use/);
  assert.ok(await isClosed(b));
  assert.equal(await kept.say('same'), 'same');

  gate.write(`proxy:\n${plain('a', a, echo.port)}${plain('b', b, echo.port)}`); // --watch sees it
  await until('the saved file is in use', async () => !(await isClosed(b)));
  gate.write(`proxy:\n${plain('a', a, echo.port)}`);
  gate.signal('SIGHUP');
  await until('the hung-up file is in use', () => isClosed(b));
  assert.equal(await kept.say('still'), 'still');
});

test('SIGTERM drains: nothing new, what is open finishes, and then the gate ends with 0', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0] = await freePorts(2);
  // One route in a worker, one that the gate process carries itself (beside a unix socket).
  const folder = newFolder();
  const own = `  b: { listen: [ "tcp://127.0.0.1:${b}", "unix:${join(folder, 's')}" ], to: "tcp://127.0.0.1:${echo.port}" }\n`;
  const head = 'gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nproxy:\n';
  const gate = await startGate(t, { folder, config: head + plain('a', a, echo.port) + own });
  const talks = [await talk(t, a), await talk(t, b)];
  for (const one of talks) await one.say('x');
  gate.signal('SIGTERM');
  await gate.logged(/ending: no new connections/);
  await until('both ports are closed', async () => (await isClosed(a)) && (await isClosed(b)));
  for (const one of talks) assert.equal(await one.say('goes on'), 'goes on');
  for (const one of talks) one.socket.end();
  assert.equal(await gate.ended, 0);
  await gate.logged(/audit head/);
});

test('the drain has a deadline, and a second signal does not wait for it', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0] = await freePorts(2);
  const config = (port: number, drain: string): string =>
    `gate: { listen: "tls://127.0.0.1:0", workers: 1, drain: ${drain} }\nproxy:\n${plain('a', port, echo.port)}`;
  const [brief, long] = [
    await startGate(t, { config: config(a, '200ms') }),
    await startGate(t, { config: config(b, '1h') }),
  ];
  const [cut, stuck] = [await talk(t, a), await talk(t, b)];
  await cut.say('x');
  await stuck.say('x');
  brief.signal('SIGTERM');
  assert.equal(await brief.ended, 0);
  assert.equal(await cut.over, 'ECONNRESET', 'half a transfer must not look like a whole one');
  long.signal('SIGTERM');
  await long.logged(/ending: no new connections/);
  long.signal('SIGTERM');
  assert.equal(await long.ended, 143);
  await stuck.over; // its worker does not carry on either
});

test('SIGUSR1 opens the log and the access log anew, in workers too', async t => {
  const echo = await echoServer(t);
  const [a = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:0", workers: 2 }\nlog: { file: gate.log, access: { file: access.log } }\nproxy:\n${plain('a', a, echo.port)}`,
  });
  const [log, access] = [join(gate.folder, 'gate.log'), join(gate.folder, 'access.log')];
  const lines = (path: string): string[] =>
    existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  const visit = async (): Promise<void> => {
    const one = await talk(t, a);
    await one.say('12345');
    one.socket.end();
    await one.over;
  };
  await visit();
  await until('the first access line', () => lines(access).length === 1);
  renameSync(log, `${log}.1`);
  renameSync(access, `${access}.1`);
  gate.signal('SIGUSR1');
  await until('the log is new', () => lines(log).some(line => line.includes('log files opened anew')));
  await visit();
  await visit();
  await until('new access lines', () => lines(access).length === 2);
  assert.match(lines(access)[0] ?? '', /^127\.0\.0\.1:\d+ - \[.+\] a - - "127\.0\.0\.1:\d+" 5 5 \d+\.\d{3} ended/);
  assert.equal(lines(`${access}.1`).length, 1);
});

test('sockets that systemd opened are used, and told apart by their names', async t => {
  const echo = await echoServer(t);
  const { port, fd, free } = await takePort(t);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nproxy:\n${plain('a', port, echo.port)}`,
    stdio: [fd],
    env: { LISTEN_FDS: '1', LISTEN_FDNAMES: 'a' },
  });
  free(); // only the gate's copy is left
  await gate.logged(/this socket comes from systemd/);
  assert.equal(await (await talk(t, port)).say('activated'), 'activated');
});

interface AuditLine {
  readonly event: string;
  readonly session: string | null;
  readonly facts: Record<string, unknown>;
}
const auditOf = async (gate: GateProcess): Promise<AuditLine[]> => {
  const { stdout, stderr, status } = await gate.run('audit', 'search', '--limit', '1000', '--json');
  assert.equal(status, 0, stderr);
  return (JSON.parse(stdout) as { rows: AuditLine[] }).rows;
};
const liveOf = async (gate: GateProcess): Promise<unknown[]> =>
  (JSON.parse((await gate.run('session', 'list', '--json')).stdout) as { sessions: unknown[] }).sessions;
const workersOf = (gate: GateProcess): number[] =>
  readFileSync(`/proc/${gate.child.pid}/task/${gate.child.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);

test('a worker that is killed takes only its own connections: the audit says why, and a replacement accepts', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0] = await freePorts(2);
  const folder = newFolder();
  const own = `  b: { listen: [ "tcp://127.0.0.1:${b}", "unix:${join(folder, 's')}" ], to: "tcp://127.0.0.1:${echo.port}" }\n`;
  const gate = await startGate(t, {
    folder,
    config: `gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nproxy:\n${plain('a', a, echo.port)}${own}`,
  });
  const [lost, kept] = [await talk(t, a), await talk(t, b)];
  await lost.say('x');
  await kept.say('x');
  const [pid = 0] = workersOf(gate);
  process.kill(pid, 'SIGKILL');
  await lost.over;
  assert.equal(await kept.say('still'), 'still');
  await gate.logged(/a worker died; its connections are lost, and it is replaced/);
  await until('the replacement accepts', async () => !(await isClosed(a)));
  assert.equal(await (await talk(t, a)).say('again'), 'again');
  const rows = await auditOf(gate);
  assert.ok(
    rows.some(({ event, facts }) => event === 'proxy.closed' && facts['cause'] === 'worker-gone'),
    JSON.stringify(rows),
  );
  assert.notDeepEqual(workersOf(gate), [pid]);
});

test('kill -9 of the gate: workers keep what they carry and accept nothing new; the next gate opens on the same folder', async t => {
  const echo = await echoServer(t);
  const [a = 0] = await freePorts(1);
  const config = `gate: { listen: "tls://127.0.0.1:0", workers: 2 }\nproxy:\n${plain('a', a, echo.port)}`;
  const gate = await startGate(t, { config });
  const carried = await talk(t, a);
  await carried.say('x');
  const workers = workersOf(gate);
  gate.signal('SIGKILL');
  await gate.ended;
  await until('nothing new is accepted', () => isClosed(a));
  assert.equal(await carried.say('carried on'), 'carried on');

  const next = await startGate(t, { config, folder: gate.folder });
  assert.equal(await (await talk(t, a)).say('next'), 'next');
  assert.equal(await carried.say('both'), 'both');
  const rows = await auditOf(next);
  assert.ok(
    rows.filter(({ event }) => event === 'proxy.opened').length >= 2,
    'what was acknowledged before the kill is there',
  );
  const left = rows.find(({ facts }) => facts['cause'] === 'gate-gone');
  assert.equal(left?.event, 'proxy.closed');
  assert.ok([1, 2].includes(left?.facts['worker'] as number), 'the record names the worker that carries it on');
  const verified = await next.run('audit', 'verify');
  assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  carried.socket.end();
  await until('the orphans end by themselves', () => workers.every(pid => !existsSync(`/proc/${pid}`)));
});

test('kill -9 of the gate: every opening of that life has its closing after the next start, and each only one', async t => {
  const echo = await echoServer(t);
  const [a = 0, forward = 0] = await freePorts(2);
  const config = `gate: { listen: "tls://127.0.0.1:${forward}", workers: 0 }
web: { forward: { hosts: { "127.0.0.1:${echo.port}": "tcp://127.0.0.1:${echo.port}" } } }
access: [ { allow: web.request } ]
proxy:\n${plain('a', a, echo.port)}`;
  let gate = await startGate(t, { config });
  await gate.run('cert', 'issue', 'alice', '--pem', gate.folder);
  const read = (name: string): string => readFileSync(join(gate.folder, name), 'utf8');
  const pair = { cert: read('alice.crt'), key: read('alice.key'), ca: read('ca.crt') };
  for (let kill = 0; kill < 2; kill++) {
    const carried = await talk(t, a);
    await carried.say('x');
    const web = await talk(t, forward, to => tlsConnect({ ...to, ...pair, servername: 'localhost' }) as Socket);
    web.socket.write(`CONNECT 127.0.0.1:${echo.port} HTTP/1.1\r\nHost: 127.0.0.1:${echo.port}\r\n\r\n`);
    await once(web.socket, 'data');
    await until('both are in the audit', async () => (await liveOf(gate)).length >= 2);
    gate.signal('SIGKILL');
    await gate.ended;
    gate = await startGate(t, { config, folder: gate.folder });
  }
  const rows = await auditOf(gate);
  const opened = rows.filter(({ event }) => /^(proxy|web)\.opened$/.test(event));
  assert.equal(opened.length, 4);
  for (const { session, event } of opened) {
    const ends = rows.filter(row => row.session === session && row.event !== event);
    assert.deepEqual(
      ends.map(row => [row.event, row.facts['cause'], row.facts['bytes']]),
      [[event.replace('opened', 'closed'), 'gate-gone', 'unknown']],
    );
  }
  assert.equal((await gate.run('audit', 'verify')).status, 0);
  assert.deepEqual(await liveOf(gate), []);
});

test('a full disk refuses new connections, keeps those that are open, and is forgotten once there is room', async t => {
  const echo = await echoServer(t);
  const [a = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nproxy:\n${plain('a', a, echo.port)}`,
  });
  const inside = await talk(t, a);
  await inside.say('x');
  // The process may not let any file grow from now on, which is what a full disk looks like to it.
  const limit = (size: string): void =>
    void execFileSync('prlimit', ['--pid', String(gate.child.pid), `--fsize=${size}`]);
  limit('1:unlimited');
  const refused = await talk(t, a);
  await refused.over;
  assert.equal(await inside.say('still in'), 'still in');
  const status = await gate.run('status', '--json');
  assert.equal(status.status, 0, status.stderr);
  inside.socket.end(); // its closing record has to wait
  await inside.over;
  await until('status says that records wait', async () =>
    /wait for the disk/.test((await gate.run('status', '--json')).stdout),
  );
  limit('unlimited:unlimited');
  await until('new connections are taken', async () => {
    const one = await talk(t, a);
    return one.say('again').then(
      () => true,
      () => false,
    );
  });
  await until(
    'the waiting record is written',
    async () => (await auditOf(gate)).filter(({ event }) => event === 'proxy.closed').length >= 1,
  );
  assert.equal((await gate.run('audit', 'verify')).status, 0);
});

test('gate.listen, gate.http and gate.metrics follow the file at reload: who is connected stays, a taken port changes nothing', async t => {
  const echo = await echoServer(t);
  const [one = 0, two = 0, http = 0, metrics = 0] = await freePorts(4);
  const config = (listen: string, more = ''): string => `gate: { listen: ${listen}, workers: 0${more} }
proxy: { app: { listen: gate, names: [ app.test ], certificate: auto, to: "tcp://127.0.0.1:${echo.port}" } }
`;
  const gate = await startGate(t, { config: config(`"tls://127.0.0.1:${one}"`, `, http: "tcp://127.0.0.1:${http}"`) });
  const reload = async (text: string): Promise<{ status: number; stderr: string }> => {
    gate.write(text);
    return gate.run('reload');
  };
  const at = (port: number) =>
    talk(t, port, to => tlsConnect({ ...to, servername: 'app.test', rejectUnauthorized: false }) as Socket);
  const early = await at(one);
  await early.say('in');
  assert.equal((await fetch(`http://127.0.0.1:${http}/x`, { redirect: 'manual' })).status, 308);

  const both = config(
    `[ "tls://127.0.0.1:${one}", "tls://127.0.0.1:${two}" ]`,
    `, metrics: "tcp://127.0.0.1:${metrics}"`,
  );
  const added = await reload(both);
  assert.equal(added.status, 0, added.stderr);
  assert.doesNotMatch(added.stderr, /next start/);
  assert.equal(await (await at(two)).say('new port'), 'new port');
  assert.equal((await fetch(`http://127.0.0.1:${metrics}/metrics`)).status, 200);
  await until('gate.http is closed', () => isClosed(http));

  const taken = await takePort(t);
  const refused = await reload(config(`[ "tls://127.0.0.1:${two}", "tls://127.0.0.1:${taken.port}" ]`));
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /gate\.listen: .*in use/);
  assert.equal(await (await at(one)).say('as before'), 'as before');

  // The same port on every address: the narrower one has to let go first.
  const wide = await reload(config(`"tls://0.0.0.0:${two}"`));
  assert.equal(wide.status, 0, wide.stderr);
  assert.equal(await (await at(two)).say('everywhere'), 'everywhere');
  await until('the first port is closed', () => isClosed(one));
  assert.equal(await early.say('still in'), 'still in');
  const status = JSON.parse((await gate.run('status', '--json')).stdout) as {
    listeners: { name: string; listen: string }[];
  };
  assert.deepEqual(
    status.listeners.filter(({ name }) => name !== 'api').map(({ listen }) => listen),
    [`tls://0.0.0.0:${two}`],
  );
});

test('log.file, log.format and log.access follow the file at reload, in workers too; one that cannot be opened changes nothing', async t => {
  const echo = await echoServer(t);
  const [a = 0] = await freePorts(1);
  const folder = newFolder();
  const config = (log: string): string =>
    `gate: { listen: "tls://127.0.0.1:0", workers: 1 }\nlog: ${log}\nproxy:\n${plain('a', a, echo.port)}`;
  const gate = await startGate(t, { folder, config: config('{ access: { file: one.log } }') });
  const read = (name: string): string => {
    const path = join(folder, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const connect = async (): Promise<void> => {
    const { socket, say, over } = await talk(t, a);
    await say('x');
    socket.end();
    await over;
  };
  await connect();
  await until('the first access log has its line', () => read('one.log').split('\n').length === 2);
  gate.write(config('{ file: gate.log, level: debug, access: { file: two.log } }'));
  const { status, stderr } = await gate.run('reload');
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /next start/);
  await connect();
  await until('the second has the next', () => read('two.log').split('\n').length === 2);
  assert.equal(read('one.log').split('\n').length, 2);
  await until('the log goes to its file', () => /"msg":"configuration read anew"/.test(read('gate.log')));
  gate.write(config('{ file: no/such/folder.log }'));
  const refused = await gate.run('reload');
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /log\.file: .*folder\.log cannot be opened/);
  await connect();
  await until('all is as it was', () => read('two.log').split('\n').length === 3);
});
