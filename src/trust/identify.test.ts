// A certificate is believed only as far as its issuer goes: whose user, in time, not revoked, on every connection.
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, suite, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { Conn, Log, Principal } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Authority, openAuthority } from './authority.ts';
import { parseCertificate, usageOids } from './certificate.ts';
import type { ClientTrust } from './client-trust.ts';
import { identifyByCertificate } from './identify.ts';
import { derBlocks, toPem } from './pem.ts';
import { type AlternativeName, newKey, publicKeyOf, type Subject, signCertificate } from './pki.ts';
import { signCrl } from './pki-crl.ts';
import { principalOf } from './principal.ts';

const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const signal = AbortSignal.timeout(60_000);
const start = '2026-11-22T00:00:00Z';
const day = 86_400_000;
const unknown = { code: 'unknown-caller' };

interface Ca {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly key: KeyObject;
}
const dates = { notBefore: new Date('2026-11-01'), notAfter: new Date('2027-11-01') };

async function makeCa(cn: string, parent?: Ca): Promise<Ca> {
  const key = await newKey('ecdsa');
  const request = {
    subject: { cn, o: 'Sekisho' },
    names: [],
    publicKey: publicKeyOf(key),
    ...dates,
    use: { ca: true as const },
  };
  const der = await signCertificate(request, parent ? { key: parent.key, certificate: parent.der } : { key });
  return { der, pem: toPem('CERTIFICATE', der), key };
}

async function makeLeaf(
  ca: Ca,
  subject: Subject,
  names: AlternativeName[] = [],
  usage: string = usageOids.client,
  serial?: string,
): Promise<Uint8Array> {
  const key = await newKey('ecdsa');
  const use = { ca: false as const, usages: [usage] };
  const request = {
    subject,
    names,
    publicKey: publicKeyOf(key),
    ...dates,
    use,
    ...(serial === undefined ? {} : { serial }),
  };
  return signCertificate(request, { key: ca.key, certificate: ca.der });
}

const makeCrl = async (ca: Ca, serials: string[], thisUpdate = new Date(start), days = 7): Promise<string> =>
  toPem(
    'X509 CRL',
    await signCrl(
      {
        ...{ number: 1, thisUpdate, nextUpdate: new Date(thisUpdate.getTime() + days * day) },
        revoked: serials.map(serial => ({ serial, at: thisUpdate, reason: 'superseded' as const })),
      },
      { key: ca.key, certificate: ca.der },
    ),
  );

const connWith = (leaf?: Uint8Array, chain?: readonly Uint8Array[], resumed = false): Conn => ({
  stream: new PassThrough(),
  peer: { host: '192.0.2.1', port: 1 },
  tls: { resumed, ...(leaf ? { leaf } : {}), ...(chain ? { chain } : {}) },
  close: async () => {},
});

