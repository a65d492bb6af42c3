// What people typed, in every text field that the API has, shown on every page of the console in Chromium: it stays text.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { type VerbName, verbs } from '../../src/api/contract/routes.ts';
import type { Verb } from '../../src/api/contract/verb.ts';
import { openGate } from '../e2e/console-rig.ts';
import { softPasskey } from '../fixtures/authenticator.ts';
import { openBrowser } from '../fixtures/chromium.ts';
import { appears, enterByLink } from '../fixtures/page.ts';

const corpus = [
  '<img src=x onerror=window.pwned=1>',
  'javascript:window.pwned=1//"\'><svg onload=window.pwned=1>',
  '</style></textarea></title><script>window.pwned=1</script><iframe srcdoc="<script>parent.pwned=1</script>">{{constructor.constructor("window.pwned=1")()}}',
  '\u202e<b>\u0000\u001b[31m&lt;i&gt; pwned=1',
];

/** A call of each kind that works, for the fields to be put into; `#` makes names differ. */
const calls: Partial<Record<VerbName, { params?: Record<string, string>; body: Record<string, unknown> }>> = {
  'user.add': { body: { name: 'user#', roles: ['member'] } },
  'token.create': { body: { user: 'alice', scope: ['session.list'], for: '8h' } },
  'cert.issue': { body: { name: 'cert#', password: 'secret-of-file' } },
  'device.enroll': { body: { name: 'device#' } },
  'tunnel.open': { body: { thing: 'device', services: ['SSH'] } },
  'endpoint.open': { body: { to: 'tcp://127.0.0.1:9', for: '1h', from: ['127.0.0.1'] } },
  'vpn.hub-create': { body: { name: 'hub#' } },
  'vpn.user-add': { params: { hub: 'office' }, body: { name: 'member#', password: 'a password' } },
  'device.change': { params: { name: 'device' }, body: {} },
  'session.cut': { params: { id: 'nothing' }, body: {} },
  'user.role': { params: { name: 'alice' }, body: { roles: ['admin'] } },
};

interface Shape {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly items?: Shape;
  readonly anyOf?: readonly Shape[];
  readonly additionalProperties?: Shape | boolean;
}

/** Every place of a body that takes text, as bodies with the text in it. */
function* bodiesWith(shape: Shape, text: string): Iterable<Record<string, unknown>> {
  for (const [key, inner] of Object.entries(shape.properties ?? {}))
    for (const value of valuesWith(inner, text)) yield { [key]: value };
}
function* valuesWith(shape: Shape, text: string): Iterable<unknown> {
  for (const one of shape.anyOf ?? []) yield* valuesWith(one, text);
  if (shape.type === 'string') yield text;
  if (shape.items) for (const value of valuesWith(shape.items, text)) yield [value];
  if (typeof shape.additionalProperties === 'object')
    for (const value of valuesWith(shape.additionalProperties, text)) yield { [text.slice(0, 30)]: value };
  yield* bodiesWith(shape, text);
}

test('text of every kind in every field stays text on every page, and nothing of it runs', async t => {
  const more = `access: [ { allow: "endpoint.*", to: "*" } ]
proxy: { echo: { listen: 'tcp://127.0.0.1:0', to: 'tcp://127.0.0.1:9' } }
web: { forward: { hosts: { "server1:8081": tcp://127.0.0.1:9 } } }
trust: { rate-limit: { address: { tries: 10000 } } }
`;
  const house = await openGate(t, more);
  const { gate, ask, own, local, signIn } = house;
  const { headers } = await signIn();
  const call = (method: string, path: string, body: unknown): Promise<number> =>
    new Promise((resolve, reject) => {
      const fields = { host: 'localhost', 'content-type': 'application/json' };
      const asked = request({ socketPath: join(gate.data, 'sekisho.sock'), method, path, headers: fields }, answer => {
        answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
      });
      asked.on('error', reject).end(JSON.stringify(body));
    });
  await local('POST', '/v1/devices', { name: 'device' });
  await local('POST', '/v1/vpn/hubs', { name: 'office' });

  let [sent, taken] = [0, 0];
  const fields = new Set<string>();
  for (const [name, { params = {}, body }] of Object.entries(calls)) {
    const row = verbs[name as VerbName] as Verb;
    assert.ok(row.body, `${name} has no body`);
    const shape = z.toJSONSchema(row.body, { io: 'input', unrepresentable: 'any' }) as Shape;
    const path = row.path.replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(params[key] ?? ''));
    for (const text of corpus) {
      for (const more of bodiesWith(shape, text)) {
        const named = JSON.parse(JSON.stringify(body).replaceAll('#', String(++sent)));
        const status = await call(row.method, path, { ...named, ...more });
        assert.ok(status < 500 || status === 502, `${name} ${JSON.stringify(more)}: ${status}`);
        if (status !== 200) continue;
        taken++;
        fields.add(`${name} ${Object.keys(more)}`);
      }
    }
  }
  for (const text of corpus) {
    const label = text.slice(0, 64);
    const options = JSON.parse((await ask('POST', '/v1/users/alice/passkeys/ask', headers, {})).text);
    const passkey = softPasskey(house.origin).make(options);
    assert.equal((await ask('POST', '/v1/users/alice/passkeys', headers, { label, passkey })).status, 200, label);
    // Strangers' words reach the audit only as far as they are let: none of this may.
    await ask(
      'POST',
      '/v1/sign-in',
      { ...own, 'user-agent': label.replace(/[^\x20-\x7e]/g, '') },
      { user: 'nobody', password: label },
    );
  }
  t.diagnostic(`${sent} calls, ${taken} taken: ${[...fields].join('; ')}`);
  assert.ok(fields.size >= 6, `only ${[...fields].join('; ')}`);

  await using browser = await openBrowser({ trusts: [join(gate.data, 'ca/root.crt')] });
  await enterByLink(browser, `${house.origin}/#code=${await house.link('alice')}`);
  let shown = 0;
  const words: string[] = await browser.run(`[...document.querySelectorAll('nav a[href^="#/"]')].map(one => one.hash)`);
  for (const word of new Set(words)) {
    await browser.run(`location.hash = ${JSON.stringify(word)}`);
    await appears(
      browser,
      `document.querySelector('nav a[href="${word}"][aria-current]') && !document.querySelector('main').innerText.match(/Loading/)`,
    );
    assert.equal(await browser.run(`window.pwned`), undefined, word);
    const strange = await browser.run(
      `document.querySelectorAll('main img, main script, main iframe, main object, main [onload], main [onerror], main b, a[href^="javascript:" i]').length`,
    );
    assert.equal(strange, 0, `${word} made elements of what people typed`);
    if (await browser.run(`document.querySelector('main').innerText.includes('pwned=1')`)) shown++;
  }
  assert.ok(shown >= 3, `only ${shown} pages showed any of it: the test looks at nothing`);
  const complaints = browser.errors().filter(line => !/the server responded with a status of/.test(line));
  assert.deepEqual(complaints, [], 'no policy had to stop anything');
});
