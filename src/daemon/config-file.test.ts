// Each kind of configuration mistake gives file, line, column, key path and what to do; all of them at once.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import { configJsonSchema } from './config.ts';
import { parseConfig, readConfigFile } from './config-file.ts';

const parse = (text: string) => parseConfig(text, { name: 'sekisho.yaml', folder: '/nowhere' });
const linesOf = (text: string): string[] => {
  try {
    parse(text);
  } catch (error) {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, 'invalid');
    return error.message.split('\n');
  }
  return assert.fail('the configuration was accepted');
};
const route = (...lines: string[]): string => `proxy:\n  db:\n${lines.map(line => `    ${line}\n`).join('')}`;

/** What is wrong → the whole text of it. One row a kind of mistake. */
const rows: readonly (readonly [promise: string, text: string, expected: readonly RegExp[]])[] = [
  [
    'an unknown key says which one was meant, and the key it stands for is not called missing as well',
    route('listne: tcp://127.0.0.1:1', 'to: tcp://127.0.0.1:2'),
    [/^sekisho\.yaml:3:5 proxy\.db\.listne: unknown key; did you mean "listen"\?$/],
  ],
  [
    'an unknown key without a likely meaning lists the known ones',
    'log: { zzzzzzzz: 1 }',
    [/^sekisho\.yaml:1:8 log\.zzzzzzzz: unknown key; known here: file, level, format, access$/],
  ],
  ['an unknown word at the top', 'porxy: {}', [/^sekisho\.yaml:1:1 porxy: unknown key; did you mean "proxy"\?$/]],
  [
    'a missing key says where and what to write',
    route('to: tcp://127.0.0.1:2'),
    [/^sekisho\.yaml:2:3 proxy\.db\.listen: is missing; write tls:\/\/0\.0\.0\.0:443/],
  ],
  [
    'a wrong word in a choice says which one was meant',
    route('listen: tls://:1', 'to: tcp://a:2', 'clients: requird'),
    [/^sekisho\.yaml:5:14 proxy\.db\.clients: "requird" is not known here; did you mean "required"\?$/],
  ],
  [
    'a wrong kind lists every kind that would do',
    route('listen: tls://:1', 'to: tcp://a:2', 'clients: 7'),
    [/proxy\.db\.clients: this is 7; write "off", "optional", "required" or keys beneath it/],
  ],
  [
    'a number in quotes is told apart from a number',
    route('listen: tls://:1', 'to: tcp://a:2', 'limits: { connections: "5" }'),
    [/^sekisho\.yaml:5:28 proxy\.db\.limits\.connections: this is "5"; write a number — without quotes: 5$/],
  ],
  [
    'a text that YAML took for a number is told apart from a text',
    'log: { file: 8080 }',
    [/^sekisho\.yaml:1:14 log\.file: this is 8080; write text — in quotes: "8080"$/],
  ],
  [
    'yes is not true in YAML 1.2, and that is said',
    route('listen: tls://:1', 'to: tcp://a:2', 'half-close: yes'),
    [/proxy\.db\.half-close: this is "yes"; write true or false — that is: true$/],
  ],
  [
    'a bad address inside a union is explained by the address, not by the union',
    route('listen: tls:/x', 'to: nope'),
    [
      /sekisho\.yaml:3:13 proxy\.db\.listen: "tls:\/x" is not an address; write tcp:\/\/host:port/,
      /^sekisho\.yaml:4:9 proxy\.db\.to/,
    ],
  ],
  [
    'a mistake inside the best branch of a union',
    route('listen: tls://:1', 'to: tcp://a:2', 'verify: { nam: x }'),
    [/^sekisho\.yaml:5:15 proxy\.db\.verify\.nam: unknown key; did you mean "name"\?$/],
  ],
  [
    'a mistake deep in a list is counted from zero',
    route('listen: tls://:1', 'to:', '  - tcp://a:1', '  - url: tcp://a:2', '    wieght: 3'),
    [/^sekisho\.yaml:7:9 proxy\.db\.to\[1\]\.wieght: unknown key; did you mean "weight"\?$/],
  ],
  [
    'a certificate without its key',
    route('listen: tls://:1', 'to: tcp://a:2', 'certificate: { cert: file:a.pem }'),
    [/^sekisho\.yaml:5:5 proxy\.db\.certificate\.key: is missing; write file:path/],
  ],
  [
    'a bad duration',
    'audit: { retention: 90 days }',
    [/audit\.retention: "90 days" is not a duration; write for example 30s/],
  ],
  [
    'a duration without its unit',
    'gate: { drain: 10, limits: { handshake: "20" } }',
    [
      /gate\.drain: this is 10, and a duration has a unit; write for example 10s/,
      /handshake: this is "20", .*20s or 20m/,
    ],
  ],
  ['brackets without end', `proxy: ${'['.repeat(200_000)}`, [/:1:1 brackets or blocks are nested too deeply/]],
  ['a number out of its range', 'gate: { workers: -1 }', [/gate\.workers: must be at least 0, this is -1/]],
  [
    'a bad name',
    'proxy:\n  "-x": { listen: tcp://:1, to: tcp://a:2 }',
    [/^sekisho\.yaml:2:3 proxy\.-x: a name starts with a letter/],
  ],
  [
    'nothing where something belongs',
    route('listen:', 'to: tcp://a:2'),
    [/proxy\.db\.listen: nothing is written here; write text or a list/],
  ],
  [
    'the same key twice',
    'proxy:\n  db: { listen: tcp://:1, to: tcp://a:2 }\n  db: { listen: tcp://:3, to: tcp://a:2 }\n',
    [/^sekisho\.yaml:3:3 this key is written twice in the same block; keep one of them$/],
  ],
  ['tabs', 'proxy:\n\tdb: {}\n', [/^sekisho\.yaml:2:1 a tab stands where spaces belong/]],
  ['a bracket that never closes', 'proxy: { db: [\n', [/^sekisho\.yaml:\d+:\d+ .*(bracket|YAML)/]],
  ['two documents', 'log: {}\n---\nlog: {}\n', [/^sekisho\.yaml:2:1 the file holds several documents/]],
  ['a tag', 'log: !secret {}\n', [/^sekisho\.yaml:1:6 tags \(!word\) are not used here/]],
  ['an alias without its anchor', 'log: *nowhere\n', [/^sekisho\.yaml:1:6 an alias/]],
  ['an empty file', '# nothing\n', [/^sekisho\.yaml:1:1 the file holds no configuration/]],
  ['a list where words belong', '- proxy\n', [/^sekisho\.yaml:1:1 the file holds no configuration/]],
  [
    'a route on the gate port without a gate',
    route('listen: gate', 'names: [ a.example ]', 'to: tcp://a:1'),
    [/^sekisho\.yaml:3:13 proxy\.db\.listen: there is no gate port in this file; add a "gate:" block/],
  ],
  [
    'two listeners of different rooms on one address',
    'gate: { listen: "tls://127.0.0.1:8443" }\nproxy:\n  db: { listen: "tcp://127.0.0.1:8443", to: "tcp://a:1" }\n',
    [/^sekisho\.yaml:3:17 proxy\.db\.listen: gate\.listen listens on the same address/],
  ],
  ['a plain gate port', 'gate: { listen: "tcp://:80" }', [/gate\.listen: the gate port speaks TLS/]],
  ['a store of an unknown kind', 'store: mysql://x', [/^sekisho\.yaml:1:8 store: write sqlite:path or postgres:/]],
];

