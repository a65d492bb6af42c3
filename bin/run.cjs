// npm run …: each script under the right Node, after installing what is missing.
'use strict';
const { spawnSync } = require('child_process');
const { join } = require('path');
const { ensure, findNode, root } = require('./ensure.cjs');

ensure();
const node = findNode();
const bin = name => join(root, 'node_modules', '.bin', name);
const rest = process.argv.slice(3);
const tests = (globs, extra = []) => [
  node,
  ['--test', '--test-timeout=120000', ...extra, ...rest, ...(rest.some(isPath) ? [] : globs)],
];
const isPath = argument => !argument.startsWith('-');

/** One row a script: the commands it runs, in order; the first that fails ends it. */
const scripts = {
  test: [tests(['src/**/*.test.ts', 'test/*.test.ts', 'test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts'])],
  unit: [tests(['src/**/*.test.ts', 'test/*.test.ts'])],
  e2e: [tests(['test/e2e/**/*.test.ts'])],
  interop: [tests(['test/interop/**/*.test.ts'])],
  lab: [tests(['test/lab/**/*.test.ts'], ['--test-timeout=1800000'])],
  soak: [tests(['test/soak/**/*.test.ts'], ['--test-timeout=7200000'])],
  fuzz: [tests(['test/fuzz/**/*.test.ts'], ['--test-timeout=7200000'])],
  lint: [[bin('biome'), ['check', '--error-on-warnings', ...rest]]],
  types: [[bin('tsc'), ['-p', '.']]],
  check: [
    [bin('biome'), ['check', '--error-on-warnings']],
    [bin('tsc'), ['-p', '.']],
    tests(['src/**/*.test.ts', 'test/*.test.ts']),
  ],
  bench: [[node, [join(root, 'bench/run.ts'), ...rest]]],
  build: [[bin('tsc'), ['-p', 'tsconfig.build.json']]],
};

const script = scripts[process.argv[2]];
if (!script) {
  process.stderr.write(`run what? one of: ${Object.keys(scripts).join(', ')}\n`);
  process.exit(2);
}
for (const [command, args] of script) {
  const env = { ...process.env, PATH: `${join(node, '..')}:${process.env.PATH}` };
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (error) process.stderr.write(`${command}: ${error.message}\n`);
  if (status !== 0) process.exit(status === null ? 1 : status);
}
