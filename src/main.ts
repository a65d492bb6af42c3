#!/usr/bin/env node
// The executable: argv in, exit status out. Nothing else in the house may end the process.
import module from 'node:module';
import { join } from 'node:path';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(
    `sekisho: Node 24.15 or newer is needed, and this is ${process.version}; in a clone, ./sekisho finds the right one\n`,
  );
  process.exit(1);
}

// A clone runs its sources. What they are without types is kept beside the other dependencies: commands start in half the
// time, and no process holds the megabytes that stripping types takes. Never in a folder that others can write to.
if (import.meta.filename.endsWith('.ts')) {
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../node_modules/.cache/sekisho'); // workers inherit it
  module.enableCompileCache();
}
const { run } = await import('./cli/index.ts');

const ending = new AbortController();
/** The first signal asks, the second insists. */
const ask = (signal: 'SIGINT' | 'SIGTERM') => (): void => {
  if (ending.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
  ending.abort(new DOMException(signal, 'AbortError'));
};
process.on('SIGINT', ask('SIGINT'));
process.on('SIGTERM', ask('SIGTERM'));
// Nobody reads any more (`… | head`): that ends the work, and is nobody's error.
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  ending.abort('EPIPE');
});
process.stderr.on('error', () => {});

const { stdin, stdout, stderr, env } = process;
const status = await run(process.argv.slice(2), { stdin, stdout, stderr, env, signal: ending.signal });
// What was written to a pipe is still on its way; process.exit would cut it off.
await Promise.all([stdout, stderr].map(stream => new Promise(done => stream.write('', done))));
process.exit(status);
