// Questions and answers between processes: values, Faults, and channels that break in between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../core/fault.ts';
import { answerCalls, createCaller, type Wire } from './calls.ts';

function pair(): { near: Wire; far: Wire; close(): void } {
  const closing = new AbortController();
  const receivers: ((message: unknown) => void)[][] = [[], []];
  const end = (own: number): Wire => ({
    send: message =>
      queueMicrotask(() => {
        for (const deliver of receivers[1 - own] ?? []) deliver(structuredClone(message));
      }),
    receive: deliver => void receivers[own]?.push(deliver),
    closed: closing.signal,
  });
  return { near: end(0), far: end(1), close: () => closing.abort() };
}
const verbs = {
  double: (n: number) => n * 2,
  refuse: (_: undefined) => {
    throw new Fault('conflict', 'taken', { facts: { port: 5 } });
  },
  break: (_: undefined) => {
    throw new TypeError('oops');
  },
  hang: (_: undefined) => new Promise<void>(() => {}),
};

test('a call gets the value, or the Fault with its code, text and facts', async () => {
  const { near, far } = pair();
  answerCalls(far, verbs);
  const call = createCaller<typeof verbs>(near);
  assert.equal(await call('double', 21), 42);
  await assert.rejects(call('refuse', undefined), (error: unknown) => {
    return (
      error instanceof Fault && error.code === 'conflict' && error.message === 'taken' && error.facts['port'] === 5
    );
  });
  await assert.rejects(call('break', undefined), (error: unknown) => error instanceof Fault && error.code === 'bug');
});

test('a verb that is none is a Fault, also one that every object has', async () => {
  const { near, far } = pair();
  answerCalls(far, verbs);
  const call = createCaller(near) as (verb: string, argument: unknown) => Promise<unknown>;
  await assert.rejects(call('toString', undefined), { code: 'bug' });
});

test('a call does not outlive its signal or its channel', async () => {
  const { near, far, close } = pair();
  answerCalls(far, verbs);
  const call = createCaller<typeof verbs>(near);
  const ending = new AbortController();
  const slow = call('hang', undefined, ending.signal);
  ending.abort();
  await assert.rejects(slow, { code: 'timeout' });
  const open = call('hang', undefined);
  close();
  await assert.rejects(open, { code: 'gone' });
  await assert.rejects(call('double', 1), { code: 'gone' });
});
