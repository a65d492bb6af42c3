// Faults: what each code means at every edge, what a caller may see of a bug, what counts as weather.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault, type FaultCode, faults, isWeather, toFault } from './fault.ts';

test('every code has one status at each edge', () => {
  const table = Object.fromEntries(Object.entries(faults).map(([code, row]) => [code, [row.http, row.exit]]));
  const wanted: Record<FaultCode, [http: number, exit: number]> = {
    invalid: [400, 2],
    'unknown-caller': [401, 3],
    denied: [403, 3],
    missing: [404, 4],
    gone: [410, 4],
    conflict: [409, 4],
    limit: [429, 5],
    unreachable: [502, 6],
    timeout: [504, 6],
    protocol: [400, 7],
    bug: [500, 1],
  };
  assert.deepEqual(table, wanted);
});

test('a fault keeps its cause and facts for us', () => {
  const cause = new Error('the disk');
  const fault = new Fault('unreachable', 'try again', { cause, facts: { path: '/x' } });
  assert.equal(fault.cause, cause);
  assert.deepEqual(fault.facts, { path: '/x' });
  assert.equal(fault.name, 'Fault');
  assert.equal('cause' in new Fault('denied', 'no'), false);
  assert.equal(toFault(fault), fault);
});

test('a bug tells the caller nothing about itself, and us everything', () => {
  for (const error of [new TypeError('password=hunter2'), 'hunter2', undefined]) {
    const fault = toFault(error);
    assert.equal(fault.code, 'bug');
    assert.equal(fault.message, 'internal error; the log has the details');
    assert.equal(fault.cause, error);
  }
});

test('a reset is weather; a refused connection and a fault are not', () => {
  const withCode = (code: string): Error => Object.assign(new Error(code), { code });
  for (const code of ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR']) {
    assert.equal(isWeather(withCode(code)), true, code);
  }
  for (const error of [withCode('ECONNREFUSED'), new Fault('protocol', 'x'), new Error('x'), undefined, 'ECONNRESET']) {
    assert.equal(isWeather(error), false, String(error));
  }
});
