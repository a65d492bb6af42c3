// The commands that need no running gate: check, wrap, demo — and the first minute of `up` without a file.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { echoServer, newFolder, runSekisho } from '../fixtures/gate-process.ts';
import { ask, backend, handshake, record, tlsBackend } from '../fixtures/probes.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

async function check(config: string, files: Readonly<Record<string, string>> = {}, ...args: string[]) {
  const folder = temporaryFolder('check');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  const path = join(folder, 'sekisho.yaml');
  writeFileSync(path, config);
  const { status, stdout, stderr } = await runSekisho(['check', '-c', path, '--json', ...args]);
  assert.ok(stdout, stderr);
  return {
    status,
    folder,
    ...(JSON.parse(stdout) as {
      ok: boolean;
      opens: string[];
      findings: { level: string; where?: string; text: string }[];
    }),
  };
}

test('check says what would be opened, opens nothing and leaves nothing behind', async () => {
  const report = await check(
    'gate: { name: g.test, listen: "tls://127.0.0.1:18443" }\nproxy:\n  db: { listen: "tcp://127.0.0.1:16432", to: "tcp://127.0.0.1:5432" }\n',
  );
  assert.deepEqual([report.status, report.ok, report.findings], [0, true, []]);
  assert.deepEqual(report.opens, [
    'gate  tls://127.0.0.1:18443  (g.test)',
    'proxy db  tcp://127.0.0.1:16432 → tcp://127.0.0.1:5432',
  ]);
  assert.equal(existsSync(join(report.folder, 'data')), false);
});

test('check names what is weak, with its line: verify off, open doors, old certificates, readable keys, ephemeral ports', async () => {
  const ca = makeCa('check');
  const old = ca.issue({ cn: 'old.test', san: ['old.test'], days: -1 });
  const [low = 32768] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
  const report = await check(
    `gate: { metrics: "tcp://0.0.0.0:9464" }
proxy:
  out: { listen: "tcp://127.0.0.1:${low + 1}", to: "tls://10.0.0.1:443", verify: off }
  in: { listen: "tls://0.0.0.0:6000", to: "tcp://127.0.0.1:1", certificate: { cert: file:old.crt, key: file:old.key } }
`,
    { 'old.crt': old.fullchain, 'old.key': old.key },
  );
  const found = (pattern: RegExp) => report.findings.find(({ text }) => pattern.test(text));
  assert.match(found(/reads the metrics/)?.where ?? '', /^sekisho\.yaml:1:18 gate\.metrics$/);
  assert.match(found(/off: /)?.where ?? '', /^sekisho\.yaml:3:\d+ proxy\.out\.verify$/);
  assert.match(found(/everybody who reaches/)?.where ?? '', /^sekisho\.yaml:4:\d+ proxy\.in\.listen$/);
  assert.match(found(/expired/)?.where ?? '', /^sekisho\.yaml:4:\d+ proxy\.in\.certificate/);
  assert.equal(found(/hands to outgoing connections/)?.level, 'note');
  chmodSync(join(report.folder, 'old.key'), 0o644);
  const again = await runSekisho(['check', '-c', join(report.folder, 'sekisho.yaml'), '--strict']);
  assert.equal(again.status, 2, '--strict makes weaknesses fail');
  assert.match(
    again.stdout,
    /weak +sekisho\.yaml:4:\d+ proxy\.in\.certificate\.key: old\.key can be read by every user/,
  );
});

test('check of a file with mistakes ends with 2 and says all of them', async () => {
  const report = await check(
    'proxy:\n  a: { listen: "tls://127.0.0.1:1", to: "tcp://a:1", bind: eth0 }\n  b: { listen: "tcp://127.0.0.1:2", to: "tcp://b:1", certificate: auto }\n',
  );
  assert.deepEqual([report.status, report.ok, report.opens], [2, false, []]);
  assert.deepEqual(
    report.findings.map(({ level, where }) => `${level} ${where?.split(' ')[1]}`),
    ['error proxy.a.bind', 'error proxy.b.certificate'],
  );
});

test('check --schema is JSON Schema', async () => {
  const { stdout } = await runSekisho(['check', '--schema']);
  const schema = JSON.parse(stdout) as { $schema: string; properties: Record<string, unknown> };
  assert.match(schema.$schema, /json-schema\.org/);
  assert.ok(schema.properties['proxy'] && schema.properties['access'] && schema.properties['trust']);
});

