// Requests that renew: the same names or none, and bytes that are no request at all.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault } from '../core/fault.ts';
import { makeRequest, newDeviceKey } from '../features/device/agent/csr.ts';
import { openStore } from '../store/index.ts';
import { openAuthority } from './authority.ts';
import { checkSameNames } from './csr-names.ts';
import { derBlocks } from './pem.ts';
import { certsOnly } from './pkcs7.ts';
import { newKey } from './pki.ts';
import { makeCsr } from './pki-csr.ts';

const log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };

test('a request renews the certificate of its own names only, and what cannot be read is refused in words', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-names-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  await using store = await openStore({ url: 'sqlite::memory:', log });
  await using authority = await openAuthority({ store, dir, log });
  const derOf = (pem: string, label: string): Uint8Array => derBlocks(pem, label)[0] ?? new Uint8Array();
  const certified = async (user: string, more = {}): Promise<Uint8Array> =>
    derOf((await authority.issueClient({ user, key: 'ecdsa', ...more })).cert, 'CERTIFICATE');
  const csr = derOf(makeRequest(await newDeviceKey(), 'staff01'), 'CERTIFICATE REQUEST');
  const own = await certified('staff01');

  checkSameNames(csr, own);
  for (const other of [await certified('staff02'), await certified('staff01', { ou: ['x'] })])
    assert.throws(() => checkSameNames(csr, other), { code: 'invalid', message: /subject/ });
  const named = await makeCsr(['a.example'], await newKey('ecdsa'));
  assert.throws(() => checkSameNames(named, own), { code: 'invalid' });

  for (let at = 0; at < csr.length; at += 1) {
    assert.throws(() => checkSameNames(csr.subarray(0, at), own), Fault);
    for (const value of [0, 0x30, 0x80, 0xff]) {
      const changed = Uint8Array.from(csr);
      changed[at] = value;
      try {
        checkSameNames(changed, own);
      } catch (error) {
        assert.ok(error instanceof Fault && error.code !== 'bug', `byte ${at} as ${value}: ${error}`);
      }
    }
  }
});

test('certificates go into PKCS#7 each once and unchanged', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-pkcs7-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  await using store = await openStore({ url: 'sqlite::memory:', log });
  await using authority = await openAuthority({ store, dir, log });
  const pems = [...authority.trust().cas];
  const file = Buffer.from(certsOnly([...pems, ...pems]));
  for (const pem of pems) {
    const { raw } = new X509Certificate(pem);
    assert.equal(file.toString('hex').split(raw.toString('hex')).length, 2, 'once');
  }
});
