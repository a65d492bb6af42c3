// Links in documents: what is one changes, what is not never does, in any charset and in any cut.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: scripts are what is tested
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileSites, type Site } from '../map.ts';
import { sitePlanFor } from '../test-site.ts';
import type { Naming } from '../urls.ts';
import { charsetFor } from './charset.ts';
import { CssReader } from './css.ts';
import { HtmlReader } from './html.ts';
import type { Scanner } from './scanner.ts';
import { ScriptReader } from './script.ts';

const sites = compileSites([
  sitePlanFor('server1', 'http://server1/'),
  sitePlanFor('server1-8081', 'http://server1:8081/'),
]);
const naming: Naming = { sites, site: sites.find('server1.example.com') as Site, port: '' };

const readers = {
  html: () => new HtmlReader(naming, 'html'),
  xml: () => new HtmlReader(naming, 'xml'),
  css: () => new CssReader(naming),
  js: () => new ScriptReader(naming),
} satisfies Record<string, () => Scanner>;
type Kind = keyof typeof readers;

function rewrite(kind: Kind, bytes: Buffer, label = 'utf-8', cuts: readonly number[] = []): Buffer {
  const [scanner, charset] = [readers[kind](), charsetFor(label)];
  if (!charset) throw new Error('no charset');
  const out: Buffer[] = [];
  const ends = [...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  let at = 0;
  for (const end of ends) {
    const { text, view } = charset.decode(bytes.subarray(at, end));
    out.push(charset.encode(scanner.push(text, view)));
    at = end;
  }
  return Buffer.concat([...out, charset.encode(scanner.end())]);
}
const text = (kind: Kind, source: string): string => rewrite(kind, Buffer.from(source)).toString();

const P = 'https://server1.example.com';
const rows: readonly (readonly [kind: Kind, source: string, wanted?: string])[] = [
  ['html', '<a href="http://server1/a?b=1&amp;c">x</a>', `<a href="${P}/a?b=1&amp;c">x</a>`],
  ['html', "<A HREF='HTTP://SERVER1:80'>", `<A HREF='https://server1.example.com'>`],
  ['html', '<a href=//server1/a>x', '<a href=//server1.example.com/a>x'],
  [
    'html',
    '<img src = "http://server1:8081/i.png" alt="http://server1/">',
    '<img src = "https://server1-8081.example.com/i.png" alt="http://server1/">',
  ],
  ['html', '<a href="/rel"><a href="rel"><a href="http://server10/"><a href="http://other/">'],
  ['html', '<p>See http://server1/ for "http://server1/"</p><input value="http://server1/">'],
  [
    'html',
    '<!-- <a href="http://server1/"> --><a href="http://server1/">',
    `<!-- <a href="http://server1/"> --><a href="${P}/">`,
  ],
  ['html', '<title><a href="http://server1/"></title><textarea><a href="http://server1/"></textarea>'],
  [
    'html',
    '<meta http-equiv="refresh" content="0; URL=\'http://server1/x\'"><meta name=d content="http://server1/">',
    `<meta http-equiv="refresh" content="0; URL='${P}/x'"><meta name=d content="http://server1/">`,
  ],
  [
    'html',
    '<img srcset="http://server1/a 1x, http://server1/b 2x, /c 3x">',
    `<img srcset="${P}/a 1x, ${P}/b 2x, /c 3x">`,
  ],
  [
    'html',
    '<div style="background:url(http://server1/x.png)" onclick="location=\'http://server1/y\'">',
    `<div style="background:url(${P}/x.png)" onclick="location='${P}/y'">`,
  ],
  [
    'html',
    '<style>a{b:url("http://server1/c")}/* url(http://server1/) */</style>',
    `<style>a{b:url("${P}/c")}/* url(http://server1/) */</style>`,
  ],
  [
    'html',
    '<script>let a = "http://server1/x"; // "http://server1/"\nlet b = "see http://server1/ now";</script>',
    `<script>let a = "${P}/x"; // "http://server1/"\nlet b = "see http://server1/ now";</script>`,
  ],
  ['html', '<script type="text/x-template"><a href="http://server1/"></script>'],
  ['html', '<base href="http://server1/app/">', `<base href="${P}/app/">`],
  ['html', 'a < b && c <d href="http://server1/">', `a < b && c <d href="${P}/">`],
  [
    'css',
    '@import "http://server1/a.css"; a { content: "http://server1/" }',
    `@import "${P}/a.css"; a { content: "http://server1/" }`,
  ],
  ['css', "@import url( 'http://server1/a.css' ); b{c:url()}", `@import url( '${P}/a.css' ); b{c:url()}`],
  [
    'css',
    'a{b:url(data:image/png;base64,AAAA)} c{d:URL(//server1/x)}',
    'a{b:url(data:image/png;base64,AAAA)} c{d:URL(//server1.example.com/x)}',
  ],
  ['js', 'fetch("http:\\/\\/server1\\/api")', 'fetch("https:\\/\\/server1.example.com\\/api")'],
  [
    'js',
    'x = /"/.test(y) ? "ws://server1/ws" : `http://server1/${id}`',
    'x = /"/.test(y) ? "wss://server1.example.com/ws" : `https://server1.example.com/${id}`',
  ],
  ['js', '"http://server1" + "//server1/x"', '"https://server1.example.com" + "//server1.example.com/x"'],
  ['js', '"http://server1 is down", "//server1 comment", "http://server1.evil/"'],
  ['js', '{"href":"http://server1:8081/a","text":"a/b"}', '{"href":"https://server1-8081.example.com/a","text":"a/b"}'],
  [
    'js',
    'a = b / c; d = "http://server1/" / e; /* "http://server1/" */',
    `a = b / c; d = "${P}/" / e; /* "http://server1/" */`,
  ],
  [
    'xml',
    '<D:href>http://server1/dav/a</D:href><D:displayname>http://server1/</D:displayname>',
    `<D:href>${P}/dav/a</D:href><D:displayname>http://server1/</D:displayname>`,
  ],
];

for (const [kind, source, wanted = source] of rows) {
  test(`${kind}: ${source}`, () => assert.equal(text(kind, source), wanted));
}

test('where the pieces of a stream are cut changes nothing', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...rows),
      fc.array(fc.nat(400), { maxLength: 6 }),
      ([kind, source, wanted = source], cuts) => {
        assert.equal(rewrite(kind, Buffer.from(source), 'utf-8', cuts).toString(), wanted);
      },
    ),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 500) },
  );
});

