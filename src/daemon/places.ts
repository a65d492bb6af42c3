// Where things are that the configuration names: the log, the database, the address that people type.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Config } from './config.ts';
import type { ConfigFile } from './config-file.ts';
import type { LogOptions } from './log.ts';
import { createRead } from './read.ts';

/** Relative paths start at the file's folder. */
export function logPlace({ config, folder }: ConfigFile): Pick<LogOptions, 'level' | 'format' | 'file'> {
  const { level, format, file } = config.log;
  return { level, format, ...(file === undefined ? {} : { file: resolve(folder, file) }) };
}

/** Likewise; undefined where there is none. */
export const accessPlace = ({ config, folder }: ConfigFile): string | undefined =>
  config.log.access && resolve(folder, config.log.access.file);

/** An explicit `store:` wins over the data folder. @throws Fault `invalid` */
export async function storeUrl({ config, folder }: ConfigFile, data: string): Promise<string> {
  const written = config.store ?? `sqlite:${join(data, 'sekisho.db')}`;
  const url = /^(file|env):/.test(written) ? (await createRead({ folder })(written)).toString().trim() : written;
  if (/^postgres(ql)?:\/\//.test(url) || url === 'sqlite::memory:') return url;
  const path = /^sqlite:(?:\/\/(?=\/))?(.+)$/.exec(url)?.[1];
  // Not the text itself: it may be a password that stands where a URL belongs.
  if (path === undefined)
    throw new Fault('invalid', 'store: what it names is neither sqlite:path nor postgres://user@host/database');
  return `sqlite:${resolve(folder, path)}`;
}

/** Which database it is, without who asks and what only says how to connect: passwords stand in either. */
export function storeName(url: string): string {
  const postgres = /^postgres(?:ql)?:\/\/([^?]*)\??(.*)$/s.exec(url);
  if (!postgres) return url;
  const [, place = '', query] = postgres;
  const host = new URLSearchParams(query).get('host');
  return `postgres://${place.slice(place.lastIndexOf('@') + 1)}${host === null ? '' : `?host=${host}`}`;
}

/** `https://gate.example.com`, with its port where that is not 443. */
export function originOf({ gate }: Config, really?: number): string {
  const port = really ?? gate?.listen.flatMap(address => ('port' in address ? [address.port] : []))[0] ?? 443;
  return `https://${gate?.name ?? 'localhost'}${port === 443 ? '' : `:${port}`}`;
}

/** A gate's own name and what else its certificate covers; without a gate, what the unix socket answers to. */
export function namesOf({ gate }: Config): string[] {
  return [...new Set([...(gate ? [gate.name, ...gate.addresses] : []), 'localhost', '127.0.0.1', '::1'])];
}

export const version: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
