// Promises of the contract: one table, one document, nothing forgotten.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openHouse } from '../../../test/e2e/api-house.ts';
import { type VerbName, verbs } from './routes.ts';
import type { Verb } from './verb.ts';

/** Reads that need a body, and what rooms write into the audit by themselves. */
const writtenElsewhere = [
  'audit.verify',
  'auth.login',
  'auth.sign-in',
  'auth.logout',
  'auth.prove',
  'auth.oidc',
  'auth.end',
  'auth.passkey-ask',
  'user.passkey-ask',
  'device.join',
  'approval.approve',
  'approval.refuse',
  'endpoint.open',
  'endpoint.extend',
  'endpoint.close',
  'endpoint.approve',
  'endpoint.link',
  'cert.link', // changes nothing: the code travels in a body, never in a URL
  'cert.fetch',
];

const rows = Object.entries(verbs) as [VerbName, Verb][];

test('no two verbs share a method and a path', () => {
  const places = rows.map(([, { method, path }]) => `${method} ${path.replace(/:\w+/g, ':')}`);
  assert.equal(new Set(places).size, places.length);
});

test('every path parameter has a schema, and every change is admitted under a name', () => {
  for (const [name, row] of rows) {
    const inPath = [...row.path.matchAll(/:([a-z]+)/g)].map(([, key]) => key);
    assert.deepEqual(Object.keys(row.params?.shape ?? {}).sort(), inPath.sort(), name);
    if (row.changes) assert.ok(row.resource, `${name} has no resource`);
    else if (row.method !== 'GET') assert.ok(writtenElsewhere.includes(name), `${name} changes something unseen`);
  }
});

test('nothing but what is harmless is public', () => {
  const open = rows.filter(([, { action }]) => action === 'public').map(([name]) => name);
  assert.deepEqual(open.sort(), [
    'auth.login',
    'auth.oidc',
    'auth.passkey-ask',
    'auth.sign-in',
    'auth.ways',
    'cert.ca',
    'cert.crl',
    'cert.fetch',
    'cert.link',
    'device.join',
    'gate.health',
    'gate.openapi',
  ]);
});

test('the OpenAPI document is 3.1 and has every verb with its parameters, body and answer', async t => {
  const { remote } = await openHouse(t);
  const { body: document } = await remote('/v1/openapi.json');
  assert.match(document.openapi, /^3\.1\./);
  for (const [name, row] of rows) {
    const path = row.path.replace(/:([a-z]+)/g, '{$1}');
    const operation = document.paths[path]?.[row.method.toLowerCase()];
    assert.equal(operation?.operationId, name, `${row.method} ${path}`);
    assert.equal(operation.summary, row.summary);
    const named = (operation.parameters ?? []).map((parameter: { name: string }) => parameter.name).sort();
    assert.deepEqual(
      named,
      [...Object.keys(row.params?.shape ?? {}), ...Object.keys(row.query?.shape ?? {})].sort(),
      name,
    );
    assert.equal(operation.requestBody !== undefined, row.body !== undefined, name);
    assert.ok(operation.responses['200'], name);
    assert.equal(operation.responses.default.content['application/json'].schema.properties.error.type, 'object', name);
    if (row.action === 'public') assert.deepEqual(operation.security, [], name);
  }
  const { schema } = document.paths['/v1/users'].post.requestBody.content['application/json'];
  assert.equal(schema.additionalProperties, false);
  assert.deepEqual(schema.required, ['name']);
});