test('bytes that hold no address of a site pass unchanged, whatever they are and however they are cut', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 20 }).map(bytes => Buffer.from(bytes)),
    fc
      .constantFrom(
        '<a href="',
        '<script>',
        '</script>',
        '<!--',
        '-->',
        'url(',
        '"',
        "'",
        '`',
        '/*',
        '*/',
        '\\',
        'http://other/',
        '@import ',
        '>',
        '=',
        '//',
        '${',
      )
      .map(text => Buffer.from(text)),
  );
  fc.assert(
    fc.property(
      fc.constantFrom<Kind>('html', 'xml', 'css', 'js'),
      fc.array(piece, { maxLength: 30 }),
      fc.constantFrom('utf-8', 'shift_jis', 'gbk', 'iso-2022-jp', 'utf-16le'),
      fc.array(fc.nat(400), { maxLength: 5 }),
      (kind, pieces, label, cuts) => {
        const bytes = Buffer.concat(pieces);
        const even = label === 'utf-16le' ? bytes.subarray(0, bytes.length & ~1) : bytes;
        assert.deepEqual(rewrite(kind, even, label, cuts), even);
      },
    ),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 500) },
  );
});

test('the second byte of a Shift_JIS character is not the backslash or the quote that it looks like', () => {
  const so = Buffer.from([0x83, 0x5c]); // ソ
  const source = Buffer.concat([Buffer.from('x="'), so, Buffer.from('";y="http://server1/'), so, Buffer.from('"')]);
  const wanted = Buffer.concat([Buffer.from('x="'), so, Buffer.from(`";y="${P}/`), so, Buffer.from('"')]);
  for (let cut = 0; cut <= source.length; cut++) assert.deepEqual(rewrite('js', source, 'Shift_JIS', [cut]), wanted);
});

test('UTF-16 and ISO-2022-JP documents are read as what they are', () => {
  const html = '<a href="http://server1/日本">日本</a>';
  const wanted = `<a href="${P}/日本">日本</a>`;
  assert.equal(rewrite('html', Buffer.from(html, 'utf16le'), 'utf-16le', [7, 20]).toString('utf16le'), wanted);
  const be = (text: string) => Buffer.from(text, 'utf16le').swap16();
  assert.deepEqual(rewrite('html', be(html), 'utf-16be', [7]), be(wanted));
  // ESC $ B … ESC ( B around bytes that look like <a href="
  const jis = Buffer.from('\x1b$B<a href="http://server1/\x1b(B<a href="http://server1/">', 'latin1');
  const out = rewrite('html', jis, 'iso-2022-jp').toString('latin1');
  assert.equal(out, `\x1b$B<a href="http://server1/\x1b(B<a href="${P}/">`);
});
