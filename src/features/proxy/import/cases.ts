// `proxy_pass $variable`: which map leads where, as a list of conditions that routes can carry.

import type { Ledger } from '../../../wire/import-ledger.ts';
import { type Directive, splitVariables } from '../../../wire/nginx-conf.ts';
import type { Listen } from './listen.ts';
import { type NameReading, readAlpn, readName } from './names.ts';

/** When a connection takes this way. Without any condition: always. */
export interface When {
  readonly names?: readonly string[];
  readonly alpn?: readonly string[];
  /** Does not begin with a TLS ClientHello. */
  readonly plain?: true;
  readonly default?: true;
}

export interface Case {
  readonly when: When;
  /** An upstream group's name or an address. */
  readonly value: string;
  /** The directive that chose it: the map's entry, or proxy_pass itself. */
  readonly directive: Directive;
}

/** What a text with variables may refer to. */
export interface Variables {
  readonly maps: ReadonlyMap<string, Directive>;
  /** `set $name value`. */
  readonly sets: ReadonlyMap<string, string>;
  readonly ledger: Ledger;
  /** `ssl_preread on`. */
  readonly prereads: boolean;
  /** An entry was refused that led elsewhere than the default: those clients must not slip into the default. */
  close(directive: Directive): void;
}

export type Refusal = { readonly reason: string; readonly todo: string };
type Cases = readonly Case[] | Refusal;

const deepest = 8;

/** Follows a text through maps, for a connection accepted at `listen`. */
export function expand(text: string, directive: Directive, listen: Listen, variables: Variables, depth = 0): Cases {
  const parts = splitVariables(text).map(part =>
    typeof part === 'string' ? part : (known(part.variable, listen, variables) ?? part),
  );
  const unknown = parts.filter(part => typeof part !== 'string');
  if (unknown.length === 0) return [{ when: {}, value: parts.join(''), directive }];
  const [variable] = unknown;
  const map = variable && variables.maps.get(variable.variable);
  if (unknown.length > 1 || !variable || !map) return unknowable(variable?.variable ?? '');
  if (depth >= deepest) return { reason: 'its maps lead in a circle', todo: 'write the routes by hand' };
  const chosen = chooseCases(map, listen, variables);
  if ('reason' in chosen) return chosen;
  const found: Case[] = [];
  for (const one of chosen) {
    const value = parts.map(part => (typeof part === 'string' ? part : one.value)).join('');
    const inner = expand(value, one.directive, listen, variables, depth + 1);
    if ('reason' in inner) return inner;
    for (const deeper of inner) {
      const when = both(one.when, deeper.when);
      if (!when) return { reason: 'its maps ask for the same thing twice', todo: 'write the routes by hand' };
      found.push({ ...deeper, when });
    }
  }
  return found;
}

function unknowable(variable: string): Refusal {
  if (/^ssl_(preread_)?server_name$/.test(variable)) {
    return {
      reason: `the target is whatever name the client sends ($${variable}): an open relay`,
      todo: 'write one route per name that may be reached, with `names:`',
    };
  }
  return { reason: `$${variable} is not known before a client comes`, todo: 'write one route per target' };
}

/** Variables whose value the listener alone decides. */
function known(variable: string, { address }: Listen, { sets }: Variables): string | undefined {
  const fixed: Record<string, string> =
    address.kind === 'unix'
      ? { server_addr: 'unix:', protocol: 'TCP' }
      : { server_port: String(address.port), protocol: address.kind === 'udp' ? 'UDP' : 'TCP' };
  return fixed[variable] ?? sets.get(variable);
}

/** Outer and inner conditions in one; undefined where a route cannot say both. */
function both(outer: When, inner: When): When | undefined {
  const { default: outerDefault, ...first } = outer;
  const { default: innerDefault, ...second } = inner;
  const always = Object.keys(outer).length === 0;
  if (always) return inner;
  if (Object.keys(first).some(key => key in second) || (first.plain && Object.keys(second).length > 0))
    return undefined;
  const merged = { ...first, ...second };
  return Object.keys(merged).length === 0 && (outerDefault || innerDefault) ? { default: true } : merged;
}

/**
 * A route with a name goes before one with only an ALPN. Where nginx asks for the ALPN first, those names are written
 * beside it, so that its route wins there too.
 */
export function disentangle(cases: readonly Case[]): readonly Case[] {
  return cases.flatMap((one, index) => {
    if (!one.when.alpn || one.when.names) return [one];
    const names = [...new Set(cases.slice(index + 1).flatMap(({ when }) => (when.alpn ? [] : (when.names ?? []))))];
    return names.length > 0 ? [one, { ...one, when: { ...one.when, names } }] : [one];
  });
}

