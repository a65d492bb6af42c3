// Hostile bytes into the tunnel frame's decoder and into a whole mux: a `protocol` Fault or an answer, nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { TunnelMux } from '../../src/features/tunnel/mux.ts';
import { encodeFrame, FrameReader, longestPayload } from '../../src/wire/tunnel-frame.ts';
import { fakePipe } from '../fixtures/fake-pipe.ts';
import { memoryLog } from '../fixtures/quiet.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 2000);

const proper = fc
  .record({
    type: fc.integer({ min: 0, max: 8 }),
    streamId: fc.integer({ min: 0, max: 4 }),
    ignorable: fc.boolean(),
    payload: fc.uint8Array({ maxLength: 40 }),
    serviceId: fc.constantFrom('', 'SSH', 'WEB', 'NONE'),
    connectionId: fc.integer({ min: 0, max: 4 }),
  })
  .map(message => encodeFrame(message));
/** A proper frame with some bytes changed, or cut off. */
const mutated = fc
  .tuple(proper, fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.nat(60))
  .map(([frame, changes, cut]) => {
    const bytes = Buffer.from(frame);
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    return cut < 10 ? bytes.subarray(0, cut) : bytes;
  });
const chunks = fc.array(fc.oneof(proper, mutated, fc.uint8Array({ maxLength: 200 })), { maxLength: 30 });

/** In portions, between which streams and timers do what they put off: a million runs in one turn would pile that up. */
async function hold<T>(property: () => fc.IProperty<T>): Promise<void> {
  const portion = 2000;
  for (let left = numRuns; left > 0; left -= portion) {
    fc.assert(property(), { numRuns: Math.min(portion, left) });
    await new Promise(resolve => setImmediate(resolve));
  }
}

test('the reader of frames', async () => {
  await hold(() =>
    fc.property(chunks, parts => {
      const reader = new FrameReader();
      try {
        for (const part of parts) {
          reader.read(part, message => {
            assert.ok(message.payload.length <= longestPayload && message.serviceId.length <= 128);
          });
          assert.ok(reader.waiting <= 65_537);
        }
      } catch (error) {
        assert.ok(error instanceof Fault && error.code === 'protocol', String(error));
      }
    }),
  );
});

for (const role of ['acceptor', 'opener'] as const) {
  test(`a mux as ${role}: what it cannot take ends it with 1008, and its streams with it`, async () => {
    await hold(() =>
      fc.property(chunks, fc.boolean(), (parts, extended) => {
        const log = memoryLog();
        const pipe = fakePipe();
        const mux = new TunnelMux({
          ...{ pipe, role, place: 'service', services: ['SSH', 'WEB'], extended, log },
          onStream: stream => void stream.resume(),
          ...(role === 'opener' ? { onDeaf: () => mux.destroy() } : {}),
        });
        if (role === 'opener') for (const service of ['SSH', 'WEB', 'SSH']) mux.open(service).resume();
        for (const part of parts) pipe.hear(Buffer.from(part));
        assert.deepEqual(
          log.lines.filter(({ level }) => level === 'error'),
          [],
        );
        assert.ok(pipe.end === undefined || pipe.end.code === 1008, String(pipe.end?.code));
        mux.destroy();
        assert.equal(mux.streams, 0);
      }),
    );
  });
}
