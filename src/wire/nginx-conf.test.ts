import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import {
  type Directive,
  formatNginxConf,
  parseNginxConf,
  parseNginxSize,
  parseNginxTime,
  splitVariables,
} from './nginx-conf.ts';

const parse = (text: string): readonly Directive[] => parseNginxConf({ file: 'nginx.conf', text }).directives;
const words = (text: string): string[][] => parse(text).map(({ name, args }) => [name, ...args]);
const bare = (directives: readonly Directive[]): unknown =>
  directives.map(({ name, args, block }) => [name, args, block && bare(block)]);

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, 'invalid');
    return error.message;
  }
  assert.fail('it was taken');
}

suite('words', () => {
  /** Text → words, as nginx reads them (the interop test asks nginx itself). */
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['a b;', ['a', 'b']],
    ['a"b c;', ['a"b', 'c']],
    ["a 'b \"c';", ['a', 'b "c']],
    ['a "b\\"c";', ['a', 'b"c']],
    ["a 'b\\'c';", ['a', "b'c"]],
    ['a "\\t\\n\\\\";', ['a', '\t\n\\']],
    ['a \\.com$;', ['a', '\\.com$']],
    ['a b\\ c;', ['a', 'b\\ c']],
    ['a b\\;c;', ['a', 'b\\;c']],
    ['a $\x7bb}c$d;', ['a', '$\x7bb}c$d']],
    ['a b#c; # d;', ['a', 'b#c']],
    ['a b}c;', ['a', 'b}c']],
    ['a "";', ['a', '']],
    ['a "b{c;d}";', ['a', 'b{c;d}']],
    ['a (b "c") d;', ['a', '(b', 'c', ')', 'd']],
    ['a\n  b # x\n  c;', ['a', 'b', 'c']],
    ['a "b\nc";', ['a', 'b\nc']],
    ['"a" b;', ['a', 'b']],
    ['a $;', ['a', '$']],
  ];
  for (const [text, expected] of table) {
    test(`${JSON.stringify(text)} is ${expected.length} words`, () => assert.deepEqual(words(text), [expected]));
  }

  test('a byte order mark before the first word is no part of it', () =>
    assert.deepEqual(words('\uFEFFa b;'), [['a', 'b']]));
  test('places count lines and columns from 1, in quotes and comments too', () => {
    const [a, b] = parse('a "x\ny" z; # c\n\n   b {\n}');
    assert.deepEqual(a?.at, { file: 'nginx.conf', line: 1, column: 1 });
    assert.deepEqual(b?.at, { file: 'nginx.conf', line: 4, column: 4 });
  });
});

suite('mistakes are told as nginx tells them', () => {
  const table: readonly (readonly [string, string])[] = [
    ['a;\n}\n', 'unexpected "}" in nginx.conf:2'],
    ['a {\n b;\n', 'unexpected end of file, expecting "}" for the block opened at line 1, in nginx.conf:3'],
    ['a b', 'unexpected end of file, expecting ";" or "}" in nginx.conf:1'],
    ['a "b', 'unexpected end of file, expecting ";" or "}" in nginx.conf:1'],
    ['a {\n b\n}\n', 'unexpected "}" in nginx.conf:3'],
    [';', 'unexpected ";" in nginx.conf:1'],
    ['{}', 'unexpected "{" in nginx.conf:1'],
    ['a "b"c;', 'unexpected "c" in nginx.conf:1'],
    [`a ${'x'.repeat(5000)};`, 'too long parameter "xxxxxxxxxx..." started in nginx.conf:1'],
    [`a\n"${'x'.repeat(5000)}";`, 'too long parameter, probably missing terminating """ character in nginx.conf:2'],
    ['include a b;', 'invalid number of arguments in "include" directive in nginx.conf:1'],
    ['include a;', 'include "a" cannot be followed here in nginx.conf:1'],
    [`${'a{'.repeat(70)}${'}'.repeat(70)}`, 'blocks are nested deeper than 64 in nginx.conf:1'],
    ['a_by_lua_block { x', 'unexpected end of file, expecting "}" in nginx.conf:1'],
  ];
  for (const [text, expected] of table) {
    test(expected, () =>
      assert.equal(
        refusal(() => parse(text)),
        expected,
      ),
    );
  }
});

test('a Lua block is kept unread, whatever braces its strings and comments hold', () => {
  const lua = ' local a = "}" -- }\n --[[ } ]] b = [==[ } ]] } ]==] if a then { } end ';
  const [block, after] = parse(`content_by_lua_block {${lua}} next;`);
  assert.equal(block?.foreign, lua);
  assert.equal(after?.name, 'next');
});

