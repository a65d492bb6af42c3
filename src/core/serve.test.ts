// The heart: nobody passes unadmitted, every session ends, every conn is closed, and nothing is thrown.
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { mock, test } from 'node:test';
import { Fault } from './fault.ts';
import type { AccessRequest, Conn, Gate, Listener, Log, Metrics, Principal, Session } from './parts.ts';
import { type Door, enter, serve, within } from './serve.ts';

const who: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
const peer = { host: '192.0.2.1', port: 4000 };

/** A door that writes down what happens at it, in order. */
function house(parts: Partial<Door> = {}, admit?: (request: AccessRequest) => void) {
  const events: string[] = [];
  const requests: AccessRequest[] = [];
  const counted: unknown[] = [];
  const logged: [level: string, facts: object, text: string][] = [];
  const write = (level: string) => (facts: object, text: string) => void logged.push([level, facts, text]);
  const log: Log = {
    child: () => log,
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  };
  const metrics: Metrics = {
    count: (name, labels) => void counted.push([name, labels]),
    gauge() {},
    observe() {},
  };
  const gate: Gate = {
    async admit(request) {
      requests.push(request);
      admit?.(request);
      events.push('admitted');
      const session = {
        async [Symbol.asyncDispose]() {
          events.push('session ended');
        },
      };
      return session as unknown as Session;
    },
    refuse() {},
  };
  const makeConn = (): Conn => {
    const [stream] = duplexPair();
    return {
      stream,
      peer,
      async close() {
        events.push('closed');
        stream.destroy();
      },
    };
  };
  const door: Door = {
    action: 'proxy.connect',
    resource: 'proxy/db',
    upgrade: async conn => conn,
    identify: async () => who,
    gate,
    handler: async () => void events.push('handled'),
    patience: 60_000,
    log,
    metrics,
    ...parts,
  };
  return { door, events, requests, counted, logged, makeConn };
}

test('a conn is upgraded, identified, admitted, handled, written down and closed, in this order', async () => {
  const { door, events, requests, logged, makeConn } = house();
  await enter(makeConn(), {
    ...door,
    upgrade: async conn => {
      events.push('upgraded');
      return conn;
    },
    identify: async () => {
      events.push('identified');
      return who;
    },
  });
  assert.deepEqual(events, ['upgraded', 'identified', 'admitted', 'handled', 'session ended', 'closed']);
  assert.deepEqual(requests, [{ who, action: 'proxy.connect', resource: 'proxy/db', from: peer }]);
  assert.deepEqual(logged, []);
});

test('what opened the door and its limits travel with the request', async () => {
  const { door, requests, makeConn } = house({ opened: 'proxy/db', limits: { connections: 1 } });
  await enter(makeConn(), door);
  assert.equal(requests[0]?.opened, 'proxy/db');
  assert.deepEqual(requests[0]?.limits, { connections: 1 });
});

test('who is denied never reaches the handler, and is closed', async () => {
  const { door, events, counted, logged, makeConn } = house({}, () => {
    throw new Fault('denied', 'no rule allows it');
  });
  await enter(makeConn(), door);
  assert.deepEqual(events, ['closed']);
  assert.deepEqual(counted, [['faults_total', { code: 'denied', resource: 'proxy/db' }]]);
  assert.deepEqual(logged, [['info', { from: peer, code: 'denied' }, 'no rule allows it']]);
});

test('who cannot be identified is never brought before the gate', async () => {
  const { door, events, requests, makeConn } = house({
    identify: async () => {
      throw new Fault('unknown-caller', 'the certificate is revoked');
    },
  });
  await enter(makeConn(), door);
  assert.deepEqual(requests, []);
  assert.deepEqual(events, ['closed']);
});

test('the session ends before the conn is closed, even when the handler throws; a bug is logged as one', async () => {
  const cause = new TypeError('x is not a function');
  const { door, events, logged, makeConn } = house({
    handler: async () => {
      throw cause;
    },
  });
  await enter(makeConn(), door);
  assert.deepEqual(events, ['admitted', 'session ended', 'closed']);
  assert.deepEqual(logged, [['error', { from: peer, code: 'bug', cause }, 'internal error; the log has the details']]);
});

test('a slow handshake is cut by patience, and counts as a timeout', async () => {
  const { door, events, requests, counted, makeConn } = house({
    patience: 1,
    upgrade: (_, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  });
  await enter(makeConn(), door);
  assert.deepEqual(requests, []);
  assert.deepEqual(events, ['closed']);
  assert.deepEqual(counted, [['faults_total', { code: 'timeout', resource: 'proxy/db' }]]);
});

test('a reset is weather: a debug line, no fault counted', async () => {
  const error = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  const { door, events, counted, logged, makeConn } = house({
    handler: async () => {
      throw error;
    },
  });
  await enter(makeConn(), door);
  assert.deepEqual(events, ['admitted', 'session ended', 'closed']);
  assert.deepEqual(counted, []);
  assert.deepEqual(logged, [['debug', { from: peer, error }, 'connection ended early']]);
});

test('the upgraded conn is the one that is closed, and the raw one beneath it is destroyed', async () => {
  const { door, events, makeConn } = house();
  const [raw, clear] = [makeConn(), makeConn()];
  let handled: Conn | undefined;
  await enter(raw, {
    ...door,
    upgrade: async () => clear,
    handler: async conn => {
      handled = conn;
    },
  });
  assert.equal(handled, clear);
  assert.equal(clear.stream.destroyed, true);
  assert.equal(raw.stream.destroyed, true);
  assert.equal(events.filter(event => event === 'closed').length, 1);
});

test('the proper end of a conn has a deadline of its own', async () => {
  const { door, makeConn } = house({ farewell: 1 });
  const conn = makeConn();
  let cut = false;
  await enter(
    {
      ...conn,
      close: deadline =>
        new Promise(done =>
          deadline.addEventListener('abort', () => {
            cut = true;
            done();
          }),
        ),
    },
    door,
  );
  assert.equal(cut, true);
});

test('one bad conn does not end the listener, and serve waits for those it let in', async () => {
  const { door, events, makeConn } = house();
  const finish = Promise.withResolvers<void>();
  const [bad, slow] = [makeConn(), makeConn()];
  const listener: Listener = {
    address: peer,
    async *[Symbol.asyncIterator]() {
      yield bad;
      yield slow;
    },
    async [Symbol.asyncDispose]() {},
  };
  let over = false;
  const entered = Promise.withResolvers<void>();
  const served = serve(listener, {
    ...door,
    handler: async conn => {
      if (conn === bad) throw new Error('bad');
      entered.resolve();
      await finish.promise;
      events.push('slow handled');
    },
  }).then(() => {
    over = true;
  });
  await entered.promise;
  await new Promise(setImmediate);
  assert.equal(over, false);
  finish.resolve();
  await served;
  assert.deepEqual(events.slice(-3), ['slow handled', 'session ended', 'closed']);
});

test('a signal that was given for quick work never aborts afterwards', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const signal = await within(1000, async given => given);
    mock.timers.tick(5000);
    assert.equal(signal.aborted, false);
  } finally {
    mock.timers.reset();
  }
});