/** Starts `sekisho wrap`; resolves with its port once it is ready. */
async function startWrap(
  t: TestContext,
  ...args: string[]
): Promise<{ port: number; warnings: string[]; stop(): Promise<number | null>; log: () => string }> {
  const child = spawn(process.execPath, [main, 'wrap', '--json', ...args], {
    cwd: newFolder(),
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  t.after(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr.on('data', data => {
    log += data;
  });
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error(log))),
  ]);
  const { listen, warnings } = JSON.parse(String(line)) as { listen: string; warnings: string[] };
  const ended = once(child, 'exit');
  return {
    port: Number(listen.split(':').at(-1)),
    warnings,
    log: () => log,
    async stop() {
      child.kill('SIGTERM');
      return (await ended)[0] as number | null;
    },
  };
}

test('wrap is article 000’s nginx in one line: plain in, verified TLS out, audited to the log', async t => {
  const ca = makeCa('wrap');
  const pair = ca.issue({ cn: 'localhost', san: ['localhost'] });
  await using far = await tlsBackend({ cert: pair.fullchain, key: pair.key });
  const { port, warnings, stop, log } = await startWrap(
    t,
    '--listen',
    'tcp://127.0.0.1:0',
    '--to',
    `tls://localhost:${far.port}`,
    '--ca',
    ca.certFile,
  );
  assert.deepEqual(warnings, []);
  assert.equal(await ask(port, 'device?'), 'tls:device?');
  assert.equal(await stop(), 0);
  assert.match(log(), /"msg":"proxy\.opened"/);
  assert.match(log(), /"msg":"proxy\.closed"/);
});

test('wrap verifies by default: another name or an unknown CA gets nothing through, --no-verify is said aloud', async t => {
  const ca = makeCa('wrap');
  const pair = ca.issue({ cn: 'other.test', san: ['other.test'] });
  await using far = await tlsBackend({ cert: pair.fullchain, key: pair.key });
  const to = ['--listen', 'tcp://127.0.0.1:0', '--to', `tls://localhost:${far.port}`];
  const wrongName = await startWrap(t, ...to, '--ca', ca.certFile);
  assert.equal(await ask(wrongName.port), 'closed');
  assert.equal(await ask((await startWrap(t, ...to)).port), 'closed');
  assert.equal(await ask((await startWrap(t, ...to, '--ca', ca.certFile, '--name', 'other.test')).port), 'tls:hello');
  const blind = await startWrap(t, ...to, '--no-verify');
  assert.match(blind.warnings.join(), /^--no-verify: whoever stands between can pose as the target/);
  assert.equal(await ask(blind.port), 'tls:hello');
});

test('wrap in front of a server: TLS in, plain out; a client certificate is shown where the target is TLS', async t => {
  const ca = makeCa('wrap');
  const pair = ca.issue({ cn: 'localhost', san: ['localhost'] });
  await using plain = await backend(record);
  const front = await startWrap(
    t,
    '--listen',
    'tls://127.0.0.1:0',
    '--cert',
    pair.certFile,
    '--key',
    pair.keyFile,
    '--to',
    `tcp://127.0.0.1:${plain.port}`,
  );
  const seen = (await handshake(front.port, { ca: ca.cert, servername: 'localhost', rejectUnauthorized: true })) as {
    answer: string;
  };
  assert.equal(seen.answer, 'ok');
  assert.deepEqual(plain.seen, ['hello']);

  const client = ca.issue({ cn: 'client-7', client: true });
  await using far = await tlsBackend({ cert: pair.fullchain, key: pair.key, requestCert: true, ca: ca.cert });
  const out = await startWrap(
    t,
    '--listen',
    'tcp://127.0.0.1:0',
    '--to',
    `tls://localhost:${far.port}`,
    '--ca',
    ca.certFile,
    '--cert',
    client.certFile,
    '--key',
    client.keyFile,
  );
  assert.equal(await ask(out.port), 'tls:hello');
  assert.equal((far.seen[0] as { client?: string }).client, 'client-7');
});

