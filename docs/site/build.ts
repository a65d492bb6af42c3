// npm run docs: the documents and the references as a folder of static pages, dist/docs. Any web server shows it, or a browser
// without one.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import { configJsonSchema } from '../../src/daemon/index.ts';
import { apiReference } from './api-reference.ts';
import { cliReference } from './cli-reference.ts';
import { fileOf, type Language, layout } from './layout.ts';
import { toHtml } from './markdown.ts';
import { chapters, type Page } from './pages.ts';

const root = join(import.meta.dirname, '../..');
const pages = chapters.flatMap(chapter => chapter.pages);

/** Where a link of a document leads within the site: a page, or nowhere (sources, examples). */
function linkFrom(source: string, language: Language): (target: string) => string | undefined {
  return target => {
    const [path = '', anchor] = target.split('#');
    const file = posix.normalize(posix.join(posix.dirname(source), path));
    const page = pages.find(one => one.source?.en === file || one.source?.ja === file);
    if (!page) return undefined;
    const wanted = page.source?.ja === file ? 'ja' : page.source?.ja ? language : 'en';
    return `${fileOf(page, file === page.source?.en ? 'en' : wanted)}${anchor === undefined ? '' : `#${anchor}`}`;
  };
}

async function madeText(kind: NonNullable<Page['made']>): Promise<string> {
  if (kind === 'cli') return cliReference();
  if (kind === 'api') return apiReference();
  const schema = JSON.stringify(configJsonSchema(), undefined, 2);
  return `# JSON Schema of the configuration\n\n\`sekisho check --schema\` prints it; editors that know YAML take it as it is.\n\n\`\`\`json\n${schema}\n\`\`\``;
}

/** Every file of the site by name. */
export async function docsSite(): Promise<Map<string, string>> {
  const files = new Map([['style.css', readFileSync(join(import.meta.dirname, 'style.css'), 'utf8')]]);
  for (const page of pages) {
    for (const language of ['en', 'ja'] as const) {
      const source = page.source?.[language];
      if (language === 'ja' && !source) continue;
      const text = source ? readFileSync(join(root, source), 'utf8') : await madeText(page.made ?? 'schema');
      const { html, headings } = toHtml(text, linkFrom(source ?? '', language));
      files.set(fileOf(page, language), layout(page, language, html, headings));
    }
  }
  return files;
}

if (import.meta.main) {
  const dist = join(root, 'dist/docs');
  const files = await docsSite();
  for (const [name, text] of files) {
    mkdirSync(dirname(join(dist, name)), { recursive: true });
    writeFileSync(join(dist, name), text);
  }
  process.stdout.write(`${files.size} files in ${relative(process.cwd(), dist)}; begin with index.html\n`);
}
