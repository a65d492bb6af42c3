// An administrator's link that renews a certificate: same person, same subject, a new key, and one line to revoke.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openHouse } from './api-house.ts';

const day = 86_400_000;

test('a renewal link makes the same certificate anew, and revoking the first ends both', async t => {
  const house = await openHouse(t);
  await house.directory.ensure({ name: 'alice' });
  const first = await house.authority.issueClient({ user: 'alice', cn: 'アリス', ou: ['x'], days: 20, key: 'ecdsa' });
  const server = await house.authority.issueServer({ names: ['db.internal'], days: 20, key: 'ecdsa' });
  const expiring = async (within: string): Promise<string[]> => {
    const { body } = await house.local(`/v1/certs?expiring=${within}`);
    return body.certs.map(({ serial }: { serial: string }) => serial);
  };
  assert.deepEqual(await expiring('21d'), [first.serial, server.serial]);
  assert.deepEqual(await expiring('19d'), []);
  assert.equal((await house.local('/v1/certs?expiring=soon')).status, 400);
  house.clock.move(10 * day);

  const renew = (serial: string, body = {}) =>
    house.local(`/v1/certs/${serial}/renewal`, { method: 'POST', body: { for: '1d', ...body } });
  const { status, body: made } = await renew(first.serial);
  assert.equal(status, 200);
  assert.deepEqual([made.subject, made.replaces, made.user], ['cn=アリス, ou=x', first.serial, 'alice']);
  const fetch = (link: string) =>
    house.remote('/v1/certs/enrolment/certificate', {
      method: 'POST',
      body: { code: link.split('code=')[1], format: 'p12', password: 'long enough' },
    });
  const got = await fetch(made.link);
  assert.equal(got.status, 200);
  const shown = (await house.local(`/v1/certs/${got.body.serial}`)).body;
  assert.deepEqual([shown.replaces, shown.subject], [first.serial, 'cn=アリス, ou=x']);
  assert.equal(Date.parse(shown.notAfter), house.clock.now().getTime() + 20 * day, 'as long as the first was to live');
  assert.deepEqual(await expiring('10d'), [server.serial], 'what was renewed is no news');

  const other = (await renew(first.serial)).body.link;
  await house.local(`/v1/certs/${first.serial}/revoke`, { method: 'POST', body: {} });
  assert.equal((await house.local(`/v1/certs/${got.body.serial}`)).body.state, 'revoked');
  assert.equal((await fetch(other)).status, 409, 'a link that was open when it was revoked');
  assert.equal((await renew(first.serial)).status, 409);
  assert.equal((await renew(server.serial)).status, 409);
  assert.equal((await renew('ff')).status, 404);

  const second = await house.authority.issueClient({ user: 'alice', days: 1, key: 'ecdsa' });
  await house.directory.change('alice', { state: 'disabled' });
  assert.equal((await renew(second.serial)).status, 409, 'whose person is disabled');
  await house.directory.change('alice', { state: 'active' });
  house.clock.move(2 * day);
  assert.equal((await renew(second.serial)).status, 409, 'what has expired');
});
