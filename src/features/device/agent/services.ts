// The device's own list of what may be reached through it. It lies beside the key and has the last word:
//
//   # services.yaml
//   ssh: 127.0.0.1:22
//   web: unix:/run/app.sock
import { readFileSync, statSync } from 'node:fs';
import { Fault } from '../../../core/fault.ts';
import { servicePattern } from '../protocol.ts';

export type ServiceAddress = { readonly host: string; readonly port: number } | { readonly path: string };

export interface Services {
  /** By name; a number is also the service whose local port it is. Read anew when the file has changed. */
  find(service: string): ServiceAddress | undefined;
  /** Name → address as it is written. */
  all(): Readonly<Record<string, string>>;
}

/** @throws Fault `invalid` with file and line, when it is first read; later a bad file allows nothing. */
export function openServices(file: string, complain: (text: string) => void): Services {
  let list = read(file);
  let stamp = stampOf(file);
  const fresh = (): ReadonlyMap<string, string> => {
    const now = stampOf(file);
    if (now === stamp) return list;
    stamp = now;
    try {
      list = read(file);
    } catch (error) {
      list = new Map();
      complain(`${(error as Error).message}; nothing is allowed until it is right`);
    }
    return list;
  };
  return {
    find(service) {
      const all = fresh();
      const named = all.get(service);
      if (named !== undefined) return parseAddress(named);
      if (!/^\d{1,5}$/.test(service)) return undefined;
      for (const text of all.values()) {
        const address = parseAddress(text);
        if ('port' in address && address.port === Number(service)) return address;
      }
      return undefined;
    },
    all: () => Object.fromEntries(fresh()),
  };
}

function stampOf(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return 'none';
  }
}

function read(file: string): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw new Fault('invalid', `${file} cannot be read`, { cause: error });
  }
  return parseServices(text, file);
}

/** @throws Fault `invalid` */
export function parseServices(text: string, file: string): Map<string, string> {
  const list = new Map<string, string>();
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/(^|\s)#.*$/, '').trim();
    if (line === '') continue;
    const [, name = '', address = ''] = /^["']?([^"':\s]+)["']?\s*:\s+["']?([^"']+?)["']?$/.exec(line) ?? [];
    const at = `${file}:${index + 1}`;
    if (!servicePattern.test(name) || !address)
      throw new Fault('invalid', `${at}: write a line like "ssh: 127.0.0.1:22"`);
    if (list.has(name)) throw new Fault('invalid', `${at}: "${name}" stands here twice`);
    try {
      parseAddress(address);
    } catch (error) {
      throw new Fault('invalid', `${at}: ${(error as Error).message}`);
    }
    list.set(name, address);
  }
  return list;
}

export const formatServices = (services: Readonly<Record<string, string>>): string =>
  [
    '# What may be reached through this device, and nothing else. Changes count at once; the gate cannot change it.',
    '# name: host:port (as this device reaches it), or unix:/path',
    ...Object.entries(services).map(([name, address]) => `${name}: ${address}`),
    '',
  ].join('\n');

/** `127.0.0.1:22`, `[::1]:22`, `localhost:22`, `unix:/path`; tcp:// may stand before it. @throws Fault `invalid` */
export function parseAddress(text: string): ServiceAddress {
  if (text.startsWith('unix:/')) return { path: text.slice(5) };
  const [, bracketed, plain, digits] =
    /^(?:tcp:\/\/)?(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain, Number(digits)];
  if (host === undefined || port === 0 || port > 65535) {
    throw new Fault(
      'invalid',
      `"${text.slice(0, 100)}" is no address; write host:port, like 127.0.0.1:22, or unix:/path`,
    );
  }
  return { host, port };
}

/** `ssh=127.0.0.1:22` of the command line. @throws Fault `invalid` */
export function parseServiceOption(text: string): [name: string, address: string] {
  const [, name = '', address = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (!servicePattern.test(name))
    throw new Fault('invalid', `--service ${text}: write name=address, like ssh=127.0.0.1:22`);
  parseAddress(address);
  return [name, address];
}
