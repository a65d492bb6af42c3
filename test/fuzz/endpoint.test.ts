// Hostile requests to endpoints: Napter-shaped JSON, targets, and rows of an audit that somebody has written to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { readMapping, typeOf } from '../../src/features/endpoint/napter.ts';
import { parseEndpointTarget, resourcesOf } from '../../src/features/endpoint/target.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 1000);

function holds<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'invalid', String(error));
    return undefined;
  }
}

test('a Napter-shaped body is a request or a Fault `invalid`, and leads to a device', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.constantFrom('pump-7', '../x', '%2e', 'a/b', '\0', '__proto__'),
  );
  const body = fc.record(
    {
      destination: fc.oneof(
        fc.record(
          { imsi: text, simId: text, port: fc.oneof(fc.integer(), fc.double(), text), service: text },
          { requiredKeys: [] },
        ),
        fc.jsonValue(),
      ),
      source: fc.oneof(fc.record({ ipRanges: fc.oneof(fc.array(text), fc.jsonValue()) }), fc.jsonValue()),
      duration: fc.oneof(fc.double(), fc.jsonValue()),
      tlsRequired: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(body, fc.jsonValue()), fc.option(text, { nil: undefined }), (value, simId) => {
      const request = holds(() => readMapping(value, simId));
      if (!request) return;
      const target = holds(() => parseEndpointTarget(request.target));
      assert.ok(target === undefined || target.kind === 'device');
      assert.ok(request.for === undefined || request.for >= 0);
    }),
    { numRuns },
  );
});

test('a target is device:// or tcp://, or a Fault `invalid`; what rules are asked about has no device of two names', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc
      .tuple(fc.constantFrom('device://', 'tcp://', 'tls://', 'unix:'), fc.string({ maxLength: 40 }))
      .map(parts => parts.join('')),
    fc.webUrl(),
  );
  fc.assert(
    fc.property(text, value => {
      const target = holds(() => parseEndpointTarget(value));
      if (!target) return;
      for (const resource of resourcesOf(target)) assert.match(resource, /^(device|tcp)\//);
      if (target.kind === 'device') assert.ok(!target.device.includes('/'));
    }),
    { numRuns },
  );
});

test('rows of any kind are one of the eight events or none', () => {
  const row = fc.record({
    seq: fc.nat(),
    at: fc.string(),
    event: fc.oneof(fc.string(), fc.constantFrom('endpoint.opened', 'endpoint.disconnected', '__proto__', 'toString')),
    session: fc.option(fc.string()),
    from: fc.option(fc.string()),
    resource: fc.oneof(
      fc.string(),
      fc.string().map(id => `endpoint/${id}`),
    ),
    facts: fc.dictionary(fc.string(), fc.jsonValue()),
  });
  fc.assert(
    fc.property(row, value => {
      const found = typeOf(value);
      assert.ok(found === undefined || /^[A-Z]{6,9}$/.test(found.type));
    }),
    { numRuns },
  );
});
