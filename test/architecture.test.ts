// The house tests its own rules: who may import whom, one front door a room, no default exports, files of one idea.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

/** Who may import whom. A room may always import itself; a feature may import no other feature. */
const may: Record<string, readonly string[]> = {
  core: [],
  wire: ['core'],
  net: ['core', 'wire'],
  store: ['core'],
  trust: ['core', 'wire', 'store'],
  access: ['core', 'wire', 'store'],
  features: ['core', 'wire', 'net', 'store'],
  api: ['core', 'wire', 'net', 'trust', 'access', 'features', 'store'],
  daemon: ['core', 'wire', 'net', 'store', 'trust', 'access', 'features', 'api'],
  cli: ['core', 'api/contract', 'daemon'],
  'main.ts': ['cli', 'core'],
};
/** Rooms that are entered through index.ts, config.ts (schemas alone), or worker.ts (what a worker process needs). */
const closed = ['store', 'trust', 'access', 'features', 'api', 'daemon', 'cli'];

/** Further front doors: what runs elsewhere, with a small import closure of its own. */
const fronts = [
  'features/device/agent/index.ts',
  'daemon/agent-parts.ts',
  'features/tunnel/local.ts',
  'daemon/terminal-join.ts',
  'daemon/tunnel-join.ts',
  'daemon/member.ts',
];

const root = join(import.meta.dirname, '..', 'src');
const room = (path: string): string => {
  const parts = path.split('/');
  if (parts[0] === 'features' && parts.length > 2) return `features/${parts[1]}`;
  if (parts[0] === 'api' && parts[1] === 'contract') return 'api/contract';
  return parts[0] ?? '';
};
const floor = (path: string): string => room(path).split('/')[0] ?? '';

for (const file of globSync('**/*.ts', { cwd: root })) {
  if (file.endsWith('.test.ts')) continue;
  const text = readFileSync(join(root, file), 'utf8');
  const imports = [
    ...text.matchAll(/^(?:import|export)\b[^'"]*?['"](\.[^'"]+\.ts)['"]/gm),
    ...text.matchAll(/\bimport\(\s*['"](\.[^'"]+)['"]\s*\)/g),
  ];
  test(`${file} keeps the import rules`, () => {
    for (const [, to] of imports) {
      const target = normalize(join(dirname(file), to ?? ''));
      const [here, there] = [room(file), room(target)];
      if (here === there) continue;
      if (here === 'api' && there === 'api/contract') continue;
      if (here === 'api/contract') {
        assert.ok(
          floor(target) === 'core' || target.endsWith('/config.ts'),
          `${file} imports ${target}: the contract is words and schemas only`,
        );
        continue;
      }
      const allowed = may[floor(file)] ?? [];
      assert.ok(
        allowed.includes(there) || allowed.includes(floor(target)),
        `${file} imports ${target}: ${floor(file)} may import only ${allowed.join(', ') || 'nothing of ours'}; ask for an interface and let daemon/ introduce them`,
      );
      assert.ok(
        floor(file) !== 'features' || floor(target) !== 'features',
        `${file} imports ${target}: features never import each other`,
      );
      if (closed.includes(floor(target)) && there !== 'api/contract') {
        const isFront = /(^|\/)(index|config|worker)\.ts$/.test(target) || fronts.includes(target);
        assert.ok(isFront, `${file} imports ${target}: go through the room's index.ts`);
      }
    }
  });
  test(`${file} says what it is for and exports by name`, () => {
    assert.match(text, /^(#!.*\n)?\/\//, `${file}: the first line of a file says what it is for`);
    assert.doesNotMatch(text, /^export default/m, `${file}: named exports only`);
    if (file !== 'main.ts') assert.doesNotMatch(text, /process\.exit\(/, `${file}: only main.ts may end the process`);
  });
}

test('a worker process loads no schemas, no database and no HTTP framework', () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const follow = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, from = ''] of text.matchAll(/^(?:import|export)\b(?! type)[^;'"]*?\bfrom ['"]([^'"]+)['"]/gm)) {
      if (from.startsWith('.')) follow(normalize(join(dirname(file), from)));
      else if (!from.startsWith('node:')) packages.add(from);
    }
  };
  follow('daemon/worker-main.ts');
  assert.deepEqual([...packages].sort(), ['pino', 'prom-client'], 'each megabyte of heap costs a worker throughput');
});

// The agent is one small file that runs on Node 18: what it is bundled from is listed here, and none of it may grow in.
const ofAgent = [
  /^core\//,
  /^features\/device\/(agent\/|protocol\.ts|floods\.ts|streams\.ts)/,
  /^features\/tunnel\//,
  /^wire\/(cidr|ip|tunnel-frame|websocket-frame)\.ts/,
  /^net\//,
  /^daemon\/agent[a-z-]*\.ts/,
];
const brought = ['ws', 'mqtt'];

test('the agent is bundled from few rooms and two libraries', () => {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    assert.ok(
      ofAgent.some(pattern => pattern.test(file)),
      `${file} has come into the agent by way of its imports; keep it out, or say here why it belongs`,
    );
    const text = readFileSync(join(root, file), 'utf8');
    const values = [
      ...text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s+)?['"]([^'"]+)['"]/gm),
      ...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g),
    ];
    for (const [, to = ''] of values) {
      if (to.startsWith('.')) visit(normalize(join(dirname(file), to)));
      else assert.ok(to.startsWith('node:') || brought.includes(to), `${file} brings ${to} into the agent`);
    }
  };
  visit('daemon/agent-main.ts');
});
