// The console from its sources: one script, one style sheet. `npm run build` writes them to dist; a clone makes them when
// somebody first opens the page.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';

const folder = join(import.meta.dirname, '../../console');

/** File name → text. @throws Fault `missing` where neither the built files nor what builds them are there */
export async function bundleConsole(log: Log): Promise<ReadonlyMap<string, string>> {
  const { rolldown } = await import('rolldown').catch(cause => {
    throw new Fault('missing', 'the console is not built; run npm run build', { cause });
  });
  const started = performance.now();
  const bundle = await rolldown({
    input: join(folder, 'src/main.tsx'),
    platform: 'browser',
    transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    logLevel: 'silent',
  });
  const { output } = await bundle.generate({ format: 'es', minify: true });
  await bundle.close();
  const [script, ...more] = output;
  if (more.length > 0) throw new Fault('bug', 'the console is more than one script');
  log.debug({ ms: Math.round(performance.now() - started) }, 'the console is built from its sources');
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return new Map([
    ['index.html', text('index.html')],
    ['console.js', script.code],
    ['console.css', text('src/style.css')],
    ['icon.svg', text('icon.svg')],
  ]);
}
