// The console from its sources: one script and one style sheet, and beside them what only a terminal needs. `npm run build` writes them to dist; a clone makes them when
// somebody first opens the page.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { licencesOf } from './agent-licences.ts';

const folder = join(import.meta.dirname, '../../console');
/** In a clone; then the sources are newer than whatever lies in dist/. */
export const hasConsoleSources = existsSync(join(folder, 'src/main.tsx'));

/** File name → text. @throws Fault `missing` where neither the built files nor what builds them are there */
export async function bundleConsole(): Promise<ReadonlyMap<string, string>> {
  const { rolldown } = await import('rolldown').catch(cause => {
    throw new Fault('missing', 'the console is not built; run npm run build', { cause });
  });
  const bundle = await rolldown({
    input: join(folder, 'src/main.tsx'),
    platform: 'browser',
    transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    logLevel: 'silent',
  });
  const { output } = await bundle.generate({
    format: 'es',
    minify: true,
    entryFileNames: 'console.js',
    chunkFileNames: '[name].js',
  });
  await bundle.close();
  const scripts = output.flatMap(chunk => (chunk.type === 'chunk' ? [chunk] : []));
  const names = scripts.map(({ fileName }) => fileName).sort();
  if (names.join() !== 'console.js,terminal.js') throw new Fault('bug', `the console is made of ${names.join(', ')}`);
  // Minifying drops comments, and what is handed out must bring its licences along.
  const licensed = scripts.map(({ fileName, code, moduleIds }) => [fileName, code + licencesOf(moduleIds)] as const);
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return new Map([
    ['index.html', text('index.html')],
    ...licensed,
    ['console.css', text('src/style.css')],
    ['terminal.css', readFileSync(join(folder, '../node_modules/@xterm/xterm/css/xterm.css'), 'utf8')],
    ['icon.svg', text('icon.svg')],
  ]);
}
