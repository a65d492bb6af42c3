import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domainToASCII } from 'node:url';
import { compileHosts, type HostEntry, parseHostEntry } from './hosts.ts';

const target = { host: '10.0.1.26', port: 8081 };
const hosts = (map: Record<string, HostEntry['to']>) =>
  compileHosts(Object.entries(map).map(([key, to]) => parseHostEntry(key, to)));
const keyAt = (map: ReturnType<typeof hosts>, host: string, port: number) => map.match({ host, port })?.key;

test('resolve means the web ports; every other port is written out', () => {
  const map = hosts({ server1: 'resolve', 'server1:22': 'resolve' });
  for (const port of [80, 443, 1024, 8080, 65535]) assert.equal(keyAt(map, 'server1', port), 'server1');
  for (const port of [1, 21, 25, 81, 442, 1023]) assert.equal(keyAt(map, 'server1', port), undefined);
  assert.equal(keyAt(map, 'server1', 22), 'server1:22');
});

test('a target without a port stands for http on port 80', () => {
  const map = hosts({ server1: target });
  assert.equal(keyAt(map, 'server1', 80), 'server1');
  assert.equal(keyAt(map, 'server1', 443), undefined);
});

test('exact names come before wildcards, longer wildcards before shorter ones, written ports before none', () => {
  const map = hosts({
    '*.example': 'resolve',
    '*.corp.example': 'resolve',
    'a.corp.example': 'resolve',
    'a.corp.example:8081': target,
  });
  assert.equal(keyAt(map, 'a.corp.example', 8081), 'a.corp.example:8081');
  assert.equal(keyAt(map, 'a.corp.example', 80), 'a.corp.example');
  assert.equal(keyAt(map, 'b.corp.example', 80), '*.corp.example');
  assert.equal(keyAt(map, 'deep.b.corp.example', 80), '*.corp.example');
  assert.equal(keyAt(map, 'corp.example', 80), '*.example');
  assert.equal(keyAt(map, 'example', 80), undefined);
  assert.equal(keyAt(map, 'evilcorp.example', 80), '*.example');
  assert.equal(keyAt(map, 'corp.example.evil', 80), undefined);
});

test('a name of any script is the name that browsers send', () => {
  const map = hosts({ '社内.Example': 'resolve' });
  assert.equal(keyAt(map, domainToASCII('社内.example'), 80), '社内.Example');
});

test('an open map, a pattern that is none and one site twice are refused', () => {
  for (const key of [
    '*',
    '*.*',
    'a.*',
    '*a.example',
    '*.10.0.0.1',
    'http://a',
    'a:0',
    'a:70000',
    'a b',
    '127.1',
    'gate.check',
  ]) {
    assert.throws(() => parseHostEntry(key, 'resolve'), { code: 'invalid' }, key);
  }
  assert.throws(() => hosts({ Server1: 'resolve', 'server1.': 'resolve' }), /the same site/);
});
