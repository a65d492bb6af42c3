// Makes sure that the dependencies and the right Node are here, and says where that Node is. Plain CommonJS without
// imports of ours: it must run on whatever Node a fresh machine has.
'use strict';
const { spawnSync } = require('child_process');
const { existsSync, readFileSync, statSync } = require('fs');
const { join } = require('path');

const root = join(__dirname, '..');
const wanted = [24, 15];

const isClone = existsSync(join(root, 'src')) && existsSync(join(root, 'package-lock.json'));

/** The lock file that npm leaves inside node_modules is newer than ours when the tree is complete. */
function isInstalled() {
  const inside = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(inside)) return false;
  return statSync(inside).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs || sameVersions(inside);
}

function sameVersions(inside) {
  const read = path => JSON.parse(readFileSync(path, 'utf8')).packages;
  const [ours, there] = [read(join(root, 'package-lock.json')), read(inside)];
  return Object.entries(ours).every(
    ([name, entry]) => name === '' || entry.optional || (there[name] && there[name].version === entry.version),
  );
}

function install() {
  process.stderr.write('sekisho: installing dependencies (once) …\n');
  // Not `npm ci`: it refuses a lock file that was written where a registry had no build of an optional package for some
  // other platform. This takes the locked versions, checks their digests, and leaves the lock file as it is.
  const result = spawnSync('npm', ['install', '--no-save', '--no-fund', '--no-audit', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.status !== 0) fail('npm install failed; see above. Is the npm registry reachable?');
}

function fail(text) {
  process.stderr.write(`sekisho: ${text}\n`);
  process.exit(1);
}

const isNew = version => {
  const [major, minor] = version.replace(/^v/, '').split('.').map(Number);
  return major > wanted[0] || (major === wanted[0] && minor >= wanted[1]);
};

/** This process's Node where it is new enough, else the one that the npm package `node` brought. */
function findNode() {
  if (isNew(process.version)) return process.execPath;
  for (let dir = root; ; dir = join(dir, '..')) {
    const path = join(dir, 'node_modules', 'node', 'bin', 'node');
    if (existsSync(path)) {
      const result = spawnSync(path, ['--version'], { encoding: 'utf8' });
      if (result.status === 0 && isNew(result.stdout.trim())) return path;
    }
    if (dir === join(dir, '..')) break;
  }
  return fail(
    `Node ${wanted.join('.')} or newer is needed; this is ${process.version}, and the npm package "node" did not bring ` +
      'one (was its install script blocked? try: npm rebuild node)',
  );
}

/** Runs a program under the right Node with our terminal, passing signals on; ends with its exit status. */
function runNode(args, options) {
  const { spawn } = require('child_process');
  const node = findNode();
  const path = `${join(node, '..')}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH}`;
  const child = spawn(node, args, {
    stdio: 'inherit',
    ...options,
    env: { ...process.env, ...options?.env, PATH: path },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'])
    process.on(signal, () => child.kill(signal));
  child.on('error', error => fail(`cannot start ${node}: ${error.message}`));
  child.on('exit', (code, signal) =>
    process.exit(code === null ? 128 + (require('os').constants.signals[signal] || 0) : code),
  );
}

module.exports = {
  root,
  isClone,
  ensure() {
    if (isClone && !isInstalled()) install();
  },
  findNode,
  runNode,
};
