// The documents are true: every key of the configuration is described, every default and example holds, every line runs.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { plant, seats } from '../src/cli/index.ts';
import { parseConfig } from '../src/daemon/config-file.ts';
import { configJsonSchema } from '../src/daemon/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const readmes = ['README.md', 'README.ja.md'];
const markdown = [
  ...readmes,
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.md'))
    .map(path => `docs/${path}`),
];

// --- The keys -------------------------------------------------------------------------------------------------------

interface Node {
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
}

/** `proxy.<name>.to[].url` and so on, each as often as the schema says it. */
function* keysOf(node: Node, at = ''): Iterable<string> {
  for (const one of node.anyOf ?? []) yield* keysOf(one, at);
  if (node.items) yield* keysOf(node.items, `${at}[]`);
  if (typeof node.additionalProperties === 'object') yield* keysOf(node.additionalProperties, `${at}.<name>`);
  for (const [key, inner] of Object.entries(node.properties ?? {})) {
    const path = at === '' ? key : `${at}.${key}`;
    yield path;
    yield* keysOf(inner, path);
  }
}

/** A certificate is written in the same way in six places and described once. */
const described = (path: string): string =>
  path.replace(
    /^(?:gate|web|web\.forward|web\.sites\.<name>|proxy\.<name>(?:\.upstream)?)\.certificate(?:\[\])?\.(?=.)/,
    'certificate.',
  );

