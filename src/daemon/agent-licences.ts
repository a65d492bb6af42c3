// The licences of the packages that were bundled into the agent, as a comment for its end: the file travels alone.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { Fault } from '../core/fault.ts';

/** @param modules paths of what was bundled @throws Fault `invalid` for a package that does not say its licence */
export function licencesOf(modules: readonly string[]): string {
  const folders = new Set(modules.filter(path => path.includes(`${sep}node_modules${sep}`)).map(packageFolder));
  const seen = new Set<string>();
  const texts = [...folders]
    .map(noticeOf)
    .sort()
    .map(text => withoutRepeats(text, seen));
  // A comment must not end within the text.
  return `/*\nThis file contains the following packages, under the licences that follow each.\n\n${texts.join('\n\n').replaceAll('*/', '* /')}\n*/\n`;
}

/** Twenty packages under one licence: its paragraphs stand once. */
function withoutRepeats(text: string, seen: Set<string>): string {
  const paragraphs = text.split(/\r?\n\s*\n/).map(one => {
    const flat = one.trim().replace(/\s+/g, ' ');
    if (flat.length < 120 || !seen.has(flat)) {
      seen.add(flat);
      return flat;
    }
    return `[as above: ${flat.slice(0, 40)} …]`;
  });
  return paragraphs.join('\n');
}

/** The nearest folder above with a package.json that has a name: some packages have nameless ones inside. */
function packageFolder(path: string): string {
  for (let at = dirname(path); at !== dirname(at); at = dirname(at)) {
    if (existsSync(join(at, 'package.json')) && manifestOf(at).name !== undefined) return at;
  }
  throw new Fault('invalid', `${path} belongs to no package`);
}

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly author?: string | { readonly name?: string };
}
const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;

function noticeOf(folder: string): string {
  const { name, version, license, author } = manifestOf(folder);
  const head = `${name} ${version} (${license ?? 'see below'})`;
  const file = readdirSync(folder).find(one => /^(licen[cs]e|copying)\b/i.test(one));
  if (file !== undefined) return `${head}\n\n${readFileSync(join(folder, file), 'utf8').trim()}`;
  if (license === undefined) throw new Fault('invalid', `${name} says nothing of its licence; it cannot be bundled`);
  const by = typeof author === 'string' ? author : author?.name;
  return by === undefined ? head : `${head}\n\nCopyright ${by}`;
}