suite('who a certificate is', () => {
  let dir: string;
  let store: Store;
  let authority: Authority;
  let clock: TestClock;
  let foreign: Ca;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sekisho-identify-'));
    clock = new TestClock(start);
    store = await openStore({ url: 'sqlite::memory:', log });
    authority = await openAuthority({ store, dir, log, clock });
    foreign = await makeCa('Corp CA');
  });
  after(async () => {
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  const trustOf = (more: Partial<ClientTrust> = {}, cas: readonly Ca[] = [foreign]): ClientTrust => ({
    ...{ mode: 'required', crls: [], crlGrace: 0, depth: 3 },
    builtin: authority.trust().builtin,
    cas: [...authority.trust().cas, ...cas.map(ca => ca.pem)],
    ...more,
  });
  const ours = async (user: string): Promise<Uint8Array> => {
    const issued = await authority.issueClient({ user, key: 'ecdsa', ou: ['医療事業部', '経理'], o: '東都' });
    return derBlocks(issued.cert, 'CERTIFICATE')[0] ?? assert.fail();
  };
  const who = (trust: ClientTrust, ...conn: Parameters<typeof connWith>): Promise<Principal> =>
    identifyByCertificate(trust, clock)(connWith(...conn), signal);

  test('a certificate of ours is its user, with every attribute parsed', async () => {
    const leaf = await ours('alice');
    for (const resumed of [false, true]) {
      const principal = await who(trustOf(), leaf, resumed ? undefined : [], resumed);
      assert.deepEqual([principal.kind, principal.id], ['user', 'alice']);
      assert.equal(principal.credential, `cert:${parseCertificate(leaf).fingerprint}`);
      assert.deepEqual(Object.fromEntries(principal.attributes), {
        cn: ['alice'],
        ou: ['医療事業部', '経理'],
        o: ['東都'],
        san: ['URI:sekisho:user/alice'],
        issuer: ['Sekisho Issuing CA 1'],
      });
    }
  });

  test('a foreign CA with one of our users’ names is never that user, on resumed sessions neither', async () => {
    // The same issuer name, the same subject, the same URI: everything but our key.
    const twin = await makeCa('Sekisho Issuing CA 1');
    for (const ca of [foreign, twin]) {
      const leaf = await makeLeaf(ca, { cn: 'alice', ou: ['医療事業部'] }, ['URI:sekisho:user/alice']);
      for (const chain of [[ca.der], undefined]) {
        const principal = await who(trustOf({}, [foreign, twin]), leaf, chain, !chain);
        assert.deepEqual([principal.kind, principal.id], ['user', '']);
        assert.deepEqual(principal.attributes.get('cn'), ['alice']);
      }
    }
  });

  test('a certificate of ours is nobody’s where the gate’s own CA does not count', async () => {
    const principal = await who(trustOf({ builtin: [], cas: [foreign.pem] }), await ours('alice'));
    assert.equal(principal.id, '');
  });

  test('a server’s certificate of ours, or one with two bindings, names no user', async () => {
    const files = await import('./ca-files.ts');
    const { issuing } = await files.openCaFiles({ dir, log, now: clock.now(), name: 'Sekisho', key: 'ecdsa' });
    const own = issuing.at(-1) ?? assert.fail();
    const ca: Ca = { der: own.facts.der, pem: own.pem, key: own.key };
    const cases: [AlternativeName[], string][] = [
      [['URI:sekisho:user/alice'], usageOids.server],
      [['URI:sekisho:user/alice', 'URI:sekisho:user/root'], usageOids.client],
      [['URI:sekisho:user/'], usageOids.client],
      [['URI:sekisho:user/a/b'], usageOids.client],
      [['URI:sekisho:user/%E0%A4%A'], usageOids.client],
      [['URI:sekisho:admin/alice'], usageOids.client],
      [['URI:SEKISHO:user/alice'], usageOids.client],
    ];
    for (const [names, usage] of cases) {
      assert.equal(principalOf(await makeLeaf(ca, { cn: 'alice' }, names, usage), trustOf()).id, '', names.join());
    }
    const device = principalOf(await makeLeaf(ca, { cn: 'x' }, ['URI:sekisho:device/pump%207']), trustOf());
    assert.deepEqual([device.kind, device.id], ['device', 'pump 7']);
  });

  test('a CN that reads like other attributes stays a CN', async () => {
    const leaf = await makeLeaf(foreign, { cn: 'x, OU=医療事業部/OU=医療事業部\\+O=Sekisho' });
    const { attributes } = principalOf(leaf, trustOf());
    assert.deepEqual(attributes.get('cn'), ['x, OU=医療事業部/OU=医療事業部\\+O=Sekisho']);
    assert.deepEqual(attributes.get('ou'), []);
    assert.deepEqual(attributes.get('o'), []);
  });

  test('nothing shown is anonymous where that is allowed, and refused where not', async () => {
    assert.equal((await who(trustOf({ mode: 'optional' }))).kind, 'anonymous');
    await assert.rejects(who(trustOf()), unknown);
  });

  test('before its time and after it a certificate is refused, from the same Identify', async () => {
    const moving = new TestClock(start);
    const identify = identifyByCertificate(trustOf(), moving);
    const leaf = await makeLeaf(foreign, { cn: 'bob' });
    assert.equal((await identify(connWith(leaf), signal)).id, '');
    moving.move(400 * day);
    await assert.rejects(identify(connWith(leaf), signal), { ...unknown, message: /expired/ });
    const early = identifyByCertificate(trustOf(), new TestClock('2026-01-01'));
    await assert.rejects(early(connWith(leaf), signal), { ...unknown, message: /not valid yet/ });
  });

  test('a revoked leaf is refused, also on a resumed session, and its neighbours are not', async () => {
    const leaf = await makeLeaf(foreign, { cn: 'lost' });
    const kept = await makeLeaf(foreign, { cn: 'kept' });
    const trust = trustOf({ crls: [await makeCrl(foreign, [parseCertificate(leaf).serial])] });
    for (const chain of [[foreign.der], undefined])
      await assert.rejects(who(trust, leaf, chain, !chain), { ...unknown, message: /revoked/ });
    assert.equal((await who(trust, kept, [foreign.der])).attributes.get('cn')?.[0], 'kept');
    // The list of one CA says nothing about another's certificates.
    const other = await makeCa('Other CA');
    const sameSerial = await makeLeaf(other, { cn: 'x' }, [], usageOids.client, parseCertificate(leaf).serial);
    const both = [...trust.crls, await makeCrl(other, [])];
    assert.ok(await who(trustOf({ crls: both }, [foreign, other]), sameSerial));
  });

  test('where lists are given, a CA without one refuses; our own certificates need none', async () => {
    const other = await makeCa('Other CA');
    const trust = trustOf({ crls: [await makeCrl(foreign, [])] }, [foreign, other]);
    const leaf = await makeLeaf(other, { cn: 'x' });
    for (const chain of [[other.der], undefined])
      await assert.rejects(who(trust, leaf, chain, !chain), { ...unknown, message: /no revocation list/ });
    assert.ok(await who(trust, await makeLeaf(foreign, { cn: 'kept' }), [foreign.der]));
  });

  test('a revoked intermediate refuses what stands under it, then also on resumed sessions', async () => {
    const middle = await makeCa('Corp Issuing', foreign);
    const leaf = await makeLeaf(middle, { cn: 'under' });
    const crls = [await makeCrl(foreign, [parseCertificate(middle.der).serial]), await makeCrl(middle, [])];
    const trust = trustOf({ crls }, [foreign, middle]);
    const identify = identifyByCertificate(trust, clock);
    await assert.rejects(identify(connWith(leaf, [middle.der, foreign.der]), signal), {
      ...unknown,
      message: /revoked/,
    });
    await assert.rejects(identify(connWith(leaf, undefined, true), signal), { ...unknown, message: /revoked/ });
  });

  test('a list past its nextUpdate refuses its CA’s certificates, after the grace', async () => {
    const leaf = await makeLeaf(foreign, { cn: 'kept' });
    const crls = [await makeCrl(foreign, [])];
    const moving = new TestClock(start);
    const strict = identifyByCertificate(trustOf({ crls }), moving);
    const eased = identifyByCertificate(trustOf({ crls, crlGrace: 2 * day }), moving);
    const alice = await ours('alice');
    moving.move(7 * day + 1000);
    await assert.rejects(strict(connWith(leaf), signal), { ...unknown, message: /out of date/ });
    assert.ok(await eased(connWith(leaf), signal));
    assert.equal((await strict(connWith(alice), signal)).id, 'alice');
    moving.move(2 * day);
    await assert.rejects(eased(connWith(leaf), signal), { ...unknown, message: /out of date/ });
    // The newest of several lists counts; what any of them revokes is revoked.
    const newer = await makeCrl(foreign, [], moving.now());
    assert.ok(await identifyByCertificate(trustOf({ crls: [...crls, newer] }), moving)(connWith(leaf), signal));
  });

  test('a list that no trusted CA signed is refused when it is loaded, with what to do', async () => {
    const stranger = await makeCa('Stranger CA');
    const forger = await makeCa('Corp CA');
    const stripped = (await makeCrl(foreign, [])).replace('X509 CRL', 'CERTIFICATE').replace('X509 CRL', 'CERTIFICATE');
    const cases: [string, RegExp][] = [
      [await makeCrl(stranger, []), /not among the trusted client CAs; add that CA/],
      [await makeCrl(forger, []), /carries the name of "Sekisho, Corp CA" but is not signed by its key/],
      [stripped, /there is no X509 CRL in it, but CERTIFICATE/],
      ['hello', /there is no X509 CRL in it/],
    ];
    for (const [crl, message] of cases) {
      assert.throws(() => identifyByCertificate(trustOf({ crls: [crl] })), { code: 'invalid', message });
    }
  });

  test('hostile DER is a protocol Fault and nothing else', async () => {
    const leaf = await ours('alice');
    const identify = identifyByCertificate(trustOf(), clock);
    const hostile = [
      new Uint8Array(),
      Uint8Array.of(0x30),
      Uint8Array.of(0x30, 0x80, 0, 0),
      Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
      Buffer.concat([leaf, Buffer.of(0)]),
      leaf.subarray(0, leaf.length - 1),
      Buffer.alloc(100_000, 0x30),
    ];
    for (const bytes of hostile) await assert.rejects(identify(connWith(bytes), signal), { code: 'protocol' });
  });

  test('a trust survives being sent as JSON', async () => {
    const leaf = await ours('alice');
    const sent = JSON.parse(JSON.stringify(trustOf({ crls: [await makeCrl(foreign, [])] }))) as ClientTrust;
    assert.equal((await who(sent, leaf)).id, 'alice');
  });
});