test('wrap names the option that is wrong', async () => {
  const rows: [string[], RegExp][] = [
    [['--listen', 'foo', '--to', 'tls://a:1'], /^sekisho: --listen: "foo" is not an address/],
    [['--listen', 'tcp://127.0.0.1:0', '--to', 'a:1'], /^sekisho: --to: "a:1" is not an address/],
    [
      ['--listen', 'tls://127.0.0.1:0', '--to', 'tcp://a:1'],
      /--listen tls:\/\/ shows a certificate to its clients; give --cert and --key/,
    ],
    [
      ['--listen', 'tcp://127.0.0.1:0', '--to', 'tls://a:1', '--ca', 'none.pem'],
      /^sekisho: --ca: .*none\.pem: there is no such file/,
    ],
    [['--listen', 'tcp://127.0.0.1:0', '--to', 'tls://a:1', '--cert', 'x'], /--cert and --key belong together/],
    [['--listen', 'tcp://127.0.0.1:0', '--to', 'tcp://a:1', '--no-verify'], /are about a --to of tls:\/\//],
  ];
  for (const [args, pattern] of rows) {
    const { status, stderr } = await runSekisho(['wrap', ...args]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, pattern);
  }
});

for (const lang of ['en', 'ja']) {
  test(`the demonstration plays to its end and shows which leg is encrypted (${lang})`, async () => {
    const { status, stdout, stderr } = await runSekisho(['demo', '--lang', lang]);
    assert.equal(status, 0, stderr);
    assert.equal(
      stdout.match(lang === 'en' ? /encrypted, and the certificate was verified/g : /暗号化済み/g)?.length,
      6,
    );
    assert.equal(stdout.match(lang === 'en' ? /plain: everybody on this leg reads it/g : /平文:/g)?.length, 8);
    assert.match(stdout, /fluentd: \{"tag":/);
    assert.match(stdout, /"sensor-1 21\.5C\\n"/);
    assert.match(stdout, /"clientMode":"destination"/);
    assert.match(stdout, /https:\/\/server1-8081\.example\.com\/login/);
  });
}

test('the three things that `up` prints to try work as printed', async t => {
  const echo = await echoServer(t);
  const folder = newFolder();
  writeFileSync(
    join(folder, 'sekisho.yaml'),
    `gate: { listen: "tls://127.0.0.1:0" }\nproxy: { a: { listen: "tcp://127.0.0.1:0", to: "tcp://127.0.0.1:${echo.port}" } }\n`,
  );
  const child = spawn(process.execPath, [main, 'up', '-c', 'sekisho.yaml'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  t.after(() => child.kill('SIGKILL'));
  const printed: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    printed.push(line);
    if (line.includes('cert issue')) break;
  }
  assert.ok(!printed.join().includes('#code='), 'a service writes no way in into its journal');
  const things = printed.slice(printed.findIndex(line => line.startsWith('Three things')) + 1).map(line => line.trim());
  assert.equal(things.length, 3);
  assert.ok(!things.join().includes(':0/'), 'the port is the one that was really opened');
  // As typed, in a shell, in the folder of the gate; `sekisho` is this source.
  for (const line of things) {
    const shell = spawn('sh', ['-ec', `sekisho() { "${process.execPath}" "${main}" "$@"; }\n${line}`], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    let output = '';
    for (const stream of [shell.stdout, shell.stderr]) stream.on('data', data => (output += data));
    const [status] = await once(shell, 'close');
    assert.equal(status, 0, `${line}\n${output}`);
  }
  assert.ok(existsSync(join(folder, 'alice.crt')));
});

test('check says where endpoints are at risk: ports of outgoing connections, our own port in the range, rules without a target', async () => {
  const folder = newFolder();
  const file = join(folder, 'sekisho.yaml');
  writeFileSync(join(folder, 'hook.secret'), 'x');
  writeFileSync(
    file,
    `gate: { name: gate.test, listen: "tls://127.0.0.1:21443" }
endpoint: { ports: 21000-40000, domain: ep.gate.test, webhook: { url: "http://hooks.example.com/", secret: file:hook.secret } }
access: [ { allow: endpoint.open }, { allow: endpoint.open, to: device/pump-* } ]
`,
  );
  const { stdout } = await runSekisho(['check', '-c', file, '--json']);
  const { findings, opens } = JSON.parse(stdout) as { findings: { where: string; text: string }[]; opens: string[] };
  for (const [where, text] of [
    [/sekisho\.yaml:2.*endpoint\.ports/, /overlaps the ports that the system hands to outgoing connections/],
    [/endpoint\.ports/, /21443 lies in the range/],
    [/endpoint\.domain/, /could set cookies/],
    [/endpoint\.webhook/, /unencrypted/],
    [/sekisho\.yaml:3.*access\[0\]/, /loopback of this machine too/],
  ] as const) {
    assert.ok(
      findings.some(one => where.test(one.where) && text.test(one.text)),
      `${text}: ${JSON.stringify(findings)}`,
    );
  }
  assert.equal(findings.filter(({ text }) => /loopback of this machine/.test(text)).length, 1);
  assert.ok(
    opens.includes('endpoint  ports 21000-40000, names under ep.gate.test, when somebody opens one'),
    opens.join(),
  );
});
