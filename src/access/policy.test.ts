// The policy's promises: deny by default, names of ours are ours, times are right in every zone.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AccessRequest, Action, Principal } from '../core/parts.ts';
import { accessConfig } from './config.ts';
import { createPolicy } from './policy.ts';

type Rules = Parameters<typeof accessConfig.parse>[0];
const user = (id = 'alice', more: Partial<Principal> & { attrs?: Record<string, string[]> } = {}): Principal => ({
  kind: 'user',
  id,
  groups: [],
  credential: 'cert:aa',
  attributes: new Map(Object.entries(more.attrs ?? {})),
  ...more,
});
const request = (more: Partial<AccessRequest> = {}): AccessRequest => ({
  who: user(),
  action: 'proxy.connect',
  resource: 'proxy/db',
  from: { host: '203.0.113.7', port: 1 },
  ...more,
});
const now = new Date('2026-11-22T09:00:00Z');
const decide = (rules: Rules, asked: AccessRequest = request(), at = now) =>
  createPolicy(accessConfig.parse(rules)).decide(asked, at);
const allows = (rules: Rules, asked?: AccessRequest, at?: Date): boolean => decide(rules, asked, at).allow === true;

describe('the policy', () => {
  test('denies where no rule fits, and names the nearest', () => {
    assert.deepEqual(decide([]), { allow: false, rule: 'access', reason: 'no rule is about this' });
    const decision = decide([{ allow: 'web.request' }, { allow: 'proxy.connect', from: '10.0.0.0/8' }]);
    assert.deepEqual(decision, {
      allow: false,
      rule: 'access[1]',
      reason: 'the nearest rule asks for another address',
    });
  });

  test('decides by the first rule that fits, and says which', () => {
    const rules = [
      { allow: 'proxy.connect', to: 'proxy/x' },
      { allow: 'proxy.*', for: '30m' },
      { allow: 'proxy.connect' },
    ];
    assert.deepEqual(decide(rules), { allow: true, rule: 'access[1]', until: new Date('2026-11-22T09:30:00Z') });
  });

  test('without `who` admits any user of ours, never anonymous, never a device, never a foreign certificate', () => {
    const rules = [{ allow: 'proxy.connect' }];
    assert.equal(allows(rules), true);
    for (const who of [
      user('', { kind: 'anonymous' }),
      user('pump-7', { kind: 'device' }),
      user(''),
      user('t', { kind: 'token' }),
      user('n', { kind: 'node' }),
    ]) {
      assert.equal(allows(rules, request({ who })), false, who.kind);
    }
  });

  test('`user:` matches only names that this gate gave', () => {
    const rules = [{ allow: 'proxy.connect', who: { user: 'alice' } }];
    assert.equal(allows(rules), true);
    assert.equal(allows(rules, request({ who: user('', { attrs: { cn: ['alice'] } }) })), false);
    assert.equal(allows(rules, request({ who: user('alice', { kind: 'device' }) })), false);
    assert.equal(allows([{ allow: 'proxy.connect', who: { user: '*' } }], request({ who: user('') })), false);
  });

  test('keeps devices apart: only `device:` admits one, and no user', () => {
    const rules = [{ allow: 'proxy.connect', who: { device: 'pump-*' } }];
    assert.equal(allows(rules, request({ who: user('pump-7', { kind: 'device' }) })), true);
    assert.equal(allows(rules, request({ who: user('pump-7') })), false);
    const byName = [{ allow: 'proxy.connect', who: { cn: 'pump-7' } }];
    assert.equal(
      allows(byName, request({ who: user('pump-7', { kind: 'device', attrs: { cn: ['pump-7'] } }) })),
      false,
    );
    assert.equal(allows([{ allow: 'proxy.connect', who: { device: '*', user: '*' } }]), false);
  });

  test('asks that all of `who` match, each by any of its values', () => {
    const rules = [{ allow: 'proxy.connect', who: { ou: ['営業', '医療事業部'], o: 'ACME', group: 'night' } }];
    const attrs = { ou: ['x', '医療事業部'], o: ['ACME'] };
    assert.equal(allows(rules, request({ who: user('', { attrs, groups: ['night'] }) })), true);
    assert.equal(allows(rules, request({ who: user('', { attrs }) })), false);
    assert.equal(
      allows(rules, request({ who: user('', { attrs: { ...attrs, o: ['ACME Ltd'] }, groups: ['night'] }) })),
      false,
    );
  });

  test('compares in one Unicode form, exactly, and no printed name can forge an attribute', () => {
    const composed = [{ allow: 'proxy.connect', who: { cn: 'J\u00fcrgen' } }];
    assert.equal(allows(composed, request({ who: user('', { attrs: { cn: ['Ju\u0308rgen'] } }) })), true);
    assert.equal(allows(composed, request({ who: user('', { attrs: { cn: ['jürgen'] } }) })), false);
    const byUnit = [{ allow: 'proxy.connect', who: { ou: 'admin' } }];
    assert.equal(
      allows(byUnit, request({ who: user('', { attrs: { cn: ['x,OU=admin'], ou: ['x/OU=admin'] } }) })),
      false,
    );
  });

  test('lets `*` match any run and nothing else be special', () => {
    const fits = (to: string, resource: string) => allows([{ allow: 'proxy.connect', to }], request({ resource }));
    assert.equal(fits('proxy/*', 'proxy/a/b'), true);
    assert.equal(fits('*d*b*', 'proxy/d-b'), true);
    assert.equal(fits('proxy/d.', 'proxy/db'), false);
    assert.equal(fits('proxy/[db]', 'proxy/d'), false);
    assert.equal(fits('a*a', 'a'), false);
    assert.equal(fits('proxy/?b', 'proxy/db'), false);
  });

  test('matches addresses of both families, v4-mapped as IPv4, and no unix peer by any network', () => {
    const fits = (from: string[], peer: AccessRequest['from']) =>
      allows([{ allow: 'proxy.connect', from }], request({ from: peer }));
    assert.equal(fits(['203.0.113.0/24'], { host: '::ffff:203.0.113.7', port: 1 }), true);
    assert.equal(fits(['10.0.0.0/8', '2001:db8::/32'], { host: '2001:db8::1', port: 1 }), true);
    assert.equal(fits(['0.0.0.0/0'], { host: '2001:db8::1', port: 1 }), false);
    assert.equal(fits(['0.0.0.0/0', '::/0'], { path: '/run/x.sock' }), false);
    assert.equal(allows([{ allow: 'proxy.connect' }], request({ from: { path: '/run/x.sock' } })), true);
  });

  test('gives at most `for`, and less when less is asked', () => {
    const until = (asks?: AccessRequest['asks']) => {
      const decision = decide([{ allow: 'proxy.connect', for: '30m' }], request(asks ? { asks } : {}));
      return decision.allow === true ? decision.until?.toISOString() : undefined;
    };
    assert.equal(until(), '2026-11-22T09:30:00.000Z');
    assert.equal(until({ for: 60_000 }), '2026-11-22T09:01:00.000Z');
    assert.equal(until({ for: 86_400_000 }), '2026-11-22T09:30:00.000Z');
  });

  test('asks for approvals where the rule does', () => {
    const decision = decide([{ allow: 'proxy.connect', for: '2h', approve: { group: 'leads', count: 2 } }]);
    assert.equal(decision.allow, 'after-approval');
    assert.ok(decision.allow === 'after-approval');
    assert.deepEqual([decision.by, decision.count, decision.lasts], ['leads', 2, 7_200_000]);
  });

  test('explains each rule', () => {
    const policy = createPolicy(
      accessConfig.parse([
        { allow: 'web.request' },
        { allow: 'proxy.connect', who: { user: 'bob' } },
        { allow: 'proxy.*' },
      ]),
    );
    assert.deepEqual(policy.explain(request(), now), [
      { rule: 'access[0]', misses: 'action' },
      { rule: 'access[1]', misses: 'caller' },
      { rule: 'access[2]', misses: undefined },
    ]);
  });
});