for (const [promise, text, expected] of rows) {
  test(`mistake: ${promise}`, () => {
    const lines = linesOf(text);
    assert.equal(lines.length, expected.length, lines.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(lines[index] ?? '', pattern);
  });
}

test('all mistakes of a file are told at once, in the order of the file', () => {
  const lines = linesOf('log: { level: loud }\ngate: { workers: many, nmae: x }\nproxy:\n  a: { to: 5 }\nfoo: 1\n');
  assert.deepEqual(
    lines.map(line => line.split(':')[1]),
    ['1', '2', '2', '4', '4', '5'],
    lines.join('\n'),
  );
});

test('no secret that was typed into the wrong place reaches the message', () => {
  const texts = [
    'store: "postgres://sekisho:hunter2@db/x y"\nlog: 5\n',
    'log: "postgres://sekisho:hunter2@db/x"\n',
    route('listen: tls://:1', 'to: tcp://a:2', 'certificate: { cert: file:a, key: hunter2 }'),
    route('listen: tls://:1', 'to: tcp://a:2', 'certificate: { cert: file:a, key: file:b, passphrase: hunter2 }'),
  ];
  for (const text of texts) assert.doesNotMatch(linesOf(text).join('\n'), /hunter2/);
});

test('anchors, aliases and merge keys work, and mistakes inside them point at the text', () => {
  const { config } = parse(
    'proxy:\n  a: &a { listen: tcp://127.0.0.1:1, to: tcp://127.0.0.1:9 }\n  b: { <<: *a, listen: tcp://127.0.0.1:2 }\n',
  );
  assert.equal(config.proxy['b']?.to[0]?.url.kind, 'tcp');
  const lines = linesOf('proxy:\n  a: &a { listen: tcp://127.0.0.1:1, to: nope }\n  b: { <<: *a, listen: tcp://:2 }\n');
  assert.match(lines[0] ?? '', /^sekisho\.yaml:2:42 proxy\.a\.to: /);
  assert.match(lines[1] ?? '', /^sekisho\.yaml:2:42 proxy\.b\.to: /);
});

test('a small file whose aliases multiply out is refused', () => {
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (let i = 1; i < 9; i++) {
    const [name, before] = [String.fromCharCode(97 + i), String.fromCharCode(96 + i)];
    bomb.push(`${name}: &${name} [${Array(9).fill(`*${before}`).join(',')}]`);
  }
  assert.match(linesOf(bomb.join('\n'))[0] ?? '', /anchors and aliases multiply out to too much/);
});

test('keys that JavaScript knows are ordinary unknown keys', () => {
  assert.match(linesOf('__proto__: { polluted: 1 }\n').join('\n'), /nothing can be called __proto__/);
  assert.match(linesOf('log: { constructor: 1 }\n').join('\n'), /log\.constructor: unknown key/);
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

test('a route called __proto__ is refused, not passed over', () => {
  const text = 'proxy:\n  __proto__: { listen: "tcp://127.0.0.1:1", to: "tcp://127.0.0.1:2" }\n';
  assert.deepEqual(linesOf(text), ['sekisho.yaml:2:3 nothing can be called __proto__; choose another name']);
});

test('a file that is missing, or is none, says so in one sentence', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-config-'));
  await assert.rejects(readConfigFile(join(dir, 'none.yaml')), /none\.yaml: there is no such file; check the path/);
  await assert.rejects(readConfigFile(dir), /this is a folder; name a file/);
  writeFileSync(join(dir, 'large.yaml'), 'x'.repeat(1024 * 1024 + 1));
  await assert.rejects(readConfigFile(join(dir, 'large.yaml')), /larger than 1 MiB/);
});

test('defaults: a file without gate: opens no gate port, one with gate: opens 127.0.0.1:8443', () => {
  assert.equal(parse('proxy: {}').config.gate, undefined);
  const { gate, log } = parse('gate: {}').config;
  assert.deepEqual(gate?.listen, [{ kind: 'tls', host: '127.0.0.1', port: 8443 }]);
  assert.equal(gate?.workers, 'auto');
  assert.equal(log.level, 'info');
});

test('the JSON Schema for editors comes from the same source and knows every word', () => {
  const schema = configJsonSchema() as { properties: Record<string, unknown>; additionalProperties: boolean };
  for (const word of ['gate', 'store', 'proxy', 'log', 'audit']) assert.ok(schema.properties[word], word);
  assert.equal(schema.additionalProperties, false);
});

test('whatever a file holds, it is a configuration or a list of mistakes with places, never an accident', () => {
  const words = [
    'proxy',
    'db',
    'listen',
    'to',
    'gate',
    'access',
    'trust',
    'log',
    'allow',
    'tcp://127.0.0.1:1',
    'auto',
    '*',
    '&a',
    '*a',
    '<<',
    '!x',
    '5',
    'null',
    'true',
    '__proto__',
  ];
  const marks = [
    ': ',
    '\n',
    '\n  ',
    '\n    ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    ', ',
    '"',
    "'",
    '#',
    '\t',
    '|',
    '>',
    '%',
    '\u0000',
    '---\n',
  ];
  const soup = fc.array(fc.constantFrom(...words, ...marks), { maxLength: 40 }).map(parts => parts.join(''));
  fc.assert(
    fc.property(fc.oneof(soup, fc.string({ maxLength: 200 }), fc.string({ unit: 'grapheme', maxLength: 50 })), text => {
      try {
        parse(text);
      } catch (error) {
        assert.ok(error instanceof Fault && error.code === 'invalid', String(error));
        for (const line of error.message.split('\n')) assert.match(line, /^sekisho\.yaml:\d+:\d+ ./);
      }
    }),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 1000) },
  );
});
