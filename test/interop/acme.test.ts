// ACME against pebble, the test CA of Let's Encrypt's authors: real challenges on real listeners, renewal included.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, suite, test } from 'node:test';
import tls from 'node:tls';
import { TestClock } from '../../src/core/clock.ts';
import type { Log } from '../../src/core/parts.ts';
import { openStore, type Store } from '../../src/store/index.ts';
import {
  type AcmeOptions,
  type Authority,
  acmeAlpn,
  type ChallengeBoard,
  createAcmeCertificates,
  createChallengeBoard,
  openAcme,
  openAuthority,
} from '../../src/trust/index.ts';
import { freePort } from '../fixtures/ports.ts';

const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const signal = (): AbortSignal => AbortSignal.timeout(60_000);

interface Pebble extends AsyncDisposable {
  readonly directory: string;
  readonly roots: () => Promise<string>;
}

let dir: string;
let store: Store;
let authority: Authority;
let board: ChallengeBoard;
let names: Socket;
let httpServer: http.Server;
let tlsServer: tls.Server;
/** What the challenge listeners were asked for. */
let asked: string[];

const portOf = (server: net.Server): number => (server.address() as AddressInfo).port;

/** Every name is 127.0.0.1. */
async function openNames(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    let end = 12;
    while (query[end]) end += query.readUInt8(end) + 1;
    const question = query.subarray(12, end + 5);
    const isA = query.readUInt16BE(end + 1) === 1;
    const head = Buffer.from([query[0]!, query[1]!, 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    socket.send(Buffer.concat([head, question, ...(isA ? [answer] : [])]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

async function startPebble(extra: object = {}, env: Record<string, string> = {}): Promise<Pebble> {
  const [port, management] = [await freePort(), await freePort()];
  const identity = await authority.issueServer({ names: ['127.0.0.1'] });
  const file = async (name: string, text: string): Promise<string> => {
    const path = join(dir, `${port}-${name}`);
    await writeFile(path, text);
    return path;
  };
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: await file('cert.pem', identity.cert + identity.chain.join('')),
      privateKey: await file('key.pem', identity.key),
      httpPort: portOf(httpServer),
      tlsPort: portOf(tlsServer),
      ocspResponderURL: '',
      externalAccountBindingRequired: false,
      ...extra,
    },
  };
  const path = await file('config.json', JSON.stringify(config));
  const child: ChildProcess = spawn(
    'pebble',
    ['-config', path, '-strict', '-dnsserver', `127.0.0.1:${names.address().port}`],
    {
      env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '30', PEBBLE_AUTHZREUSE: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface(stream).on('line', line => {
      lines.push(line);
      if (line.includes('ACME directory available')) ready.resolve();
    });
  }
  child.on('exit', () => ready.reject(new Error(`pebble ended:\n${lines.join('\n')}`)));
  await ready.promise;
  const get = (url: string): Promise<string> =>
    new Promise((resolve, reject) => {
      https
        .get(url, { ca: authority.root().cert }, async answer => resolve((await answer.toArray()).join('')))
        .on('error', reject);
    });
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    roots: async () =>
      (await get(`https://127.0.0.1:${management}/roots/0`)) +
      (await get(`https://127.0.0.1:${management}/intermediates/0`)),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      child.kill();
      await once(child, 'exit');
    },
  };
}

suite('ACME with pebble', () => {
  let pebble: Pebble;
  const options = (more: Partial<AcmeOptions> = {}): AcmeOptions => ({
    directory: pebble.directory,
    accountKeyFile: join(dir, 'account.key'),
    ca: authority.root().cert,
    log,
    ...more,
  });

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sekisho-acme-'));
    store = await openStore({ url: 'sqlite::memory:', log });
    authority = await openAuthority({ store, dir, log });
    board = createChallengeBoard();
    asked = [];
    names = await openNames();
    httpServer = http.createServer((request, answer) => {
      asked.push(`http ${request.headers.host?.split(':')[0]}`);
      const body = board.http(request.url ?? '');
      answer.writeHead(body === undefined ? 404 : 200).end(body);
    });
    tlsServer = tls.createServer({
      ALPNProtocols: [acmeAlpn],
      SNICallback: (name, done) => {
        asked.push(`tls ${name}`);
        const identity = board.alpn(name);
        if (identity) done(null, tls.createSecureContext(identity));
        else done(new Error('no challenge'));
      },
    });
    tlsServer.on('tlsClientError', () => {});
    httpServer.listen(0, '127.0.0.1');
    tlsServer.listen(0, '127.0.0.1');
    await Promise.all([once(httpServer, 'listening'), once(tlsServer, 'listening')]);
    pebble = await startPebble();
  });
  after(async () => {
    await pebble?.[Symbol.asyncDispose]();
    httpServer.close();
    tlsServer.close();
    names.close();
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  for (const [challenge, prefix] of [
    ['http-01', 'http'],
    ['tls-alpn-01', 'tls'],
  ] as const) {
    test(`${challenge} brings a certificate for every name, with its chain, in spite of refused nonces`, async () => {
      asked.length = 0;
      const acme = await openAcme(options({ email: 'ops@example.com' }));
      const wanted = ['gate.example.com', 'www.example.com'];
      const identity = await acme.obtain({ names: wanted, challenge, publish: board.publish, key: 'rsa' }, signal());
      assert.deepEqual(
        [...new Set(asked)].sort(),
        wanted.map(name => `${prefix} ${name}`),
      );
      const leaf = new X509Certificate(identity.cert);
      for (const name of wanted) assert.equal(leaf.checkHost(name), name);
      // A listener with it is believed by whoever trusts pebble's root.
      const server = tls.createServer(identity, socket => socket.end('ok')).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = tls.connect({
        port: portOf(server),
        host: '127.0.0.1',
        servername: 'www.example.com',
        ca: await pebble.roots(),
      });
      assert.equal((await socket.toArray()).join(''), 'ok');
      server.close();
      // Nothing stays published.
      assert.equal(board.alpn('gate.example.com'), undefined);
    });
  }

  test('the account key is kept for its owner and used again', async () => {
    const before = await readFile(join(dir, 'account.key'), 'utf8');
    assert.equal((await stat(join(dir, 'account.key'))).mode & 0o777, 0o600);
    const acme = await openAcme(options());
    await acme.obtain({ names: ['again.example.com'], challenge: 'http-01', publish: board.publish }, signal());
    assert.equal(await readFile(join(dir, 'account.key'), 'utf8'), before);
  });

  test('a challenge that nobody answers fails with the CA’s words and what to do', async () => {
    const acme = await openAcme(options());
    const nowhere = () => ({ [Symbol.dispose]() {} });
    await assert.rejects(
      acme.obtain({ names: ['lost.example.com'], challenge: 'http-01', publish: nowhere }, signal()),
      {
        code: 'unreachable',
        message:
          /lost\.example\.com cannot be proven by http-01: the CA says ".+" \(unauthorized\); .*does the name lead to this gate/,
      },
    );
  });

  test('a directory with an unknown CA, and one that is none, are refused with what to do', async () => {
    const { ca: _, ...without } = options();
    const order = { names: ['a.example.com'], challenge: 'http-01', publish: board.publish } as const;
    await assert.rejects((await openAcme(without)).obtain(order, signal()), {
      code: 'unreachable',
      message: /acme\.ca/,
    });
    const wrong = await openAcme(options({ directory: pebble.directory.replace('/dir', '/nothing') }));
    await assert.rejects(wrong.obtain(order, signal()), { code: 'unreachable', message: /acme\.directory/ });
    const plain = await openAcme(options({ directory: 'http://127.0.0.1:1/dir' }));
    await assert.rejects(plain.obtain(order, signal()), { code: 'invalid', message: /https/ });
  });

  test('what is aborted stops waiting', async () => {
    const acme = await openAcme(options());
    const stop = new AbortController();
    const publish = () => {
      queueMicrotask(() => stop.abort(new Error('shutting down')));
      return { [Symbol.dispose]() {} };
    };
    const order = { names: ['slow.example.com'], challenge: 'http-01', publish } as const;
    await assert.rejects(acme.obtain(order, stop.signal), /shutting down|aborted/);
  });

  test('a CA that asks for an account of its own gets the binding', async () => {
    const key = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
    await using strict = await startPebble({
      externalAccountBindingRequired: true,
      externalAccountMACKeys: { 'kid-1': key },
    });
    const bare = options({ directory: strict.directory, accountKeyFile: join(dir, 'bound.key') });
    const order = { names: ['bound.example.com'], challenge: 'http-01', publish: board.publish } as const;
    await assert.rejects((await openAcme(bare)).obtain(order, signal()), {
      code: 'invalid',
      message: /external account binding/,
    });
    const bound = await openAcme({ ...bare, externalAccount: { kid: 'kid-1', key } });
    assert.ok((await bound.obtain(order, signal())).cert);
  });

  test('certificates are stood in for, obtained, kept over a restart and renewed before their end', async () => {
    await using short = await startPebble({ certificateValidityPeriod: 3600 });
    const clock = new TestClock(new Date());
    const wish = { names: ['kept.example.com'], directory: short.directory, ca: authority.root().cert };
    const open = () => createAcmeCertificates({ dir, publish: board.publish, clock, log });
    const serial = (pem: string | undefined): string => new X509Certificate(pem ?? '').serialNumber;
    const changed = (certificates: ReturnType<typeof open>): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const stop = certificates.onChange(() => {
        stop();
        resolve();
      });
      return promise;
    };
    let first: string;
    {
      await using certificates = open();
      const [standIn] = await certificates.reading().identities(wish);
      assert.equal(new X509Certificate(standIn?.cert ?? '').issuer, 'CN=kept.example.com');
      assert.equal(certificates.state()[0]?.standIn, true);
      const arrived = changed(certificates);
      clock.move(3000);
      await arrived;
      first = serial((await certificates.reading().identities(wish))[0]?.cert);
      assert.equal(certificates.state()[0]?.standIn, false);
    }
    await using certificates = open();
    assert.equal(serial((await certificates.reading().identities(wish))[0]?.cert), first);
    // An hour of life: nothing happens in the first half, and it is renewed well before the end.
    clock.move(25 * 60_000);
    assert.equal(serial((await certificates.reading().identities(wish))[0]?.cert), first);
    const renewed = changed(certificates);
    clock.move(25 * 60_000);
    await renewed;
    assert.notEqual(serial((await certificates.reading().identities(wish))[0]?.cert), first);
    // A reading that is refused changes nothing; one that counts ends what it does not ask for.
    const last = serial((await certificates.reading().identities(wish))[0]?.cert);
    const other = certificates.reading();
    await other.identities({ ...wish, names: ['other.example.com'] });
    assert.deepEqual(
      certificates.state().map(({ names }) => names[0]),
      ['kept.example.com', 'other.example.com'],
    );
    other.adopt();
    await new Promise(resolve => setImmediate(resolve));
    assert.deepEqual(
      certificates.state().map(({ names }) => names[0]),
      ['other.example.com'],
    );
    const arrived = changed(certificates);
    clock.move(60 * 60_000);
    await arrived; // of the other; its own would be due as well
    const file = (await readdir(join(dir, 'acme'))).map(name => readFileSync(join(dir, 'acme', name), 'utf8'));
    assert.ok(
      file.some(text => text.includes('CERTIFICATE') && serial(text) === last),
      'what nobody asks for any more is not renewed',
    );
    const files = await readdir(join(dir, 'acme'));
    for (const file of files) assert.equal((await stat(join(dir, 'acme', file))).mode & 0o777, 0o600);
  });
});