describe('times', () => {
  const rules = (days: string | string[], hours: string | string[], zone: string) => [
    { allow: 'proxy.connect', when: { days, hours, zone } },
  ];
  const until = (given: Rules, at: string): string | false => {
    const decision = decide(given, request(), new Date(at));
    return decision.allow === true ? (decision.until?.toISOString() ?? 'ever') : false;
  };

  test('are those of the zone, and end what they let in', () => {
    const office = rules('mon-fri', '09:00-18:00', 'Asia/Tokyo');
    assert.equal(until(office, '2026-11-23T00:00:00Z'), '2026-11-23T09:00:00.000Z'); // Monday 09:00 in Tokyo
    assert.equal(until(office, '2026-11-22T23:59:59Z'), false);
    assert.equal(until(office, '2026-11-23T09:00:00Z'), false);
    assert.equal(until(office, '2026-11-22T03:00:00Z'), false); // Sunday
  });

  test('may cross midnight, and the day is the one on which they begin', () => {
    const night = rules('fri', '22:00-06:00', 'UTC');
    assert.equal(until(night, '2026-11-27T23:00:00Z'), '2026-11-28T06:00:00.000Z');
    assert.equal(until(night, '2026-11-28T05:59:00Z'), '2026-11-28T06:00:00.000Z');
    assert.equal(until(night, '2026-11-27T05:00:00Z'), false); // Friday morning belongs to Thursday's night
    assert.equal(
      until(rules(['fri', 'sat'], ['22:00-24:00', '00:00-02:00'], 'UTC'), '2026-11-27T23:00:00Z'),
      '2026-11-28T02:00:00.000Z',
    );
  });

  test('survive the change of clocks in both directions', () => {
    const morning = rules('sun', '01:30-03:30', 'Europe/Berlin');
    assert.equal(until(morning, '2026-03-29T00:45:00Z'), '2026-03-29T01:30:00.000Z'); // 02:00 is 03:00: an hour shorter
    assert.equal(until(morning, '2026-10-24T23:45:00Z'), '2026-10-25T02:30:00.000Z'); // 03:00 is 02:00: an hour longer
  });

  test('without hours are whole days; every day has no end', () => {
    assert.equal(
      until([{ allow: 'proxy.connect', when: { days: 'sat-sun', zone: 'UTC' } }], '2026-11-21T12:00:00Z'),
      '2026-11-23T00:00:00.000Z',
    );
    assert.equal(until([{ allow: 'proxy.connect', when: { zone: 'UTC' } }], '2026-11-21T12:00:00Z'), 'ever');
  });
});

