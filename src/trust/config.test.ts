// The `trust:` slice: an empty one is a safe one, and mistakes are named.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trustConfig } from './config.ts';

test('nothing written means our own CA, no grace, and limits on guessing', () => {
  const config = trustConfig.parse({});
  assert.deepEqual(config.clients, ['builtin']);
  assert.equal(config['crl-grace'], 0);
  assert.deepEqual(config['rate-limit'].subject, { tries: 10, per: 600_000, block: 600_000 });
  assert.equal(config.certificates.server, 90 * 86_400_000);
});

test('a written slice is read with its units', () => {
  const config = trustConfig.parse({
    clients: ['builtin', 'file:corp-root.crt'],
    crl: ['file:corp.crl'],
    'crl-grace': '12h',
    certificates: { client: '30d' },
    'rate-limit': { address: { tries: 5, per: '10s' } },
  });
  assert.equal(config['crl-grace'], 43_200_000);
  assert.equal(config.certificates.client, 30 * 86_400_000);
  assert.deepEqual(config['rate-limit'].address, { tries: 5, per: 10_000, block: 300_000 });
});

test('mistakes are refused at their key', () => {
  const mistakes: [object, string][] = [
    [{ client: ['builtin'] }, ''],
    [{ clients: [] }, 'clients'],
    [{ clients: ['corp-root.crt'] }, 'clients.0'],
    [{ certificates: { server: '900d' } }, 'certificates.server'],
    [{ 'rate-limit': { address: { tries: 0 } } }, 'rate-limit.address.tries'],
    [{ 'crl-url': 'file:///etc/x' }, 'crl-url'],
    [{ 'crl-grace': 5 }, 'crl-grace'],
  ];
  for (const [value, at] of mistakes) {
    const { error } = trustConfig.safeParse(value);
    assert.equal(error?.issues[0]?.path.join('.'), at, JSON.stringify(value));
  }
});
