// npm run …: each script under the right Node, after installing what is missing.
'use strict';
const { spawnSync } = require('child_process');
const { existsSync, readFileSync, readdirSync } = require('fs');
const { availableParallelism } = require('os');
const { join } = require('path');
const { ensure, findNode, root } = require('./ensure.cjs');

ensure();
const node = findNode();
const bin = name => join(root, 'node_modules', '.bin', name);
const rest = process.argv.slice(3);
// Two files at a time at least: on a machine with two cores Node would run one, and most tests wait more than they work.
const abreast = `--test-concurrency=${Math.max(2, availableParallelism() - 1)}`;
const tests = (globs, extra = [abreast]) => [
  node,
  ['--test', '--test-timeout=120000', ...extra, ...rest, ...(rest.some(isPath) ? [] : globs)],
];
const isPath = argument => !argument.startsWith('-');

/** The programs that tests speak with; without them a test file is named and left out, except where CI wants them all. */
const programs = {
  openssl: /fixtures\/(certificates|gate-process|imported)|'openssl'|\/(rig|house|planning)\.ts/,
  nginx: /nginx-process|imported\.ts|'nginx'/,
  haproxy: /'haproxy'/,
  curl: /'curl'|'bash'/,
  nc: /'nc'/,
  'redis-server': /redis-server/,
  psql: /'psql'/,
  pebble: /pebble/,
  chromium: /fixtures\/(chromium|playwright)/,
  'firefox-esr': /fixtures\/firefox/,
  certutil: /fixtures\/(chromium|firefox|playwright)|'certutil'/,
  python3: /'(\/usr\/bin\/)?python3'/,
  sshd: /sbin\/sshd/,
  squid: /'squid'/,
  aws: /tunnel-aws|'aws'/,
  mosquitto: /'mosquitto_sub'/,
  ssh: /fixtures\/ssh-server/,
  vpncmd: /fixtures\/softether-programs/,
  vpnclient: /startVpnClient/,
  openvpn: /startOpenVpn/,
  fossil: /'fossil'/,
  radicale: /'radicale'/,
};
/** What only root may: network namespaces and TAP devices. CI's ordinary user is no reason to fail. */
const rootOnly = /startVpnClient|startOpenVpn/;
const isHere = program =>
  [...(process.env.PATH || '').split(':'), '/usr/sbin'].some(folder => existsSync(join(folder, program)));

function everyTest() {
  const absent = Object.entries(programs).filter(([program]) => !isHere(program));
  const inside = folder =>
    readdirSync(join(root, folder), { recursive: true })
      .filter(path => path.endsWith('.test.ts'))
      .map(path => `${folder}/${path}`);
  const files = [
    ...inside('src'),
    ...readdirSync(join(root, 'test'))
      .filter(path => path.endsWith('.test.ts'))
      .map(path => `test/${path}`),
    ...inside('test/e2e'),
    ...inside('test/interop'),
    ...inside('test/fuzz'),
  ];
  return files.filter(file => {
    const text = readFileSync(join(root, file), 'utf8');
    if (rootOnly.test(text) && process.getuid?.() !== 0) {
      process.stderr.write(`left out: ${file} needs root\n`);
      return false;
    }
    const lacks = absent.filter(([, pattern]) => pattern.test(text)).map(([program]) => program);
    if (lacks.length === 0) return true;
    process.stderr.write(`left out: ${file} speaks with ${lacks.join(', ')}, not installed here\n`);
    if (process.env.SEKISHO_ALL_TESTS) process.exitCode = 1;
    return false;
  });
}

/** `npm run bench -- vpn …` is bench/vpn.ts; without a room's name the stream proxy is measured. */
function benchOf([first = '', ...more]) {
  const own = join(root, `bench/${first}.ts`);
  return /^[a-z]+$/.test(first) && existsSync(own)
    ? [node, [own, ...more]]
    : [node, [join(root, 'bench/run.ts'), ...rest]];
}

/** One row a script: the commands it runs, in order; the first that fails ends it. */
const scripts = {
  test: [tests(process.argv[2] === 'test' ? everyTest() : [])],
  unit: [tests(['src/**/*.test.ts', 'test/*.test.ts'])],
  e2e: [tests(['test/e2e/**/*.test.ts'])],
  interop: [tests(['test/interop/**/*.test.ts'])],
  lab: [tests(['test/lab/**/*.test.ts'], ['--test-timeout=1800000'])],
  soak: [tests(['test/soak/**/*.test.ts'], ['--test-timeout=7200000'])],
  fuzz: [tests(['test/fuzz/**/*.test.ts'], ['--test-timeout=7200000'])],
  lint: [[bin('biome'), ['check', '--error-on-warnings', ...rest]]],
  types: [
    [bin('tsc'), ['-p', '.']],
    [bin('tsc'), ['--noEmit', '-p', 'console']],
  ],
  check: [
    [bin('biome'), ['check', '--error-on-warnings']],
    [bin('tsc'), ['-p', '.']],
    [bin('tsc'), ['--noEmit', '-p', 'console']],
    tests(['src/**/*.test.ts', 'test/*.test.ts']),
  ],
  bench: [benchOf(rest)],
  docs: [[node, [join(root, 'docs/site/build.ts')]]],
  build: [
    [bin('tsc'), ['-p', 'tsconfig.build.json']],
    [node, [join(root, 'src/daemon/build-main.ts')]],
  ],
};

const script = scripts[process.argv[2]];
if (!script) {
  process.stderr.write(`run what? one of: ${Object.keys(scripts).join(', ')}\n`);
  process.exit(2);
}
for (const [command, args] of script) {
  // The same cache as src/main.ts has: hundreds of test files strip and compile the same modules otherwise.
  const NODE_COMPILE_CACHE = process.env.NODE_COMPILE_CACHE || join(root, 'node_modules/.cache/sekisho');
  const env = { ...process.env, NODE_COMPILE_CACHE, PATH: `${join(node, '..')}:${process.env.PATH}` };
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (error) process.stderr.write(`${command}: ${error.message}\n`);
  if (status !== 0) process.exit(status === null ? 1 : status);
}
