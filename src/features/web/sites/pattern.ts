// Names with a hole in them: `*.example.com`, `*-{port}.example.com` ⇄ what stands in the hole.
import { Fault } from '../../../core/fault.ts';
import { isWebPort } from '../hosts.ts';

/** What stands in the holes of a name. */
export interface Holes {
  readonly star?: string;
  readonly port?: number;
}

export interface Pattern {
  /** As written, lower case. */
  readonly text: string;
  /** Letters outside the holes: the longer, the more exact. */
  readonly weight: number;
  match(text: string): Holes | undefined;
  fill(holes: Holes): string;
}

/** One hole of each kind at most. A `*` is never empty and never begins or ends with a dot. @throws Fault `invalid` */
export function parsePattern(written: string): Pattern {
  const text = written.toLowerCase();
  if ((text.match(/\*/g)?.length ?? 0) > 1 || (text.match(/\{port\}/g)?.length ?? 0) > 1) {
    throw new Fault('invalid', `"${written}": one * and one {port}, at most`);
  }
  if (/[{}]/.test(text.replace('{port}', ''))) throw new Fault('invalid', `"${written}": only {port} is known`);
  const source = text.replace(/\*|\{port\}|[^*{]+/g, part => {
    if (part === '*') return '(?<star>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)';
    return part === '{port}' ? '(?<port>[1-9][0-9]{0,4})' : part.replace(/[.\\^$+?()[\]|-]/g, '\\$&');
  });
  const regex = new RegExp(`^${source}$`);
  const isPlain = !/[*{]/.test(text);
  return {
    text,
    weight: text.replace('*', '').replace('{port}', '').length + (isPlain ? 1000 : 0),
    match(name) {
      if (isPlain) return name === text ? {} : undefined;
      const { star, port } = regex.exec(name)?.groups ?? {};
      if (star === undefined && port === undefined) return undefined;
      if (star?.includes('..')) return undefined;
      if (port !== undefined && !isWebPort(Number(port))) return undefined;
      return { ...(star === undefined ? {} : { star }), ...(port === undefined ? {} : { port: Number(port) }) };
    },
    fill: ({ star = '', port }) => text.replace('*', star).replace('{port}', String(port ?? '')),
  };
}
