// The console from its sources: a script for it and one for the page of enrolment links, a style sheet, and beside them what
// only a terminal needs. `npm run build` writes them to dist; a clone makes them when somebody first opens the page.
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
  /** A page's script and what it loads later, which are to be just these files. */
  const scripts = async (input: string, ...expected: readonly string[]): Promise<(readonly [string, string])[]> => {
    const bundle = await rolldown({
      input: join(folder, 'src', input),
      platform: 'browser',
      transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
      logLevel: 'silent',
    });
    const { output } = await bundle.generate({
      format: 'es',
      minify: true,
      entryFileNames: expected[0] ?? '',
      chunkFileNames: '[name].js',
    });
    await bundle.close();
    const chunks = output.flatMap(chunk => (chunk.type === 'chunk' ? [chunk] : []));
    const names = chunks.map(({ fileName }) => fileName).sort();
    if (names.join() !== [...expected].sort().join()) throw new Fault('bug', `${input} has become ${names.join(', ')}`);
    // Minifying drops comments, and what is handed out must bring its licences along.
    return chunks.map(({ fileName, code, moduleIds }) => [fileName, code + licencesOf(moduleIds)] as const);
  };
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return new Map([
    ['index.html', text('index.html')],
    ...(await scripts('main.tsx', 'console.js', 'terminal.js')),
    ['enrol.html', text('enrol.html')],
    ...(await scripts('enrol/main.tsx', 'enrol.js')),
    ['console.css', text('src/style.css')],
    ['terminal.css', readFileSync(join(folder, '../node_modules/@xterm/xterm/css/xterm.css'), 'utf8')],
    ['icon.svg', text('icon.svg')],
  ]);
}
