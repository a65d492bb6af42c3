// The book of an import: every directive gets exactly one row, and the heaviest verdict stands.
import {
  directiveText,
  type ImportFinding,
  type ImportRow,
  type ImportStatus,
  importStatuses,
} from './import-report.ts';
import type { Directive } from './nginx-conf.ts';

interface Entry {
  status: ImportStatus;
  readonly reasons: string[];
  readonly todos: string[];
}

export class Ledger {
  readonly #entries = new Map<Directive, Entry>();
  readonly #findings: ImportFinding[] = [];

  /** Weighs a verdict against what was said before; the same reason is not repeated. */
  say(status: ImportStatus, directive: Directive, reason: string, todo?: string): void {
    const entry = this.#entries.get(directive);
    if (!entry || weight(status) > weight(entry.status)) {
      // A lighter verdict's reason says nothing once a heavier one stands.
      this.#entries.set(directive, { status, reasons: [reason], todos: todo === undefined ? [] : [todo] });
    } else if (status === entry.status) {
      if (!entry.reasons.includes(reason)) entry.reasons.push(reason);
      if (todo !== undefined && !entry.todos.includes(todo)) entry.todos.push(todo);
    }
  }

  has(directive: Directive): boolean {
    return this.#entries.has(directive);
  }

  refused(directive: Directive): boolean {
    return this.#entries.get(directive)?.status === 'refused';
  }

  find(finding: Omit<ImportFinding, 'at'>, directive: Directive): void {
    const { file, line } = directive.at;
    const known = this.#findings.some(
      one => one.code === finding.code && one.at.file === file && one.at.line === line && one.text === finding.text,
    );
    if (!known) this.#findings.push({ ...finding, at: directive.at });
  }

  get findings(): readonly ImportFinding[] {
    return this.#findings;
  }

  /** The rows of these directives and all below them, in the order they stand in. Nothing is left without a row. */
  rows(directives: readonly Directive[]): ImportRow[] {
    return directives.flatMap(directive => {
      const { status, reasons, todos } = this.#entries.get(directive) ?? unknown;
      const row: ImportRow = {
        status,
        at: directive.at,
        directive: directiveText(directive),
        reason: reasons.join('; '),
        ...(todos.length > 0 && { todo: todos.join('; ') }),
      };
      return [row, ...this.rows(directive.block ?? [])];
    });
  }
}

const unknown: Entry = {
  status: 'refused',
  reasons: ['the importer does not know this directive'],
  todos: ['find out what it does for you, and write that in the new configuration by hand'],
};

const weight = (status: ImportStatus): number => importStatuses.indexOf(status);