suite('include', () => {
  const include = (files: Record<string, string>, main = '/etc/nginx/nginx.conf') =>
    parseNginxConf({
      file: main,
      text: files[main] ?? '',
      files: {
        read: path => files[path] ?? assert.fail('no such file'),
        list: pattern =>
          Object.keys(files).filter(path => new RegExp(`^${pattern.replace(/\*/g, '[^/]*')}$`).test(path)),
      },
    });

  test('starts at the folder of the main file, wherever it stands, and keeps the place of every word', () => {
    const { directives, includes } = include({
      '/etc/nginx/nginx.conf': 'stream { include streams/*.conf; }',
      '/etc/nginx/streams/a.conf': '\ninclude common.inc;',
      '/etc/nginx/streams/b.conf': 'b;',
      '/etc/nginx/common.inc': 'c;',
    });
    assert.deepEqual(bare(directives), [
      [
        'stream',
        [],
        [
          ['c', [], undefined],
          ['b', [], undefined],
        ],
      ],
    ]);
    assert.equal(directives[0]?.block?.[0]?.at.file, '/etc/nginx/common.inc');
    assert.deepEqual(
      includes.map(one => one.files),
      [['/etc/nginx/streams/a.conf', '/etc/nginx/streams/b.conf'], ['/etc/nginx/common.inc']],
    );
  });
  test('a pattern that matches nothing is no mistake', () =>
    assert.deepEqual(include({ '/etc/nginx/nginx.conf': 'include x/*.conf;' }).directives, []));
  test('a missing file is named, with the line that asked for it', () =>
    assert.match(
      refusal(() => include({ '/etc/nginx/nginx.conf': '\ninclude x.conf;' })),
      /^cannot open "\/etc\/nginx\/x\.conf" \(.*\), included in \/etc\/nginx\/nginx\.conf:2$/,
    ));
  test('a file that includes itself is refused, not read for ever', () =>
    assert.equal(
      refusal(() => include({ '/etc/nginx/nginx.conf': 'include a;', '/etc/nginx/a': 'include a;' })),
      'include "/etc/nginx/a" includes itself in /etc/nginx/a:1',
    ));
  test('a file cannot close a block that it did not open', () =>
    assert.equal(
      refusal(() => include({ '/etc/nginx/nginx.conf': 'a { include b; ', '/etc/nginx/b': '}' })),
      'unexpected "}" in /etc/nginx/b:1',
    ));
  test('many includes of a large file end at a limit', () => {
    const large = 'a;'.repeat(100_000);
    assert.match(
      refusal(() => include({ '/etc/nginx/nginx.conf': 'include l;'.repeat(1000), '/etc/nginx/l': large })),
      /more than 200000 directives|larger than/,
    );
  });
});

test('variables are taken out of a text', () => {
  assert.deepEqual(splitVariables('a$\x7bb}c$d:1'), ['a', { variable: 'b' }, 'c', { variable: 'd' }, ':1']);
  assert.deepEqual(splitVariables('\\.com$'), ['\\.com$']);
  assert.deepEqual(splitVariables(''), []);
});

test('times and sizes are read as nginx reads them', () => {
  assert.deepEqual(['30', '30s', '1h 30m', '500ms', '1M', '', 'x', '1x'].map(parseNginxTime), [
    30_000,
    30_000,
    5_400_000,
    500,
    2_592_000_000,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(['10', '16k', '1M', '1g', '-1', '1t'].map(parseNginxSize), [
    10,
    16384,
    1048576,
    1073741824,
    undefined,
    undefined,
  ]);
});

test('what is written reads back as it was', () => {
  const word = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.string({ unit: fc.constantFrom(...'a$ {}\\"\'#;\n\t'), maxLength: 8 }),
  );
  const name = word.filter(text => text !== 'include' && !text.endsWith('_by_lua_block'));
  const { tree } = fc.letrec<{ tree: Directive[] }>(tie => ({
    tree: fc.array(
      fc.record(
        {
          name,
          args: fc.array(word, { maxLength: 4 }),
          at: fc.constant({ file: '', line: 0, column: 0 }),
          block: tie('tree'),
        },
        { requiredKeys: ['name', 'args', 'at'] },
      ) as fc.Arbitrary<Directive>,
      { maxLength: 3, size: 'small' },
    ),
  }));
  fc.assert(
    fc.property(tree, directives => assert.deepEqual(bare(parse(formatNginxConf(directives))), bare(directives))),
  );
});