/** Reads one map for one listener. Entries get their rows here. */
function chooseCases(map: Directive, listen: Listen, variables: Variables): Cases {
  const [source = ''] = map.args;
  const parts = splitVariables(source);
  const resolved = parts.map(part => (typeof part === 'string' ? part : known(part.variable, listen, variables)));
  if (resolved.every(part => part !== undefined)) return lookUp(map, resolved.join(''), variables.ledger);
  const [only] = parts;
  const variable = parts.length === 1 && only && typeof only !== 'string' ? only.variable : '';
  // What nobody read is empty: without ssl_preread, or without TLS, every connection goes where "" goes.
  const isRead = variable === 'ssl_server_name' ? listen.tls : variables.prereads;
  if (readers[variable] && !isRead) return lookUp(map, '', variables.ledger);
  const read = variable.startsWith('ssl_preread_') && listen.tls ? undefined : readers[variable];
  if (!read)
    return {
      reason: `a map over ${source} cannot be said with names, ALPN or ports`,
      todo: 'write the routes by hand',
    };
  return readEntries(map, read, variables);
}

const special = new Set(['hostnames', 'volatile', 'include']);
const isEntry = (one: Directive): boolean => one.args.length === 1 || !special.has(one.name);

/** The key of an entry: `\default` and the like mean the word itself. */
function lookUp(map: Directive, value: string, ledger: Ledger): Cases {
  const entries = (map.block ?? []).filter(isEntry);
  const match =
    entries.find(one => one.name !== 'default' && one.name.replace(/^\\/, '').toLowerCase() === value.toLowerCase()) ??
    entries.find(one => one.name.startsWith('~') && matches(one.name, value)) ??
    entries.find(one => one.name === 'default');
  ledger.say('converted', map, 'looked up for every port');
  for (const one of map.block ?? []) if (!isEntry(one)) ledger.say('ignored', one, 'it changes nothing here');
  if (!match) return [];
  ledger.say('converted', match, '→ to');
  return [{ when: {}, value: match.args[0] ?? '', directive: match }];
}

function matches(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern.replace(/^~\*?/, ''), pattern.startsWith('~*') ? 'i' : '').test(value);
  } catch {
    return false; // a PCRE that JavaScript does not have; its entry keeps its row as unused
  }
}

interface Reader {
  read(key: string, hostnames: boolean): NameReading;
  when(names: readonly string[]): When;
}
const byName: Reader = { read: readName, when: names => ({ names }) };
const byAlpn: Reader = { read: readAlpn, when: alpn => ({ alpn }) };
const byProtocol: Reader = {
  read: key => (key === '' ? { names: [''] } : { refused: `the TLS version ${key} alone cannot choose a route` }),
  when: () => ({ plain: true }),
};
const readers: Record<string, Reader> = {
  ssl_preread_server_name: byName,
  ssl_server_name: byName,
  ssl_preread_alpn_protocols: byAlpn,
  ssl_preread_protocol: byProtocol,
};

function readEntries(map: Directive, reader: Reader, { ledger, close }: Variables): Cases {
  const block = map.block ?? [];
  const hostnames = block.some(one => one.name === 'hostnames' && one.args.length === 0);
  const otherwise = block.find(one => one.name === 'default' && one.args.length === 1);
  const cases: Case[] = [];
  for (const one of block) {
    if (!isEntry(one)) {
      ledger.say(
        one.name === 'hostnames' ? 'converted' : 'ignored',
        one,
        one.name === 'hostnames' ? 'wildcards are kept' : 'it changes nothing here',
      );
      continue;
    }
    if (one === otherwise) continue;
    const value = one.args[0] ?? '';
    const reading = reader.read(one.name, hostnames);
    if ('names' in reading) {
      cases.push({ when: reader.when(reading.names), value, directive: one });
      ledger.say(
        'converted',
        one,
        `→ ${Object.keys(reader.when(reading.names))[0]}: ${reading.names.join(', ') || 'true'}`,
      );
    } else if ('never' in reading) ledger.say('ignored', one, reading.never);
    else if (value === (otherwise?.args[0] ?? '')) ledger.say('converted', one, 'it leads where the default leads');
    else {
      ledger.say('refused', one, reading.refused, 'name what it stands for, each in `names:` or `alpn:` of a route');
      close(one);
    }
  }
  ledger.say('converted', map, `${cases.length} conditions`);
  if (!otherwise) return merge(cases);
  ledger.say('converted', otherwise, '→ default: true');
  return [...merge(cases), { when: { default: true }, value: otherwise.args[0] ?? '', directive: otherwise }];
}

/** Entries that lead to the same value become one case; the order of first appearance stands. */
function merge(cases: readonly Case[]): Case[] {
  const merged: Case[] = [];
  for (const one of cases) {
    const index = merged.findIndex(
      other => other.value === one.value && Object.keys(other.when)[0] === Object.keys(one.when)[0],
    );
    const other = merged[index];
    if (!other) merged.push(one);
    else if (one.when.names)
      merged[index] = { ...other, when: { names: [...(other.when.names ?? []), ...one.when.names] } };
    else if (one.when.alpn)
      merged[index] = { ...other, when: { alpn: [...(other.when.alpn ?? []), ...one.when.alpn] } };
  }
  return merged;
}
