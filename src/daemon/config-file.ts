// A configuration file → checked values, or every mistake in it at once, each with file, line, column and key.
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { Fault } from '../core/fault.ts';
import { type Config, config, configJsonSchema } from './config.ts';
import { explainIssues, type SchemaNode } from './mistakes.ts';
import { formatMistake, formatPath, type Mistake, readYaml, type YamlSource } from './yaml-source.ts';

/** A configuration that was read, with where it came from. */
export interface ConfigFile {
  readonly config: Config;
  /** Absolute; relative paths in the file start here. */
  readonly folder: string;
  /** As shown in messages. */
  readonly name: string;
  readonly path?: string;
  /** Points a later mistake (a file that is missing, a port in use) at its place. */
  at(path: readonly PropertyKey[], text: string): Mistake;
}

/** Larger files are refused before they are read. */
const sizeLimit = 1024 * 1024;

/** Reads and checks one file. @throws Fault `invalid` whose text is one line a mistake (`facts.mistakes` has them as data). */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > sizeLimit) throw new Fault('invalid', `${path}: larger than 1 MiB; this is not a configuration`);
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('invalid', `${path}: ${whyUnreadable(error)}`, { cause: error });
  }
  return parseConfig(text, { name: basename(path), folder: dirname(resolve(path)), path: resolve(path) });
}

/** Checks a text. `name` is what messages call it. @throws Fault `invalid` */
export function parseConfig(text: string, from: { name: string; folder: string; path?: string }): ConfigFile {
  const source = readYaml(text, from.name);
  if (source.mistakes.length > 0) throw mistakesFault(source.mistakes);
  const { value } = source;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const text =
      'the file holds no configuration; start with for example "proxy:" (sekisho check --schema shows all keys)';
    throw mistakesFault([source.mistake([], text)]);
  }
  const result = config.safeParse(value);
  const mistakes = result.success
    ? crossChecks(result.data, source)
    : explainIssues(result.error.issues, source, configJsonSchema() as SchemaNode);
  if (mistakes.length > 0) throw mistakesFault(mistakes);
  return { ...from, config: result.data as Config, at: (path, sentence) => source.mistake(path, sentence) };
}

/** All mistakes in one Fault, in the order of the file. */
export function mistakesFault(mistakes: readonly Mistake[]): Fault {
  const sorted = [...mistakes].sort((a, b) => a.line - b.line || a.column - b.column);
  return new Fault('invalid', sorted.map(formatMistake).join('\n'), { facts: { mistakes: sorted } });
}

/** What no single room can see. */
function crossChecks(checked: Config, source: YamlSource): Mistake[] {
  const mistakes: Mistake[] = [];
  for (const [name, route] of Object.entries(checked.proxy)) {
    if (!checked.gate && route.listen.some(({ kind }) => kind === 'gate')) {
      const text = 'there is no gate port in this file; add a "gate:" block, or write an address of its own';
      mistakes.push(source.mistake(['proxy', name, 'listen'], text));
    }
  }
  if (!checked.gate && checked.web?.forward) {
    const text = 'the proxy stands on the gate port, and this file has none; add a "gate:" block';
    mistakes.push(source.mistake(['web', 'forward'], text, 'key'));
  }
  const taken = new Map<string, string>();
  const claim = (
    path: readonly PropertyKey[],
    address: { kind: string; host?: string; port?: number; path?: string },
  ): void => {
    if (address.kind === 'gate' || address.port === 0) return;
    const transport = address.kind === 'udp' ? 'udp' : address.kind === 'unix' ? 'unix' : 'tcp';
    const key = `${transport} ${address.path ?? `${address.host || '::'} ${address.port}`}`;
    const before = taken.get(key);
    const owner = formatPath(path);
    if (before !== undefined && !(before.startsWith('proxy.') && owner.startsWith('proxy.'))) {
      mistakes.push(source.mistake(path, `${before} listens on the same address; give one of them another port`));
    }
    taken.set(key, before ?? owner);
  };
  for (const address of checked.gate?.listen ?? []) claim(['gate', 'listen'], address);
  for (const key of ['metrics', 'http'] as const) {
    const address = checked.gate?.[key];
    if (address) claim(['gate', key], address);
  }
  const { mqtt } = checked.tunnel;
  if (typeof mqtt === 'object' && mqtt.listen) claim(['tunnel', 'mqtt', 'listen'], mqtt.listen);
  for (const [name, route] of Object.entries(checked.proxy)) {
    for (const address of route.listen) claim(['proxy', name, 'listen'], address);
  }
  return mistakes;
}

/** What a person does about a file that cannot be read. */
export function whyUnreadable(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return (
    {
      ENOENT: 'there is no such file; check the path',
      EACCES: 'no permission to read it; the user that runs the gate must be able to (chown or chmod g+r)',
      EISDIR: 'this is a folder; name a file',
      ENOTDIR: 'a part of the path is not a folder; check the path',
    }[code] ?? `cannot be read (${code || String(error)})`
  );
}
