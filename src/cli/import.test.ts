import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { run } from './index.ts';

const article = join(import.meta.dirname, '../../test/fixtures/nginx/article-000.conf');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sekisho-import-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function sekisho(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const status = await run(argv, { stdin, stdout, stderr, env: {}, signal: new AbortController().signal });
  // Node 26 gives one written piece a read.
  const text = (stream: PassThrough): string => {
    let all = '';
    for (let part = stream.read(); part !== null; part = stream.read()) all += part;
    return all;
  };
  return { status, out: text(stdout), err: text(stderr) };
}

suite('sekisho import', () => {
  test('writes the configuration, tells each line and what was found, and is content', async () => {
    const output = join(folder, 'gate.yaml');
    const { status, out } = await sekisho('import', article, '-o', output);
    assert.equal(status, 0);
    assert.match(out, /article-000\.conf:17 +converted +proxy_ssl on +targets are tls:\/\//);
    assert.match(out, /high article-000\.conf:17 proxy_ssl on accepts any certificate and sends no server name/);
    assert.match(out, /\d+ converted, \d+ with a note, \d+ safely ignored, 0 refused: .*gate\.yaml/);
    assert.match(readFileSync(output, 'utf8'), /to: tls:\/\/13-115-125-214\.napter\.soracom\.io:45738/);
  });
  test('writes the configuration when something is refused too, and says so by its status', async () => {
    const file = join(folder, 'nginx.conf');
    writeFileSync(file, 'stream { server { listen 1; return hello; } server { listen 2; proxy_pass 127.0.0.1:3; } }');
    const { status, out } = await sekisho('import', file, '-o', join(folder, 'gate.yaml'));
    assert.equal(status, 2);
    assert.match(out, /Not converted, and what to do\n.*nginx\.conf:1 server \{\}/);
    assert.match(readFileSync(join(folder, 'gate.yaml'), 'utf8'), /tcp:\/\/0\.0\.0\.0:2/);
  });
  test('--json gives rows and findings with file, line and column', async () => {
    const { status, out } = await sekisho('import', article, '--json', '-o', join(folder, 'gate.yaml'));
    assert.equal(status, 0);
    const { counts, rows, findings } = JSON.parse(out);
    assert.equal(counts.refused, 0);
    assert.deepEqual(
      { ...rows.at(-1), reason: undefined },
      {
        file: 'article-000.conf',
        line: 17,
        column: 1,
        status: 'converted',
        directive: 'proxy_ssl on',
        reason: undefined,
      },
    );
    assert.equal(findings[0].code, 'encrypts-but-does-not-authenticate');
  });
  test('-o - is the configuration and nothing else', async () => {
    const { status, out } = await sekisho('import', article, '-o', '-');
    assert.equal(status, 0);
    assert.match(out, /^# Converted from article-000\.conf/);
  });
  test('a file that is there is not replaced unless told so', async () => {
    const output = join(folder, 'gate.yaml');
    writeFileSync(output, 'mine');
    const refused = await sekisho('import', article, '-o', output);
    assert.equal(refused.status, 4);
    assert.equal(readFileSync(output, 'utf8'), 'mine');
    assert.equal((await sekisho('import', article, '-o', output, '--force')).status, 0);
    assert.notEqual(readFileSync(output, 'utf8'), 'mine');
  });
  test('what nginx cannot read is told as nginx tells it, and nothing is written', async () => {
    const file = join(folder, 'nginx.conf');
    writeFileSync(file, 'stream {\n}\n}\n');
    const { status, err } = await sekisho('import', file, '-o', join(folder, 'gate.yaml'));
    assert.equal(status, 2);
    assert.match(err, /unexpected "}" in nginx\.conf:3/);
    assert.ok(!existsSync(join(folder, 'gate.yaml')));
  });
  test('a file that is not there is named', async () => {
    const { status, err } = await sekisho('import', join(folder, 'none.conf'));
    assert.equal(status, 2);
    assert.match(err, /cannot open ".*none\.conf"/);
  });
});
