// The console from its sources: a script for it, one for the page of enrolment links, one style sheet. `npm run build` writes them to dist; a clone makes them when
// somebody first opens the page.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';

const folder = join(import.meta.dirname, '../../console');
/** In a clone; then the sources are newer than whatever lies in dist/. */
export const hasConsoleSources = existsSync(join(folder, 'src/main.tsx'));

/** File name → text. @throws Fault `missing` where neither the built files nor what builds them are there */
export async function bundleConsole(): Promise<ReadonlyMap<string, string>> {
  const { rolldown } = await import('rolldown').catch(cause => {
    throw new Fault('missing', 'the console is not built; run npm run build', { cause });
  });
  const script = async (input: string): Promise<string> => {
    const bundle = await rolldown({
      input: join(folder, 'src', input),
      platform: 'browser',
      transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
      logLevel: 'silent',
    });
    const { output } = await bundle.generate({ format: 'es', minify: true });
    await bundle.close();
    const [{ code }, ...more] = output;
    if (more.length > 0) throw new Fault('bug', `${input} has become more than one script`);
    return code;
  };
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return new Map([
    ['index.html', text('index.html')],
    ['console.js', await script('main.tsx')],
    ['enrol.html', text('enrol.html')],
    ['enrol.js', await script('enrol/main.tsx')],
    ['console.css', text('src/style.css')],
    ['icon.svg', text('icon.svg')],
  ]);
}