interface Row {
  readonly key: string;
  readonly fallback: string;
  readonly example: string;
}
/** Rows of the tables of keys: key, meaning, default, limits, example. */
const rows: Row[] = read('docs/configuration.md')
  .split('\n')
  .flatMap(line => {
    const cells = line.split('|').map(cell => cell.trim());
    const key = /^`([^`]+)`$/.exec(cells[1] ?? '')?.[1];
    return key && cells.length === 7 ? [{ key, fallback: cells[3] ?? '', example: cells[5] ?? '' }] : [];
  });
const schemaKeys = new Set([...keysOf(configJsonSchema() as Node)].map(described));

test('every key of the configuration is described once in docs/configuration.md, and no other', () => {
  const keys = rows.map(({ key }) => key);
  assert.deepEqual(
    [...schemaKeys].filter(key => !keys.includes(key)),
    [],
    'not described',
  );
  assert.deepEqual(
    keys.filter(key => !schemaKeys.has(key)),
    [],
    'described, but not in the schema',
  );
  assert.deepEqual(
    keys.filter((key, index) => keys.indexOf(key) !== index),
    [],
    'described twice',
  );
  assert.ok(keys.length > 150, `${keys.length} keys`);
});

/** What a block needs so that one of its keys can stand in it. */
const beside: Readonly<Record<string, unknown>> = {
  'access[]': { allow: 'proxy.connect' },
  'access[].who': { cn: 'somebody', o: 'somewhere' },
  'access[].when': { zone: 'UTC' },
  'access[].approve': { group: 'leads' },
  'proxy.<name>': { listen: 'tcp://127.0.0.1:1', to: 'tcp://127.0.0.1:2' },
  'proxy.<name>.to[]': { url: 'tcp://127.0.0.1:2' },
  'web.forward': { hosts: { server1: 'resolve' } },
  'web.forward.hosts.<name>': { to: 'resolve' },
  'web.forward.hosts.<name>.sign-in': { within: '8h' },
  'web.sites.<name>.sign-in': { within: '8h' },
  web: { domain: 'example.com' },
  'web.sites.<name>': { to: 'http://server1/' },
  'web.sites.<name>.identify': { cert: 'file:a.pem', key: 'file:a.key' },
  'endpoint.certificate': { cert: 'file:a.pem', key: 'file:a.key' },
  'trust.oidc': { issuer: 'https://id.example.com/', 'client-id': 'sekisho' },
  'notify.webhook': { url: 'https://hooks.example.com/', secret: 'env:A' },
  'notify.mail': { server: 'smtps://mail.example.com', from: 'a@example.com', to: ['b@example.com'] },
  'notify.mail.auth': { user: 'gate', password: 'env:A' },
  'endpoint.webhook': { url: 'https://hooks.example.com/', secret: 'env:A' },
  'vpn.hubs.<name>.nat': { address: '192.168.30.1/24' },
  'vpn.hubs.<name>.nat.dhcp': { range: '192.168.30.10-192.168.30.200' },
  'vpn.hubs.<name>.nat.dhcp.routes[]': { to: '10.0.1.0/24', via: '192.168.30.9' },
  'vpn.hubs.<name>.forward[]': { listen: '192.168.30.1:80', to: 'tcp://10.0.1.26:80' },
  'vpn.hubs.<name>.filter[]': { action: 'discard' },
  'vpn.routers.<name>': { interfaces: { left: '192.168.30.254/24', right: '192.168.40.254/24' } },
  'vpn.routers.<name>.routes[]': { to: '10.0.0.0/8', via: '192.168.40.9' },
  'gate.certificate': { cert: 'file:a.pem', key: 'file:a.key' },
  'gate.certificate.acme.eab': { kid: 'abc', key: 'file:eab.key' },
};

/** A configuration in which only this key is written besides what has to be; without a value: where it is not. */
function around(key: string, value?: { readonly is: unknown }): { text: string; path: (string | number)[] } {
  const place = key.replace(/^certificate\./, 'gate.certificate.');
  const tokens = place.match(/\[\]|<name>|[^.[\]]+/g) ?? [];
  const path = tokens.map(token => (token === '[]' ? 0 : token === '<name>' ? 'db' : token));
  const build = (depth: number, at: string): unknown => {
    if (depth === tokens.length) return value?.is;
    const token = tokens[depth] ?? '';
    const here = depth === 0 ? token : token === '[]' ? `${at}[]` : `${at}.${token}`;
    const inner = build(depth + 1, here);
    if (token === '[]') return [inner];
    const isAcme = at.endsWith('certificate') && token === 'acme';
    const block = { ...(isAcme ? {} : (beside[at] as object | undefined)), [String(path[depth])]: inner };
    return Object.fromEntries(Object.entries(block).filter(([, one]) => one !== undefined));
  };
  const config = build(0, '') as object;
  // The web gate stands on the gate's own port.
  return { text: JSON.stringify(place.startsWith('web') ? { gate: {}, ...config } : config), path };
}

const inCode = (cell: string): string | undefined => /^`([^`]+)`$/.exec(cell)?.[1];
const parsed = (text: string): unknown => parseConfig(text, { name: 'example.yaml', folder: root }).config;
const at = (value: unknown, path: readonly (string | number)[]): unknown =>
  path.reduce((inner, key) => (inner as Record<string | number, unknown> | undefined)?.[key], value);

test('every example of a key can be written', () => {
  for (const { key, example } of rows) {
    const code = inCode(example);
    assert.ok(code, `${key} has no example`);
    const { text } = around(key, { is: parse(code) });
    assert.doesNotThrow(() => parsed(text), `${key}: ${code}`);
  }
});

test('every default in code is what the key is when it is not written, and no other key has one', () => {
  for (const { key, fallback } of rows) {
    const bare = around(key);
    const code = inCode(fallback);
    if (fallback === 'required' || fallback.startsWith('one of ')) {
      assert.throws(() => parsed(bare.text), { code: 'invalid' }, `${key} is not required`);
    } else if (code === undefined) {
      // A route's limits come as a whole, and their rows say what each is.
      const wholly = key === 'proxy.<name>.limits' ? 'object' : 'undefined';
      assert.equal(typeof at(parsed(bare.text), bare.path), wholly, `${key} has a default: put it in code`);
    } else {
      const written = around(key, { is: parse(code) });
      assert.deepEqual(parsed(bare.text), parsed(written.text), `${key} is not ${code} by default`);
      assert.notEqual(at(parsed(bare.text), bare.path), undefined, `${key} has no default`);
    }
  }
});

// --- The blocks and the lines ---------------------------------------------------------------------------------------

const fences = (path: string): { language: string; text: string }[] =>
  [...read(path).matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({ language, text }));

test('every configuration in the documents is one', () => {
  const words = new RegExp(`^(?:${Object.keys((configJsonSchema() as Node).properties ?? {}).join('|')}):`);
  let seen = 0;
  for (const path of markdown) {
    for (const { language, text } of fences(path)) {
      if (language !== 'yaml' || !words.test(text)) continue;
      seen++;
      assert.doesNotThrow(() => parseConfig(text, { name: path, folder: root }), path);
    }
  }
  assert.ok(seen >= 5, `only ${seen} configurations were found`);
});

const io = {
  stdin: new PassThrough(),
  stdout: new PassThrough(),
  stderr: new PassThrough(),
  env: {},
  signal: new AbortController().signal,
};

/** The words of a shell line up to what the shell does with them. */
const wordsOf = (line: string): string[] =>
  (
    line
      .replace(/\s#.*$/, '')
      .split(/&&|[|>;]/)[0]
      ?.trim()
      .match(/"[^"]*"|\S+/g) ?? []
  ).map(word => word.replace(/^"|"$/g, ''));

/** Replaces what every command does by writing down that it was reached. */
function disarm(command: Command, reached: string[]): void {
  command.action(() => {
    reached.push(command.name());
  });
  for (const inner of command.commands) disarm(inner, reached);
}

test('every ./sekisho line of the documents names a command and options that exist', async () => {
  let seen = 0;
  for (const path of markdown) {
    for (const { text } of fences(path)) {
      for (const line of text.split('\n').filter(one => one.trim().startsWith('./sekisho '))) {
        seen++;
        const words = wordsOf(line).slice(1);
        assert.ok(
          seats.some(({ name }) => name === words[0]),
          `${path}: ${line}: no such command`,
        );
        const { program } = await plant(io, seat => seat.name === words[0]);
        const reached: string[] = [];
        for (const command of program.commands) if (command.name() === words[0]) disarm(command, reached);
        await assert.doesNotReject(program.parseAsync(words, { from: 'user' }), `${path}: ${line}`);
        assert.equal(reached.length, 1, `${path}: ${line}: names a group of commands, not one of them`);
      }
    }
  }
  assert.ok(seen >= 18, `only ${seen} lines were found`);
});

test('every npm script that the READMEs name exists', () => {
  const scripts = Object.keys(JSON.parse(read('package.json')).scripts);
  for (const path of readmes) {
    for (const [, run, name = ''] of read(path).matchAll(/\bnpm (run )?([a-z:]+)/g)) {
      if (run === undefined && !['start', 'test'].includes(name)) continue; // prose
      assert.ok(scripts.includes(name), `${path}: npm ${name}`);
    }
  }
});

test('English and Japanese show the same commands and configurations', () => {
  const lines = (path: string): unknown =>
    fences(path).map(({ language, text }) => ({
      language,
      text: text
        .split('\n')
        .map(line =>
          line
            .replace(/(?:^|\s)#.*$/, '')
            .replace(/<[^>]+>/, '<…>')
            .trimEnd(),
        )
        .filter(line => line !== ''),
    }));
  assert.deepEqual(lines('README.md'), lines('README.ja.md'));
  assert.deepEqual(lines('docs/tunnel.md'), lines('docs/tunnel.ja.md'));
  const headings = (path: string): number[] =>
    [...read(path).matchAll(/^(#+) /gm)].map(([, marks]) => marks?.length ?? 0);
  assert.deepEqual(headings('README.md'), headings('README.ja.md'));
  assert.deepEqual(headings('docs/tunnel.md'), headings('docs/tunnel.ja.md'));
});

test('every link between the documents leads to a file', () => {
  for (const path of [...markdown, 'ARCHITECTURE.md', 'SECURITY.md', 'CONTRIBUTING.md', 'examples/README.md']) {
    for (const [, link = ''] of read(path).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      assert.ok(existsSync(resolve(root, dirname(path), link)), `${path}: ${link}`);
    }
  }
});
