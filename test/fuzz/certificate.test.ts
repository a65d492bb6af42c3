// Bent certificates and lists: whatever arrives, the decoders answer with a value or a `protocol` Fault. FUZZ_RUNS raises the count.
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { parseCertificate, usageOids } from '../../src/trust/certificate.ts';
import { parseCrl } from '../../src/trust/crl.ts';
import { newKey, publicKeyOf, signCertificate } from '../../src/trust/pki.ts';
import { signCrl } from '../../src/trust/pki-crl.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 2000);

/** A few bytes changed, a piece cut out, a piece doubled, or the end cut off. */
const bent = (seed: Uint8Array): fc.Arbitrary<Uint8Array> => {
  const at = fc.nat(seed.length - 1);
  const edits = fc.array(fc.tuple(at, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
  return fc.oneof(
    edits.map(list => list.reduce((bytes, [i, value]) => bytes.with(i, value), seed)),
    fc.tuple(at, at).map(([a, b]) => Buffer.concat([seed.subarray(0, Math.min(a, b)), seed.subarray(Math.max(a, b))])),
    fc.tuple(at, at).map(([a, b]) => Buffer.concat([seed.subarray(0, Math.max(a, b)), seed.subarray(Math.min(a, b))])),
    at.map(end => seed.subarray(0, end)),
    fc.uint8Array({ maxLength: 200 }),
  );
};

const answersOrFaults = (decode: () => unknown, codes: readonly string[]): void => {
  try {
    decode();
  } catch (error) {
    assert.ok(error instanceof Fault && codes.includes(error.code), String((error as Error).stack));
  }
};

suite('hostile certificate data', () => {
  let certificate: Uint8Array;
  let list: Uint8Array;

  before(async () => {
    const key = await newKey('ecdsa');
    const dates = { notBefore: new Date('2026-01-01'), notAfter: new Date('2056-01-01') };
    const subject = { cn: '太郎', ou: ['医療事業部', 'x'], o: '東都' };
    const names = [
      'DNS:a.example',
      'IP:2001:db8::1',
      'IP:192.0.2.1',
      'URI:sekisho:user/a',
      'email:a@b.example',
    ] as const;
    const publicKey = publicKeyOf(key);
    const use = { ca: false as const, usages: [usageOids.client] };
    certificate = await signCertificate({ subject, names: [...names], publicKey, ...dates, use }, { key });
    const at = new Date('2026-01-01');
    const revoked = ['01', 'ff00', '7f'].map(serial => ({ serial, at, reason: 'keyCompromise' as const }));
    list = await signCrl({ number: 7, thisUpdate: at, nextUpdate: dates.notAfter, revoked }, { key, certificate });
    assert.equal(parseCertificate(certificate).alternativeNames.length, 5);
    assert.deepEqual([...parseCrl(list).revoked], ['01', 'ff00', '7f']);
  });

  test('a bent certificate never does anything but fail politely', () => {
    fc.assert(
      fc.property(bent(certificate), bytes => answersOrFaults(() => parseCertificate(bytes), ['protocol'])),
      { numRuns },
    );
  });

  test('a bent revocation list never does anything but fail politely, and never passes as signed', () => {
    const ca = parseCertificate(certificate);
    const tbs = Buffer.from(list.subarray(0, list.length - 80)); // everything that is surely signed
    fc.assert(
      fc.property(bent(list), bytes =>
        answersOrFaults(() => {
          const isSame = bytes.length === list.length && tbs.equals(bytes.subarray(0, tbs.length));
          if (parseCrl(bytes).isFrom(ca)) assert.ok(isSame, 'a changed list was taken for a signed one');
        }, ['protocol', 'invalid']),
      ),
      { numRuns },
    );
  });
});
