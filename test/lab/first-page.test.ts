// The first page of each list with 100,000 rows of audit and 5,000 devices: what a whole gate takes for it, measured.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openAudit } from '../../src/access/index.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openDeviceRegistry } from '../../src/features/device/index.ts';
import { openStore } from '../../src/store/index.ts';
import { noMetrics, silentLog } from '../e2e/api-fakes.ts';
import { openGate } from '../e2e/console-rig.ts';
import { startGate } from '../fixtures/gate-process.ts';
import { endProperly } from './house.ts';

const [auditRows, devices, certificates, people, times] = [100_000, 5000, 20_000, 5000, 15];
/** Milliseconds, the median of some: the promise to people who open a page. */
const most = 300;

/** Into the database of a gate that does not run. */
async function fill(data: string): Promise<void> {
  const [clock, log, metrics] = [systemClock, silentLog, noMetrics];
  await using store = await openStore({ url: `sqlite:${join(data, 'sekisho.db')}`, log, clock });
  await using audit = await openAudit({ store, clock, metrics, log, keyFile: join(data, 'audit.key') });
  for (let at = 0; at < auditRows; at += 1000) {
    await Promise.all(
      Array.from({ length: 1000 }, (_, index) => {
        const number = at + index;
        const who = { kind: 'user', id: `user${number % 500}`, credential: `token:${number % 500}` } as const;
        const event = ['proxy.noted', 'cert.issued', 'user.denied', 'device.changed'][number % 4] ?? '';
        const from = { host: `203.0.113.${number % 250}`, port: 4000 };
        const resource = `device/d${number % devices}`;
        return audit.append({ event, who, from, resource, outcome: 'done', facts: { number } });
      }),
    );
  }
  await using registry = await openDeviceRegistry({ store, clock, log });
  for (let number = 0; number < devices; number++)
    await registry.invite(`d${number}`, { tags: { site: `s${number % 9}` } });
  const created = clock.now().toISOString();
  const rows = Array.from({ length: certificates }, (_, number) => {
    const serial = `ab${number.toString(16).padStart(30, '0')}`;
    return {
      ...{ serial, fingerprint: serial.padStart(64, '0'), issuer: 'f'.repeat(64), kind: 'user' as const },
      ...{ name: `user${number % people}`, names: '[]', subject: `{"cn":"user${number}","ou":["unit ${number % 9}"]}` },
      not_before: new Date(Date.now() - number * 60_000).toISOString(),
      not_after: new Date(Date.now() + (number - 2000) * 3_600_000).toISOString(),
      pem: '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n',
      ...{ revoked: number % 20 === 0 ? created : null, reason: null, replaces: null },
    };
  });
  for (let at = 0; at < rows.length; at += 500)
    await store.db
      .insertInto('certificate')
      .values(rows.slice(at, at + 500))
      .execute();
}

test('first pages come at once, whatever has been written before', async (t: TestContext) => {
  const house = await openGate(t);
  await endProperly(house.gate);
  await fill(house.gate.data);
  await startGate(t, {
    folder: house.gate.folder,
    config: `gate: { listen: 'tls://127.0.0.1:${house.port}', workers: 0 }\n`,
  });
  for (const path of [
    '/v1/audit?limit=100',
    '/v1/audit?event=cert.*&limit=100',
    '/v1/audit?event=nothing.ever&limit=100',
    '/v1/audit?who=user7&limit=100',
    '/v1/audit?who=nobody&limit=100',
    '/v1/audit?resource=device/d7&limit=100',
    '/v1/audit?outcome=failed&limit=100',
    '/v1/audit?since=2020-11-22T00:00:00Z&limit=100',
    '/v1/devices',
    '/v1/users?limit=100',
    '/v1/users?search=user4&offset=200&limit=100',
    '/v1/certs',
    '/v1/certs?offset=15000',
    '/v1/certs?search=unit%204&offset=1000',
    '/v1/certs?state=revoked',
    '/v1/certs?expiring=30d',
    '/v1/status',
    '/v1/sessions',
    '/v1/approvals',
  ]) {
    const took: number[] = [];
    for (let time = 0; time < times; time++) {
      const start = performance.now();
      await house.local('GET', path);
      took.push(performance.now() - start);
    }
    const median = took.sort((a, b) => a - b)[Math.floor(times / 2)] ?? 0;
    t.diagnostic(`${path}: ${median.toFixed(1)} ms`);
    assert.ok(median < most, `${path} takes ${median.toFixed(0)} ms`);
  }
});
