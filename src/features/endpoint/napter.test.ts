// Napter's shapes: what a request means, what an answer says, and which row is which of the eight events.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Endpoint } from './endpoint.ts';
import { readMapping, toLogEntry, toMapping, typeOf } from './napter.ts';

test('a request by IMSI, by SIM, and with both, where the IMSI is ignored', () => {
  const byImsi = readMapping({ destination: { imsi: '440101234567890', port: 22 } });
  assert.deepEqual(byImsi, {
    target: 'device://440101234567890/22',
    tls: 'none',
    name: false,
    napter: { imsi: '440101234567890', port: 22, strategy: 'IMSI_PRIORITIZED' },
  });
  const both = readMapping({
    destination: { imsi: '1', simId: '89', port: 80, service: 'arc' },
    duration: 90.5,
    tlsRequired: true,
    source: { ipRanges: ['203.0.113.7/32'] },
    unknown: 'is ignored',
  });
  assert.deepEqual(
    [both.target, both.for, both.tls, both.from, both.napter],
    ['device://89/80', 90_500, 'end', ['203.0.113.7/32'], { simId: '89', port: 80, strategy: 'ARC_PRIORITIZED' }],
  );
  assert.equal(readMapping({ destination: { port: 22 } }, 'pump 7').target, 'device://pump%207/22');
  assert.equal(readMapping({ destination: { simId: '89', port: 22 } }).napter.strategy, 'DYNAMIC');
});

test('what is wrong is said', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /the body/],
    [[], /the body/],
    [{}, /destination/],
    [{ destination: { simId: '89' } }, /destination\.port/],
    [{ destination: { simId: '89', port: 65_536 } }, /destination\.port/],
    [{ destination: { simId: '89', port: '22' } }, /destination\.port/],
    [{ destination: { port: 22 } }, /imsi or simId/],
    [{ destination: { simId: 7, port: 22 } }, /simId/],
    [{ destination: { simId: '89', port: 22, service: 'moon' } }, /air or arc/],
    [{ destination: { simId: '89', port: 22 }, duration: -1 }, /duration/],
    [{ destination: { simId: '89', port: 22 }, duration: '1h' }, /duration/],
    [{ destination: { simId: '89', port: 22 }, tlsRequired: 'yes' }, /tlsRequired/],
    [{ destination: { simId: '89', port: 22 }, source: { ipRanges: [1] } }, /ipRanges/],
    [{ destination: { simId: '89', port: 22 }, source: 'all' }, /source/],
  ];
  for (const [body, text] of cases) assert.throws(() => readMapping(body), text);
});

const endpoint = {
  id: 'abc',
  state: 'open',
  target: 'device://pump-7/ssh',
  port: 21_000,
  opened: 1000,
  until: 61_000,
  tls: 'end',
  limits: { sources: ['203.0.113.7/32'] },
  napter: undefined,
} as unknown as Endpoint;
const device = {
  name: 'pump-7',
  simId: '89',
  imsi: '4401',
  service: () => 'ssh',
  addressOf: () => '127.0.0.1:22',
};
const place = { address: '192.0.2.1', host: 'gate.example.com', operatorId: 'OP0000000001' };

test('an endpoint that was opened otherwise has a Napter face too, where it has a port and leads to a device', () => {
  const mapping = toMapping(endpoint, device, 2000, place);
  assert.deepEqual(
    [mapping?.endpoint, mapping?.duration, mapping?.simId, mapping?.destination, mapping?.expired],
    ['192.0.2.1:21000', 60, '89', { simId: '89', port: 22, destinationChoosingStrategy: 'DYNAMIC' }, false],
  );
  assert.equal(toMapping(endpoint, device, 61_000, place)?.expired, true);
  assert.equal(toMapping({ ...endpoint, target: 'tcp://10.0.0.1:22' }, undefined, 0, place), undefined);
  assert.equal(toMapping({ ...endpoint, port: undefined }, device, 0, place), undefined);
});

test('each row is one of the eight, or none', () => {
  const row = (event: string, facts: Record<string, unknown> = {}, resource = 'endpoint/abc') => ({
    ...{ seq: 1, at: '2026-11-22T09:00:00.000Z', session: 's', from: '198.51.100.1:4000' },
    ...{ event, facts, resource },
  });
  const kinds = [
    row('endpoint.opened', { endpoint: 'abc' }, 'device/pump-7/ssh'),
    row('endpoint.connected'),
    row('endpoint.reached'),
    row('endpoint.disconnected', { cause: 'ended' }),
    row('endpoint.unreached'),
    row('endpoint.denied', { action: 'endpoint.connect' }),
    row('endpoint.closed'),
    row('endpoint.ended'),
    row('endpoint.expired'),
    // None of them: an act that failed, its beginning, a conn that was refused already, somebody who may not open.
    row('endpoint.opened', { fault: 'limit' }, 'device/pump-7/ssh'),
    row('endpoint.allowed'),
    row('endpoint.disconnected', { cause: 'unreachable' }),
    row('endpoint.denied', { action: 'endpoint.open' }, 'device/pump-7/ssh'),
    row('constructor'),
  ].map(one => typeOf(one)?.type);
  assert.deepEqual(kinds, [
    ...['CREATED', 'ACCESS', 'CONNECTED', 'CLOSED', 'REFUSED', 'DENIED', 'DELETED', 'DELETED', 'EXPIRED'],
    ...[undefined, undefined, undefined, undefined, undefined],
  ]);
  assert.deepEqual(toLogEntry(row('endpoint.connected'), 'ACCESS', endpoint, device, 'OP1'), {
    connectionId: 's',
    createdAt: 1_795_338_000_000,
    direction: {
      destinationIPAddress: '127.0.0.1',
      destinationPort: 22,
      sourceIPAddress: '198.51.100.1',
      sourcePort: 4000,
    },
    imsi: '4401',
    operatorId: 'OP1',
    tls: true,
    type: 'ACCESS',
  });
});
