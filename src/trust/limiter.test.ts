// Guessing is limited per address and per subject, in bounded memory.
import assert from 'node:assert/strict';
import { mock, suite, test } from 'node:test';
import type { Address } from '../core/parts.ts';
import { trustConfig } from './config.ts';
import { createLimiter } from './limiter.ts';

const limits = (text: object) => trustConfig.parse({ 'rate-limit': text })['rate-limit'];
const at = (host: string): Address => ({ host, port: 1 });
const limit = { code: 'limit' };

suite('the limiter', { concurrency: false }, () => {
  test('tries that begin at once are counted before any of them has ended', async () => {
    const limiter = createLimiter(limits({ subject: { tries: 3 } }));
    const tries = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => limiter.begin({ from: at(`192.0.2.${i}`), subject: 'user:a' })),
    );
    assert.equal(tries.filter(one => one.status === 'fulfilled').length, 3);
  });

  test('a success gives the address its try back and forgets the subject’s, but no block of the address', async () => {
    const limiter = createLimiter(limits({ address: { tries: 2 }, subject: { tries: 2 } }));
    const guess = { from: at('192.0.2.1'), subject: 'user:a' };
    for (let i = 0; i < 10; i += 1) {
      await limiter.begin(guess);
      await limiter.succeeded(guess);
    }
    await limiter.failed(guess);
    await limiter.failed(guess);
    await assert.rejects(limiter.check(guess), limit);
    await assert.rejects(limiter.begin({ ...guess, subject: 'user:b' }), limit);
    await limiter.begin({ from: at('192.0.2.2'), subject: 'user:b' });
  });

  test('where somebody has signed in before, nobody else’s tries lock them out, and their own still count', async () => {
    const limiter = createLimiter(limits({ address: { tries: 3 }, subject: { tries: 3 } }));
    const home = { from: at('192.0.2.1'), subject: 'user:a' };
    await limiter.begin(home);
    await limiter.succeeded(home);
    // Strangers at the same address, and strangers who guess at the same name from elsewhere.
    for (let i = 0; i < 5; i += 1) {
      await limiter.begin({ from: at('192.0.2.1'), subject: `user:x${i}` }).catch(() => {});
      await limiter.begin({ from: at(`198.51.100.${i}`), subject: 'user:a' }).catch(() => {});
    }
    await assert.rejects(limiter.begin({ from: at('192.0.2.1'), subject: 'user:y' }), limit);
    await assert.rejects(limiter.begin({ from: at('203.0.113.1'), subject: 'user:a' }), limit);
    await limiter.begin(home);
    await limiter.succeeded(home);
    await assert.rejects(limiter.begin({ from: at('203.0.113.1'), subject: 'user:a' }), limit, 'strangers stay out');
    for (let i = 0; i < 3; i += 1) await limiter.begin(home);
    await assert.rejects(limiter.begin(home), limit);
  });

  test('a block ends when it said it would', async () => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 });
    try {
      const limiter = createLimiter(limits({ address: { tries: 2, per: '10s', block: '90s' } }));
      const guess = { from: at('192.0.2.1') };
      await limiter.begin(guess);
      await limiter.begin(guess);
      await assert.rejects(limiter.begin(guess), { ...limit, message: /try again in 90 s/ });
      mock.timers.tick(89_000);
      await assert.rejects(limiter.check(guess), { ...limit, message: /try again in 1 s/ });
      mock.timers.tick(1000);
      await limiter.begin(guess);
    } finally {
      mock.timers.reset();
    }
  });

  test('v4-mapped addresses are their IPv4, and the unix socket has no address', async () => {
    const limiter = createLimiter(limits({ address: { tries: 1 } }));
    await limiter.begin({ from: at('::ffff:192.0.2.1') });
    await assert.rejects(limiter.begin({ from: at('192.0.2.1') }), limit);
    for (let i = 0; i < 5; i += 1) await limiter.begin({ from: { path: '/run/x.sock' } });
  });

  test('memory is bounded: the address that has been quiet longest is forgotten first', async () => {
    const limiter = createLimiter(limits({ address: { tries: 1 }, entries: 100 }));
    await limiter.begin({ from: at('10.0.0.0') });
    for (let i = 1; i < 100; i += 1) await limiter.begin({ from: at(`10.0.0.${i}`) });
    await assert.rejects(limiter.begin({ from: at('10.0.0.1') }), limit); // and is now the newest
    await limiter.begin({ from: at('10.0.1.0') }); // pushes 10.0.0.0 out
    await limiter.begin({ from: at('10.0.0.0') });
    await assert.rejects(limiter.check({ from: at('10.0.0.1') }), limit);
  });
});
