// Hostile words for the policy and hostile files for the verifier: neither may throw, and neither may say yes.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { accessConfig, createPolicy, openAudit, verifyExport } from '../../src/access/index.ts';
import type { AccessRequest, Action, Log } from '../../src/core/parts.ts';
import { openStore } from '../../src/store/index.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 200);
const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };

const text = fc.string({ unit: 'binary', maxLength: 40 });
const list = fc.array(text, { maxLength: 3 });
const address = fc.oneof(
  fc.record({ host: fc.oneof(fc.ipV4(), fc.ipV6(), text), port: fc.nat(65535) }),
  fc.record({ path: text }),
);
const request: fc.Arbitrary<AccessRequest> = fc.record({
  who: fc.record({
    kind: fc.constantFrom('anonymous', 'user', 'device', 'token', 'node'),
    id: text,
    groups: list,
    attributes: fc
      .array(fc.tuple(fc.constantFrom('cn', 'ou', 'o', 'san', 'issuer'), list))
      .map(pairs => new Map(pairs)),
    credential: text,
  }),
  action: fc.oneof(
    text,
    fc.constantFrom('proxy.connect', 'web.request', 'cert.issue', '__proto__.constructor'),
  ) as fc.Arbitrary<Action>,
  resource: text,
  from: address,
});
const pattern = fc
  .oneof(
    text,
    text.map(value => `${value}*`),
    text.map(value => `*${value}*`),
  )
  .filter(value => value !== '');
const rule = fc.record(
  {
    allow: fc.constantFrom('proxy.connect', 'web.*'),
    to: pattern,
    from: fc.array(
      fc.ipV4().map(ip => `${ip}/9`),
      { minLength: 1, maxLength: 2 },
    ),
    who: fc.record({ user: pattern, cn: pattern }, { requiredKeys: ['user'] }),
    when: fc.record(
      {
        zone: fc.constantFrom('UTC', 'Asia/Tokyo', 'America/St_Johns', 'Australia/Lord_Howe'),
        days: fc.constantFrom('mon-fri', 'sat'),
        hours: fc.constantFrom('09:00-18:00', '22:00-06:00'),
      },
      { requiredKeys: ['zone'] },
    ),
  },
  { requiredKeys: ['allow'] },
);
const time = fc.date({ min: new Date('2020-01-01'), max: new Date('2040-01-01'), noInvalidDate: true });

describe('the policy', () => {
  test('answers every request, the same twice, and yes only to users of ours where a rule names them', () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 4 }), request, time, (rules, asked, now) => {
        const config = accessConfig.safeParse(rules);
        if (!config.success) return;
        const policy = createPolicy(config.data);
        const decision = policy.decide(asked, now);
        assert.deepEqual(policy.decide(asked, now), decision);
        if (decision.allow === false) return;
        assert.ok(asked.who.kind === 'user' && asked.who.id !== '', 'every rule here is for users of ours');
        assert.ok(decision.until === undefined || decision.until > now);
      }),
      { numRuns },
    );
  });

  test('never admits more with one more condition', () => {
    fc.assert(
      fc.property(rule, request, time, (given, asked, now) => {
        const narrow = accessConfig.safeParse([given]);
        if (!narrow.success) return;
        const wide = accessConfig.parse([{ allow: given.allow }]);
        if (createPolicy(narrow.data).decide(asked, now).allow !== false) {
          assert.notEqual(createPolicy(wide).decide(asked, now).allow, false);
        }
      }),
      { numRuns },
    );
  });
});

describe('the offline verifier', () => {
  test('reads any facts back as they were signed, and finds any byte that was changed', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'sekisho-fuzz-'));
    try {
      await using store = await openStore({ url: 'sqlite::memory:', log: quiet });
      await using audit = await openAudit({ store, keyFile: `${dir}/key`, log: quiet });
      await fc.assert(
        fc.asyncProperty(
          fc.dictionary(
            text,
            fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true, withTypedArray: true }),
          ),
          text,
          async (facts, word) => {
            await audit.append({
              event: 'proxy.opened',
              who: { kind: 'user', id: word, credential: word },
              from: { path: word },
              resource: word,
              outcome: 'allowed',
              facts,
            });
          },
        ),
        { numRuns },
      );
      const whole = (await Array.fromAsync(audit.export())).join('');
      const report = await verifyExport([whole], audit.publicKey, audit.head());
      assert.equal(report.ok, true, JSON.stringify(report.problems.slice(0, 3)));
      assert.equal(report.rows, numRuns);

      const lines = whole.split('\n');
      const few = [...lines.slice(0, 8)];
      await using small = await openStore({ url: 'sqlite::memory:', log: quiet });
      await using chain = await openAudit({ store: small, keyFile: `${dir}/key`, log: quiet });
      for (const _ of few)
        await chain.append({
          event: 'a.b',
          who: { kind: 'user', id: 'x', credential: '' },
          resource: 'r/x',
          outcome: 'done',
          facts: { n: 1 },
        });
      const bytes = (await Array.fromAsync(chain.export())).join('');
      const head = chain.head();
      await fc.assert(
        fc.asyncProperty(
          fc.nat(bytes.length - 2),
          fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 1 }),
          async (at, character) => {
            if (bytes[at] === character) return;
            const changed = bytes.slice(0, at) + character + bytes.slice(at + 1);
            const found = await verifyExport([changed], chain.publicKey, head);
            assert.equal(
              found.ok,
              isSame(bytes, changed),
              `byte ${at}: ${bytes.slice(at - 20, at + 20)} → ${character}`,
            );
          },
        ),
        { numRuns },
      );
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test('refuses whatever is no export, without throwing', async () => {
    await using store = await openStore({ url: 'sqlite::memory:', log: quiet });
    const dir = mkdtempSync(join(tmpdir(), 'sekisho-fuzz-'));
    await using audit = await openAudit({ store, keyFile: `${dir}/key`, log: quiet });
    const row = fc.record(
      {
        seq: fc.anything(),
        at: text,
        event: text,
        who: fc.anything(),
        from: text,
        resource: text,
        facts: fc.anything(),
        prev: text,
        hash: text,
        scope: fc.anything(),
        head: fc.anything(),
        rows: fc.nat(),
        digest: text,
        signature: text,
      },
      { requiredKeys: [] },
    );
    const line = fc.oneof(
      text,
      fc.json(),
      row.map(value => JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 6 }), async lines => {
        assert.equal((await verifyExport(lines, audit.publicKey)).ok, false);
      }),
      { numRuns },
    );
    rmSync(dir, { recursive: true, force: true });
  });
});

/** Base64 has spare bits, and JSON spare spaces in the unsigned parts of the last line: those say the same. */
function isSame(one: string, other: string): boolean {
  const values = (whole: string): unknown => {
    const lines = whole.split('\n').filter(Boolean);
    try {
      const end = JSON.parse(lines.at(-1) ?? '');
      for (const value of [end, end.head]) value.signature = Buffer.from(value.signature, 'base64').toString('hex');
      return JSON.stringify([lines.slice(0, -1), end]);
    } catch {
      return whole;
    }
  };
  return values(one) === values(other);
}