describe('roles', () => {
  const acts = (role: string, action: Action): boolean =>
    allows([], request({ who: user('bob', { groups: [`role:${role}`] }), action }));
  test('grant API actions and never a way for bytes', () => {
    assert.equal(acts('admin', 'cert.revoke'), true);
    assert.equal(acts('auditor', 'audit.export'), true);
    assert.equal(acts('auditor', 'cert.issue'), false);
    assert.equal(acts('operator', 'tunnel.open'), true);
    assert.equal(acts('operator', 'endpoint.open'), false);
    assert.equal(acts('operator', 'user.role'), false);
    assert.equal(acts('member', 'session.list'), false);
    assert.equal(acts('superuser', 'session.list'), false);
    for (const action of ['proxy.connect', 'web.request', 'vpn.join', 'endpoint.connect', 'tunnel.use'] as const) {
      assert.equal(acts('admin', action), false, action);
    }
  });
});

describe('the configuration of access', () => {
  const refused = (rule: unknown): string =>
    accessConfig
      .safeParse([rule])
      .error?.issues.map(({ message }) => message)
      .join('; ') ?? 'taken';
  test('refuses what would not do what it seems to say', () => {
    assert.match(refused({ allow: '*' }), /write an action/);
    assert.match(refused({ allow: 'prxy.connect' }), /write an action/);
    assert.match(refused({ allow: 'proxy.connect', who: {} }), /name somebody/);
    assert.match(refused({ allow: 'proxy.connect', who: { cm: 'x' } }), /[Uu]nrecognized key/);
    assert.match(refused({ allow: 'proxy.connect', when: { hours: '9-18', zone: 'UTC' } }), /write hours/);
    assert.match(refused({ allow: 'proxy.connect', when: { hours: '09:00-18:00' } }), /zone|string/i);
    assert.match(refused({ allow: 'proxy.connect', when: { days: 'monday', zone: 'UTC' } }), /write days/);
    assert.match(refused({ allow: 'proxy.connect', when: { zone: 'Mars/Base' } }), /time zone/);
    assert.match(refused({ deny: 'proxy.connect' }), /[Uu]nrecognized key: "deny"/);
    assert.match(refused({ allow: 'proxy.connect', from: 'example.com' }), /address or a network/);
  });
});
