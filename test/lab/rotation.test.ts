// The CA's next root, from the first step to the last, on a whole gate: openssl with either root alone, an agent that is
// linked and one that sleeps through it, people's certificates, a restart, a backup.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { startAgent } from '../fixtures/agent.ts';
import {
  echoServer,
  freePorts,
  newFolder,
  runSekisho,
  startGate,
  talk,
  until as untilSoon,
} from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

const until = (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => untilSoon(what, isSo, 60_000);

interface State {
  readonly stage: string;
  readonly roots: readonly { readonly fingerprint: string; readonly role: string; readonly cert: string }[];
  readonly devices: { readonly waiting: readonly string[] };
  readonly former: { readonly total: number; readonly names: readonly string[] };
  readonly next: readonly { readonly step: string; readonly against: readonly string[] }[];
}

test('a root gives way to the next one, and nobody notices who was told in time', { timeout: 600_000 }, async t => {
  const echo = await echoServer(t);
  const [port = 0, route = 0, pump = 0] = await freePorts(3);
  const folder = newFolder();
  const config = `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 1 }
access: [ { allow: proxy.connect, to: proxy/db } ]
proxy:
  db: { listen: "tls://127.0.0.1:${route}", clients: required, to: "tcp://127.0.0.1:${echo.port}" }
  pump: { listen: "tcp://127.0.0.1:${pump}", to: "device://pump-1/echo" }
`;
  let gate = await startGate(t, { config, folder });
  const sekisho = async <T = Record<string, string>>(...args: string[]): Promise<T> => {
    const { status, stdout, stderr } = await gate.run(...args, '--json');
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return JSON.parse(stdout) as T;
  };
  /** By the socket that the command line uses: a process for each look would take seconds. */
  const ask = <T>(method: string, path: string, body?: unknown): Promise<T> =>
    new Promise((resolve, reject) => {
      const headers = { host: 'localhost', ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
      const options = { socketPath: join(gate.data, 'sekisho.sock'), method, path, headers };
      const asked = request(options, async answer => {
        let text = '';
        for await (const chunk of answer) text += chunk;
        if (answer.statusCode === 200) resolve(JSON.parse(text) as T);
        else reject(new Error(text));
      });
      asked.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
    });
  const state = (): Promise<State> => ask('GET', '/v1/certs/rotation');
  const rotate = (step: string, force = false): Promise<State> => ask('POST', '/v1/certs/rotation', { step, force });
  /** What openssl says of this port when it knows this root alone. */
  const shows = (at: number, roots: string): Promise<string> =>
    run(
      'openssl',
      [
        's_client',
        '-connect',
        `127.0.0.1:${at}`,
        '-servername',
        'localhost',
        '-verify_return_error',
        '-CAfile',
        join(folder, roots),
        '-verify_hostname',
        'localhost',
        '-brief',
      ],
      { input: '' },
    ).then(({ stdout, stderr }) => stdout + stderr);
  const save = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  const passes = async (user: string): Promise<boolean> => {
    const [cert, key] = [readFileSync(join(folder, `${user}.crt`)), readFileSync(join(folder, `${user}.key`))];
    return new Promise(resolve => {
      const socket = connect({
        host: '127.0.0.1',
        port: route,
        servername: 'localhost',
        rejectUnauthorized: false,
        cert,
        key,
      });
      socket.on('error', () => resolve(false)).on('close', () => resolve(false));
      socket
        .once('secureConnect', () => socket.write('x'))
        .once('data', () => {
          resolve(true);
          socket.destroy();
        });
    });
  };
  const enrol = async (name: string) => {
    const { code = '' } = await sekisho('device', 'enroll', name, '--service', `echo=127.0.0.1:${echo.port}`);
    const agent = await startAgent(t, ['--gate', `https://127.0.0.1:${port}`, '--enroll', code]);
    await agent.logged(/linked/);
    return agent;
  };
  const rootsOf = (dir: string): string[] =>
    (readFileSync(join(dir, 'roots.pem'), 'utf8').match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []).map(
      pem => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase(),
    );

  await sekisho('cert', 'issue', 'alice', '--pem', folder);
  const agent = await enrol('pump-1');
  const sleeper = await enrol('pump-2');
  sleeper.child.kill('SIGKILL');
  await sleeper.ended;
  const [first] = (await state()).roots;
  save('old.pem', first?.cert ?? '');

  // Nothing happens by asking, and steps come in their order.
  assert.equal((await sekisho<State>('cert', 'rotate', 'prepare', '--dry-run')).stage, 'steady');
  await assert.rejects(rotate('switch'), /what can follow is prepare/);

  const prepared = await sekisho<State>('cert', 'rotate', 'prepare');
  assert.deepEqual([prepared.stage, prepared.roots.map(({ role }) => role)], ['prepared', ['issuing', 'next']]);
  const next = prepared.roots[1];
  save('new.pem', next?.cert ?? '');
  await until('the linked device has both roots', () => rootsOf(agent.dir).length === 2);
  await until('the gate knows that it has', async () => (await state()).devices.waiting.join() === 'pump-2');
  assert.match((await gate.run('cert', 'ca')).stdout, /END CERTIFICATE-----\n-----BEGIN/);
  assert.match(await shows(port, 'old.pem'), /Verification: OK/);
  assert.doesNotMatch(await shows(port, 'new.pem'), /Verification: OK/);
  assert.match((await gate.run('status')).stdout, /next root CA is prepared/);

  // A device that sleeps speaks against it; it is not forgotten by insisting.
  const refused = await gate.run('cert', 'rotate', 'switch');
  assert.match(refused.stderr, /1 devices do not know the next root yet/);
  const switched = await rotate('switch', true);
  assert.deepEqual([switched.stage, switched.roots.map(({ role }) => role)], ['switched', ['issuing', 'former']]);
  for (const at of [port, route]) {
    await until('the gate shows certificates from under the next root', async () =>
      /Verification: OK/.test(await shows(at, 'new.pem')),
    );
    assert.match(
      await shows(at, 'old.pem'),
      /Verification: OK/,
      'who knows only the former root verifies by the cross certificate',
    );
  }
  await sekisho('cert', 'issue', 'bob', '--pem', folder);
  assert.equal(await passes('alice'), true);
  assert.equal(await passes('bob'), true);
  await until('the linked device has a certificate from under the next root', async () =>
    (await state()).former.names.every(name => name !== 'device pump-1'),
  );
  assert.equal(await (await talk(t, pump)).say('still'), 'still');

  // The sleeper knows only the former root, and comes back to a gate that was restarted meanwhile.
  gate.signal('SIGTERM');
  await gate.ended;
  gate = await startGate(t, { config, folder });
  assert.equal((await state()).stage, 'switched');
  assert.equal(rootsOf(sleeper.dir).length, 1);
  const back = await startAgent(t, [], { dir: sleeper.dir });
  await back.logged(/linked/);
  await until('it has both roots and its new certificate', async () => {
    const { devices, former } = await state();
    return devices.waiting.length === 0 && !former.names.includes('device pump-2');
  });

  const bundle = join(folder, 'gate.backup');
  save('passphrase', 'correct horse battery\n');
  await sekisho('backup', bundle, '--passphrase-file', join(folder, 'passphrase'));
  const restored = newFolder();
  const to = ['--data', join(restored, 'data'), '--passphrase-file', join(folder, 'passphrase')];
  const again = await runSekisho(['restore', bundle, ...to]);
  assert.equal(again.status, 0, again.stderr);
  for (const file of ['root.crt', 'root-2.crt', 'root-2.key', 'cross-2.crt', 'active', 'issuing-2.key'])
    assert.ok(existsSync(join(restored, 'data/ca', file)), file);

  // People are the last; until they have new ones the former root stays, unless somebody insists.
  await assert.rejects(rotate('retire'), /certificates from under the former root still count/);
  const retired = await rotate('retire', true);
  assert.deepEqual([retired.stage, retired.roots.length], ['steady', 1]);
  await until('alice is out', async () => !(await passes('alice')));
  assert.equal(await passes('bob'), true);
  await until('the former root is forgotten on the devices', () => rootsOf(agent.dir).length === 1);
  assert.deepEqual(rootsOf(agent.dir), [next?.fingerprint]);
  assert.equal(await (await talk(t, pump)).say('for good'), 'for good');
  await until(
    'nothing leads to the former root any more',
    async () => !/Verification: OK/.test(await shows(port, 'old.pem')),
  );
  assert.match(await shows(port, 'new.pem'), /Verification: OK/);
  const events = (await gate.run('audit', 'search', '--event', 'cert.rotated')).stdout;
  assert.match(events, /cert\.rotated/);
  assert.equal((await gate.run('audit', 'verify')).status, 0);
});
