// What the readers of documents share: text comes in pieces, what cannot be judged yet is held, within a bound.
import type { Naming } from '../urls.ts';

/**
 * `view` is the text as a reader of syntax may look at it: as long as `text`, with everything that is no ASCII character
 * of its own (half of a Shift_JIS character that looks like a backslash) masked.
 */
export interface Scanner {
  push(text: string, view: string): string;
  end(): string;
}

/** Holds text and gives it out piece by piece. `step` answers false when it needs more. */
export abstract class Reader implements Scanner {
  protected readonly naming: Naming;
  protected text = '';
  protected view = '';
  protected at = 0;
  protected isLast = false;
  #out = '';

  constructor(naming: Naming) {
    this.naming = naming;
  }

  push(text: string, view: string): string {
    this.text = this.text.slice(this.at) + text;
    this.view = this.view.slice(this.at) + view;
    this.at = 0;
    return this.#run();
  }

  end(): string {
    this.isLast = true;
    const out = this.#run();
    const rest = this.text.slice(this.at);
    this.text = '';
    this.view = '';
    this.at = 0;
    return out + rest;
  }

  #run(): string {
    this.#out = '';
    while (this.at < this.text.length && this.step());
    return this.#out;
  }

  /** Does one thing at `at`. False: more text is needed. */
  protected abstract step(): boolean;

  /** Gives out everything up to here as it is. */
  protected pass(end: number): true {
    this.#out += this.text.slice(this.at, end);
    this.at = end;
    return true;
  }
  /** Gives out something else for the text up to here. */
  protected put(end: number, text: string): true {
    this.#out += text;
    this.at = end;
    return true;
  }
  /** Everything but the last few characters, which may be the beginning of something. */
  protected passBut(count: number): boolean {
    const end = this.isLast ? this.text.length : this.text.length - count;
    if (end > this.at) this.pass(end);
    return false;
  }
  /** Waits while what is held is short; then lets go of it unread. */
  protected holds(most: number): boolean {
    return !this.isLast && this.text.length - this.at < most;
  }
  protected find(regex: RegExp, from = this.at): RegExpExecArray | null {
    regex.lastIndex = from;
    return regex.exec(this.view);
  }
}
