// Each kind of mistake in `proxy:` is found before anything opens, with its key path and what to do.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { plan, readReference } from '../../../test/e2e/proxy/planning.ts';
import { makeCa, temporaryFolder } from '../../../test/fixtures/certificates.ts';
import { Fault } from '../../core/fault.ts';

const ca = makeCa('Plan CA');
const server = ca.issue({ cn: 'localhost', san: ['DNS:localhost', 'DNS:db.test'] });
const files = (one: { certFile: string; keyFile: string }): object => ({
  cert: `file:${one.certFile}`,
  key: `file:${one.keyFile}`,
});
const certificate = files(server);
const local = 'tls://127.0.0.1:6432';
const to = 'tcp://127.0.0.1:5432';

async function mistakesOf(config: object): Promise<string[]> {
  try {
    await plan(config);
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'invalid', String(error));
    return error.message.split('\n');
  }
  return [];
}

/** One wrong route, and the text that must be said about it. */
const wrong: Record<string, [route: object, expected: RegExp]> = {
  'a certificate file that is not there': [
    { listen: local, to, certificate: { ...certificate, cert: 'file:/nowhere/cert.pem' } },
    /^proxy\.db\.certificate\.cert: .*\/nowhere\/cert\.pem.*check the path/,
  ],
  'a certificate file that is no certificate': [
    { listen: local, to, certificate: { ...certificate, cert: `file:${server.keyFile}` } },
    /^proxy\.db\.certificate\.cert: .*no PEM block/,
  ],
  'a key that does not match': [
    { listen: local, to, certificate: { ...certificate, key: `file:${ca.issue({ cn: 'other' }).keyFile}` } },
    /^proxy\.db\.certificate\.key: .*does not match the certificate/,
  ],
  'a chain that starts with the wrong certificate': [
    { listen: local, to, certificate: { ...certificate, cert: `file:${reversedChain()}` } },
    /^proxy\.db\.certificate\.key: belongs to certificate 2 .*first/,
  ],
  'two certificates of one kind': [
    { listen: local, to, certificate: [certificate, files(ca.issue({ cn: 'twin' }))] },
    /^proxy\.db\.certificate: two ec keys/,
  ],
  'ciphers that OpenSSL does not know': [
    { listen: local, to, certificate, ciphers: 'ROT13' },
    /^proxy\.db\.ciphers: OpenSSL knows no cipher/,
  ],
  'TLS 1.2 ciphers where only TLS 1.3 is allowed': [
    { listen: local, to, certificate, protocols: ['TLSv1.3'], ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' },
    /^proxy\.db\.ciphers: names no TLS 1\.3 suite/,
  ],
  'TLS 1.3 suites where only TLS 1.2 is allowed': [
    { listen: local, to, certificate, protocols: ['TLSv1.2'], ciphers: 'TLS_AES_128_GCM_SHA256' },
    /^proxy\.db\.ciphers: names only TLS 1\.3 suites/,
  ],
  'curves that OpenSSL does not know': [
    { listen: local, to, certificate, curves: 'P-1' },
    /^proxy\.db\.curves: OpenSSL does not know/,
  ],
  'names on a plain target listener with a certificate': [
    { listen: 'tcp://127.0.0.1:1', names: ['db.test'], certificate, to },
    /^proxy\.db\.certificate: means nothing without TLS; names: on tcp:\/\/ passes TLS through/,
  ],
  'clients on a plain listener': [
    { listen: 'tcp://127.0.0.1:1', clients: 'required', to },
    /^proxy\.db\.clients: means nothing without TLS/,
  ],
  'client certificates without any CA': [
    { listen: local, to, certificate, clients: 'required' },
    /^proxy\.db\.clients: no CA/,
  ],
  'clients where one listener has no TLS': [
    { listen: [local, 'tcp://127.0.0.1:1'], to, certificate, clients: 'required' },
    /^proxy\.db\.clients: the route also listens without TLS/,
  ],
  'names both ended and passed through': [
    { listen: [local, 'tcp://127.0.0.1:1'], to, certificate, names: ['db.test'] },
    /^proxy\.db\.listen: with names:/,
  ],
  'datagrams beside streams': [
    { listen: ['udp://127.0.0.1:1', 'tcp://127.0.0.1:1'], to: 'udp://127.0.0.1:2' },
    /^proxy\.db\.listen: udp:\/\/ cannot stand beside/,
  ],
  'datagrams to a stream': [
    { listen: 'udp://127.0.0.1:1', to },
    /^proxy\.db\.to: a udp:\/\/ listener forwards datagrams/,
  ],
  'a stream to datagrams': [
    { listen: 'tcp://127.0.0.1:1', to: 'udp://127.0.0.1:2' },
    /^proxy\.db\.to: udp:\/\/ needs a udp:\/\/ listener/,
  ],
  'a PROXY header for datagrams': [
    { listen: 'udp://127.0.0.1:1', to: 'udp://127.0.0.1:2', 'proxy-protocol': { send: 'v2' } },
    /^proxy\.db\.proxy-protocol: the PROXY header is for streams/,
  ],
  'verify on a target without TLS': [
    { listen: 'tcp://127.0.0.1:1', to, verify: { name: 'db' } },
    /^proxy\.db\.verify: means nothing without a tls:\/\/ target/,
  ],
  'a CA file that is not there': [
    { listen: 'tcp://127.0.0.1:1', to: 'tls://db.test:1', verify: { ca: 'file:/nowhere/ca.pem' } },
    /^proxy\.db\.verify\.ca: file:\/nowhere\/ca\.pem cannot be read/,
  ],
  'a CRL that is none': [
    { listen: 'tcp://127.0.0.1:1', to: 'tls://db.test:1', verify: { crl: `file:${ca.certFile}` } },
    /^proxy\.db\.verify\.crl: the file holds no PEM block "BEGIN X509 CRL"/,
  ],
  'a client certificate whose key is another': [
    {
      listen: 'tcp://127.0.0.1:1',
      to: 'tls://db.test:1',
      upstream: { certificate: { ...certificate, key: `file:${ca.issue({ cn: 'c' }).keyFile}` } },
    },
    /^proxy\.db\.upstream\.certificate\.key: .*does not match/,
  ],
  'a device without a way to devices': [
    { listen: 'tcp://127.0.0.1:1', to: 'device://pump-7/ssh' },
    /^proxy\.db\.to: devices cannot be reached without a port/,
  ],
  'a target that is its own listener': [
    { listen: 'tcp://127.0.0.1:5432', to },
    /^proxy\.db\.to: the route leads to its own listener/,
  ],
  'a bind address that is a name': [
    { listen: 'tcp://127.0.0.1:1', to, bind: 'eth0' },
    /^proxy\.db\.bind: "eth0" is not an IP address/,
  ],
  'a backup under the consistent hash': [
    {
      listen: 'tcp://127.0.0.1:1',
      to: [to, { url: 'tcp://127.0.0.1:2', backup: true }],
      balance: { hash: 'source-address' },
    },
    /^proxy\.db\.balance: backup targets work with round-robin/,
  ],
  'only backups': [
    { listen: 'tcp://127.0.0.1:1', to: [{ url: to, backup: true }] },
    /^proxy\.db\.to: every target is a backup/,
  ],
  'a network with too many bits': [
    { listen: 'tcp://127.0.0.1:1', to, rules: [{ allow: '10.0.0.0/33' }] },
    /^proxy\.db\.rules: .*10\.0\.0\.0\/33/,
  ],
  'a network of balancers that is none': [
    { listen: 'tcp://127.0.0.1:1', to, 'proxy-protocol': { from: ['999.0.0.1'] } },
    /^proxy\.db\.proxy-protocol\.from\[0\]: /,
  ],
  'a health check port on a unix socket': [
    { listen: 'tcp://127.0.0.1:1', to: 'unix:/run/db.sock', health: { port: 1 } },
    /^proxy\.db\.health\.port: only/,
  ],
  'a listener written twice': [
    { listen: ['tcp://127.0.0.1:1', 'tcp://127.0.0.1:1'], to },
    /^proxy\.db\.listen\[1\]: tcp:\/\/127\.0\.0\.1:1 is written twice/,
  ],
  'a listener by name': [
    { listen: 'tcp://db.test:1', to },
    /^proxy\.db\.listen: "db\.test" is not an address of this machine/,
  ],
  'ACME without names': [{ listen: local, certificate: 'acme', to }, /^proxy\.db\.certificate: acme needs names/],
  'ACME for a wildcard': [
    { listen: local, certificate: 'acme', names: ['*.db.test'], to },
    /^proxy\.db\.certificate: acme .*wildcard/,
  ],
  'the gate port without names': [{ listen: 'gate', certificate, to }, /^proxy\.db\.names: listen: gate needs/],
};

for (const [name, [route, expected]] of Object.entries(wrong)) {
  test(`refuses ${name}`, async () => {
    const mistakes = await mistakesOf({ db: route });
    assert.ok(
      mistakes.some(text => expected.test(text)),
      `${expected} is not among\n${mistakes.join('\n') || '(no mistake found)'}`,
    );
  });
}

/** Two routes that cannot stand together. */
const together: Record<string, [config: object, expected: RegExp]> = {
  'two routes on one address without names': [
    { a: { listen: 'tcp://127.0.0.1:1', to }, b: { listen: 'tcp://127.0.0.1:1', to } },
    /^proxy\.b\.listen: tcp:\/\/127\.0\.0\.1:1 is also the address of a; tell them apart by names:/,
  ],
  'two defaults': [
    {
      a: { listen: local, certificate, names: ['a.test'], default: true, to },
      b: { listen: local, certificate, names: ['b.test'], default: true, to },
    },
    /^proxy\.b\.default: being the default on tcp:\/\/127\.0\.0\.1:6432 belongs to a already/,
  ],
  'one name twice': [
    {
      a: { listen: local, certificate, names: ['a.test'], to },
      b: { listen: local, certificate, names: ['A.test'], to },
    },
    /^proxy\.b\.names: a\.test on .* belongs to a already/,
  ],
  'two datagram routes on one port': [
    {
      a: { listen: 'udp://127.0.0.1:1', to: 'udp://127.0.0.1:2' },
      b: { listen: 'udp://127.0.0.1:1', to: 'udp://127.0.0.1:2' },
    },
    /^proxy\.b\.listen: .*datagrams need a port of their own/,
  ],
  'different senders of the PROXY header on one address': [
    {
      a: { listen: local, certificate, names: ['a.test'], to, 'proxy-protocol': { from: ['10.0.0.1'] } },
      b: { listen: local, certificate, names: ['b.test'], to },
    },
    /^proxy\.b\.proxy-protocol\.from: must be the same/,
  ],
  'an address inside another route’s wildcard': [
    { a: { listen: 'tcp://0.0.0.0:1', to }, b: { listen: 'tcp://127.0.0.1:1', to } },
    /^proxy\.b\.listen: tcp:\/\/127\.0\.0\.1:1 is covered by tcp:\/\/0\.0\.0\.0:1/,
  ],
};

for (const [name, [config, expected]] of Object.entries(together)) {
  test(`refuses ${name}`, async () => {
    const mistakes = await mistakesOf(config);
    assert.ok(
      mistakes.some(text => expected.test(text)),
      `${expected} is not among\n${mistakes.join('\n') || '(no mistake found)'}`,
    );
  });
}

test('names every mistake of a file at once, with paths for whoever knows the lines', async () => {
  const config = {
    a: { listen: 'tcp://127.0.0.1:2', to, bind: 'eth1' },
    b: { listen: 'tcp://127.0.0.1:1', to, bind: 'eth0' },
  };
  await assert.rejects(plan(config), (error: Fault) => {
    assert.equal(error.message.split('\n').length, 2);
    const mistakes = error.facts['mistakes'] as { path: string[] }[];
    assert.deepEqual(
      mistakes.map(one => one.path),
      [
        ['proxy', 'a', 'bind'],
        ['proxy', 'b', 'bind'],
      ],
    );
    return true;
  });
});

test('tries each line of the passphrase file, and says how many did not fit', async () => {
  const locked = ca.issue({ cn: 'localhost', san: ['DNS:localhost'], passphrase: 'open sesame' });
  const passphrase = join(temporaryFolder('pass'), 'pass.txt');
  const route = { listen: local, to, certificate: { ...files(locked), passphrase: `file:${passphrase}` } };
  writeFileSync(passphrase, 'wrong\r\nopen sesame\n');
  const [made] = await plan({ db: route });
  assert.match(made?.tls?.identities[0]?.key ?? '', /BEGIN PRIVATE KEY/);
  writeFileSync(passphrase, 'wrong\nwrong too\n');
  assert.match(
    (await mistakesOf({ db: route }))[0] ?? '',
    /^proxy\.db\.certificate\.key: .*none of 2 passphrases fits/,
  );
  writeFileSync(passphrase, '\n');
  assert.match((await mistakesOf({ db: route }))[0] ?? '', /^proxy\.db\.certificate\.passphrase: .*empty/);
  const bare = { ...route, certificate: files(locked) };
  assert.match((await mistakesOf({ db: bare }))[0] ?? '', /^proxy\.db\.certificate\.key: .*add passphrase: file:/);
});

test('takes a passphrase out of a FIFO, which can be read only once, for two routes', async () => {
  const locked = ca.issue({ cn: 'localhost', san: ['DNS:localhost'], passphrase: 'open sesame' });
  const fifo = join(temporaryFolder('fifo'), 'pass');
  execFileSync('mkfifo', [fifo]);
  const route = { to, certificate: { ...files(locked), passphrase: `file:${fifo}` } };
  const planned = plan({ a: { ...route, listen: local }, b: { ...route, listen: 'tls://127.0.0.1:6433' } });
  createWriteStream(fifo).end('open sesame\n');
  assert.equal((await planned).length, 2);
});

test('warns of what works and is weak, without refusing it', async () => {
  const expired = ca.issue({ cn: 'localhost', san: ['DNS:localhost'], days: -1 });
  const soon = ca.issue({ cn: 'localhost', san: ['DNS:localhost'], days: 5 });
  const [old, ending, out] = await plan({
    old: { listen: local, certificate: files(expired), to },
    ending: { listen: 'tls://0.0.0.0:1', certificate: files(soon), names: ['elsewhere.test'], to },
    out: { listen: 'tcp://127.0.0.1:2', to: 'tls://127.0.0.1:3', verify: 'off' },
  });
  assert.match(old?.warnings.join('\n') ?? '', /^proxy\.old\.certificate: the certificate expired on/m);
  assert.match(ending?.warnings.join('\n') ?? '', /^proxy\.ending\.certificate: the certificate ends on/m);
  assert.match(ending?.warnings.join('\n') ?? '', /^proxy\.ending\.certificate: .*does not cover elsewhere\.test/m);
  assert.match(ending?.warnings.join('\n') ?? '', /^proxy\.ending\.listen: everybody who reaches/m);
  assert.match(out?.warnings.join('\n') ?? '', /^proxy\.out\.verify: off/m);
});

test('a route that verifies, restricts and stays at home has nothing to warn of', async () => {
  const [good] = await plan({ good: { listen: local, certificate, to, names: ['db.test'] } });
  assert.deepEqual(good?.warnings, []);
});

test('a plan is plain JSON: it survives the way to a worker', async () => {
  const plans = await plan({
    db: {
      listen: local,
      certificate,
      to: [to, { url: 'tls://db.test:1', backup: true }],
      verify: { ca: `file:${ca.certFile}` },
    },
    dns: { listen: 'udp://127.0.0.1:5353', to: 'udp://127.0.0.1:53', datagrams: { responses: 1 } },
  });
  assert.deepEqual(JSON.parse(JSON.stringify(plans)), plans);
});

test('verifies a tls:// target under its own name by default, and sends no address as server name', async () => {
  const [byName, byAddress, off] = await plan({
    name: { listen: 'tcp://127.0.0.1:1', to: 'tls://db.test:1' },
    address: { listen: 'tcp://127.0.0.1:2', to: 'tls://127.0.0.1:1' },
    off: { listen: 'tcp://127.0.0.1:3', to: 'tls://db.test:1', sni: 'off', verify: 'off' },
  });
  const tls = (one: typeof byName) => one?.outward.upstreams[0]?.tls;
  assert.deepEqual(tls(byName), { sessionReuse: true, verify: { name: 'db.test' }, servername: 'db.test' });
  assert.deepEqual(tls(byAddress), { sessionReuse: true, verify: { name: '127.0.0.1' } });
  assert.deepEqual(tls(off), { sessionReuse: true, verify: false });
});

test('reads every file once', async () => {
  const seen: string[] = [];
  await plan(
    { a: { listen: local, certificate, to }, b: { listen: 'tls://127.0.0.1:6433', certificate, to } },
    {
      read: reference => {
        seen.push(reference);
        return readReference(reference);
      },
    },
  );
  assert.equal(seen.length, new Set(seen).size);
});

function reversedChain(): string {
  const path = join(temporaryFolder('chain'), 'chain.pem');
  writeFileSync(path, ca.cert + server.cert);
  return path;
}
