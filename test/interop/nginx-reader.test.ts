// Our reader of nginx's configuration against nginx itself: the same words, the same mistakes at the same lines.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { parseNginxConf } from '../../src/wire/nginx-conf.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { nginxPrologue, startNginx, streamModule, testNginx } from '../fixtures/nginx-process.ts';

/** One parameter as written; nginx's stream `return` sends back what it understood. */
const spellings = [
  'plain',
  '"double quoted"',
  "'single quoted'",
  'mid"dle\'quotes',
  '"esc\\"aped \\\\ \\t|\\n|\\r"',
  "'esc\\'aped \\\"'",
  'back\\ slash',
  'back\\;slash',
  'regex\\.com\\d+',
  'hash#inside',
  'brace}inside',
  '"brace{in}side;"',
  '(paren',
  '"new\nline"',
  '\\"starts-escaped',
  "\\'x",
  'tab\\tinside',
  '"# no comment"',
  'semi"colon;',
  'comma,a=b:c/d*e~f^g|h!',
  'ü日本語😀',
  '"ends in backslash \\\\"',
  'carriage\\return',
];

test('nginx and our reader understand the same words', async () => {
  const folder = temporaryFolder('words');
  const servers = spellings.map((spelling, index) => {
    const end = spelling.endsWith(';') ? '' : ';';
    return `server { listen unix:${join(folder, `${index}.sock`)}; return ${spelling}${end} }`;
  });
  const text = `${nginxPrologue(folder)} events {} stream {\n${servers.join('\n')}\n}\n`;
  await using nginx = await startNginx(text, folder);
  const stream = parseNginxConf({ file: 'nginx.conf', text }).directives.find(one => one.name === 'stream');
  const ours = stream?.block?.map(server => server.block?.find(one => one.name === 'return')?.args[0]);
  const theirs = await Promise.all(spellings.map((_, index) => read(join(nginx.folder, `${index}.sock`))));
  assert.deepEqual(ours, theirs);
});

async function read(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of connect(path)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Texts that nginx does not read. */
const broken = [
  'events {}\n}\n',
  'events {}\nstream {\n',
  'events {}\nstream {\n  upstream a {\n',
  'events {}\npid "x\n',
  'events {}\npid\n',
  'events {}\n\n;\n',
  'events {}\n{}\n',
  'events {}\npid "x"y;\n',
  'events {}\nstream {\n  upstream a\n}\n',
  `events {}\npid ${'x'.repeat(5000)};\n`,
  `events {}\n\npid "${'x'.repeat(5000)}";\n`,
  'events {}\ninclude a b;\n',
  'events {}\npid a # b;\n',
];

for (const text of broken) {
  test(`nginx and our reader refuse ${JSON.stringify(text.slice(0, 40))} at the same line with the same words`, () => {
    const folder = temporaryFolder('broken');
    const file = join(folder, 'nginx.conf');
    const loaded = `load_module ${streamModule}; ${text}`;
    const theirs = testNginx(loaded, folder);
    assert.ok(theirs, 'nginx takes it');
    let ours = '';
    try {
      parseNginxConf({ file, text: loaded });
    } catch (error) {
      assert.ok(error instanceof Fault);
      ours = error.message;
    }
    // Ours adds where the open block began; nginx does not.
    assert.equal(ours.replace(/ for the block opened at line \d+,/, ''), theirs);
  });
}
