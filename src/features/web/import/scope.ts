// One server block with its location and what both inherit, as nginx reads them; and the site's keys that come of it.
import type { Ledger } from '../../../wire/import-ledger.ts';
import { type ImportFinding, placeText } from '../../../wire/import-report.ts';
import { type Directive, parseNginxSize, parseNginxTime } from '../../../wire/nginx-conf.ts';

export class Scope {
  readonly ledger: Ledger;
  readonly server: Directive;
  readonly location: Directive | undefined;
  /** The location's, the server's and http's own directives: how nginx inherits. */
  readonly levels: readonly (readonly Directive[])[];
  /** Keys of the site, nested ones with a dot, and the comments that go with them. */
  readonly keys = new Map<string, unknown>();
  readonly comments = new Map<string, string[]>();
  /** Why no rule is written that lets somebody in. */
  readonly closed: string[] = [];

  constructor(ledger: Ledger, http: readonly Directive[], server: Directive, location: Directive | undefined) {
    this.ledger = ledger;
    this.server = server;
    this.location = location;
    this.levels = [location?.block ?? [], server.block ?? [], http];
  }

  /** The innermost level's directives of this name: how nginx inherits. */
  all(name: string): readonly Directive[] {
    for (const level of this.levels) {
      const found = level.filter(one => one.name === name);
      if (found.length > 0) return found;
    }
    return [];
  }
  /** Of every level, innermost first: what is not inherited but adds up. */
  every(name: string): readonly Directive[] {
    return this.levels.flatMap(level => level.filter(one => one.name === name));
  }
  one(name: string): Directive | undefined {
    return this.all(name)[0];
  }
  word(name: string): string | undefined {
    return this.one(name)?.args[0];
  }
  get directives(): readonly Directive[] {
    return [...(this.server.block ?? []), ...(this.location?.block ?? [])];
  }

  put(key: string, value: unknown, directive?: Directive, note?: string): void {
    this.keys.set(key, value);
    if (!directive) return;
    this.comment(key, note === undefined ? placeText(directive.at) : `${placeText(directive.at)}: ${note}`);
    this.ledger.say(note === undefined ? 'converted' : 'noted', directive, note ?? `→ ${key}`);
  }
  /** Milliseconds as nginx writes them → ours; nginx's own value where it is not written. */
  time(name: string, key: string, otherwise: string | undefined): void {
    const directive = this.one(name);
    const value = directive && parseNginxTime(directive.args.join(' '));
    if (directive && value !== undefined)
      this.put(key, `${value / 1000}s`.replace(/^(\d+)\.\d+s$/, `${value}ms`), directive);
    else if (directive) this.refuse(directive, `"${directive.args.join(' ')}" is no time`, 'write it by hand');
    else if (otherwise !== undefined) this.put(key, otherwise);
  }
  size(name: string): number | undefined {
    const directive = this.one(name);
    return directive && parseNginxSize(directive.args[0] ?? '');
  }
  note(directive: Directive, text: string, key = ''): void {
    this.comment(key, `${placeText(directive.at)} ${directive.name}: ${text}`);
    this.ledger.say('noted', directive, text);
  }
  ignore(directive: Directive | undefined, reason: string): void {
    if (directive) this.ledger.say('ignored', directive, reason);
  }
  refuse(directive: Directive, reason: string, todo: string): void {
    this.ledger.say('refused', directive, reason, todo);
    this.comment('', `NOT CONVERTED: ${placeText(directive.at)} ${directive.name}: ${reason}. To do: ${todo}`);
  }
  /** Refuses what kept somebody out: no rule is written that lets anybody in. */
  refuseAndClose(directive: Directive, reason: string, todo: string): void {
    this.refuse(directive, reason, todo);
    this.closed.push(`${placeText(directive.at)} ${directive.name} could not be converted`);
  }
  find(directive: Directive, finding: Omit<ImportFinding, 'at'>): void {
    this.ledger.find(finding, directive);
  }
  comment(key: string, text: string): void {
    const lines = this.comments.get(key) ?? [];
    if (!lines.includes(text)) this.comments.set(key, [...lines, text]);
  }

  /** The keys as a nested map. */
  value(): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    for (const [path, value] of this.keys) {
      const steps = path.split('.');
      const last = steps.pop() ?? '';
      let at = out;
      for (const step of steps) {
        at[step] ??= {};
        at = at[step] as Record<string, unknown>;
      }
      at[last] = value;
    }
    return out;
  }
}
