// One server block with what it inherits from stream{}, and the route's keys that come of it.

import type { Ledger } from '../../../wire/import-ledger.ts';
import type { ImportFinding } from '../../../wire/import-report.ts';
import { placeText } from '../../../wire/import-report.ts';
import { type Directive, parseNginxSize, parseNginxTime } from '../../../wire/nginx-conf.ts';

/** A route's key, nested ones with a dot: `limits.idle`. */
export type Key = string;

export class Scope {
  readonly ledger: Ledger;
  readonly server: Directive;
  /** What is written into the route, and the comments that go with it. */
  readonly keys = new Map<Key, unknown>();
  readonly comments = new Map<Key, string[]>();
  /** Why nobody may come in until a person has looked: something that restricted access could not be converted. */
  readonly closed: string[] = [];
  readonly #stream: readonly Directive[];

  constructor(ledger: Ledger, stream: readonly Directive[], server: Directive) {
    this.ledger = ledger;
    this.server = server;
    this.#stream = stream;
  }

  /** The server's own directives of these names, or the stream's where it has none: how nginx inherits. */
  all(...names: readonly string[]): readonly Directive[] {
    const own = (this.server.block ?? []).filter(one => names.includes(one.name));
    return own.length > 0 ? own : this.#stream.filter(one => names.includes(one.name));
  }

  /** A directive that may stand once. */
  one(name: string): Directive | undefined {
    const [first, ...more] = this.all(name);
    for (const directive of more) {
      this.refuse(directive, `"${name}" directive is duplicate`, 'remove one of them; nginx does not start with both');
    }
    if (first && first.args.length === 0) {
      this.refuse(first, `invalid number of arguments in "${name}" directive`, 'write its value');
      return undefined;
    }
    return first;
  }

  /** `on` or `off`; what nginx assumes where it is absent. */
  flag(name: string, otherwise: boolean): { on: boolean; directive?: Directive } {
    const directive = this.one(name);
    const value = directive?.args[0]?.toLowerCase();
    if (!directive) return { on: otherwise };
    if (value === 'on' || value === 'off') return { on: value === 'on', directive };
    this.refuse(directive, `the value must be "on" or "off"`, `write ${name} on or ${name} off`);
    return { on: otherwise };
  }

  /** Milliseconds. */
  time(name: string): { value: number; directive: Directive } | undefined {
    return this.#parsed(name, parseNginxTime, 'a time, like 30s or 10m');
  }

  size(name: string): { value: number; directive: Directive } | undefined {
    return this.#parsed(name, parseNginxSize, 'a size, like 16k or 1m');
  }

  count(name: string): { value: number; directive: Directive } | undefined {
    return this.#parsed(name, text => (/^\d{1,9}$/.test(text) ? Number(text) : undefined), 'a number');
  }

  /** Writes a key. With a directive, that one is reported as converted, or with a note if there is something to say. */
  put(key: Key, value: unknown, directive?: Directive, note?: string): void {
    this.keys.set(key, value);
    if (!directive) return;
    this.#comment(key, note === undefined ? placeText(directive.at) : `${placeText(directive.at)}: ${note}`);
    this.ledger.say(note === undefined ? 'converted' : 'noted', directive, note ?? `→ ${key}`);
  }

  /** The directive's work is done by what is written already. */
  note(directive: Directive, text: string, key?: Key): void {
    this.#comment(key ?? '', `${placeText(directive.at)} ${directive.name}: ${text}`);
    this.ledger.say('noted', directive, text);
  }

  ignore(directive: Directive, reason: string): void {
    this.ledger.say('ignored', directive, reason);
  }

  refuse(directive: Directive, reason: string, todo: string): void {
    this.ledger.say('refused', directive, reason, todo);
    this.#comment('', `NOT CONVERTED: ${placeText(directive.at)} ${directive.name}: ${reason}. To do: ${todo}`);
  }

  /** Refuses what kept somebody out: the route is written closed rather than more open than it was. */
  refuseAndClose(directive: Directive, reason: string, todo: string): void {
    this.refuse(directive, reason, todo);
    this.closed.push(`${placeText(directive.at)} ${directive.name} could not be converted`);
  }

  find(directive: Directive, finding: Omit<ImportFinding, 'at'>): void {
    this.ledger.find(finding, directive);
  }

  #parsed<T>(name: string, parse: (text: string) => T | undefined, wanted: string) {
    const directive = this.one(name);
    if (!directive) return undefined;
    const [text = '', ...rest] = directive.args;
    const value = rest.length === 0 ? parse(text) : undefined;
    if (value !== undefined) return { value, directive };
    const why = text.includes('$')
      ? 'it is computed from variables at run time'
      : `"${directive.args.join(' ')}" is not ${wanted}`;
    this.refuse(directive, why, `write ${wanted} in the new configuration`);
    return undefined;
  }

  #comment(key: Key, text: string): void {
    const lines = this.comments.get(key) ?? [];
    if (!lines.includes(text)) this.comments.set(key, [...lines, text]);
  }
}
