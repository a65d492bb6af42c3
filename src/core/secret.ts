// A value that must not be seen: it prints as «hidden» wherever it is printed by accident.
import { createHash, timingSafeEqual } from 'node:crypto';

/** Wraps a secret string or bytes. Only `reveal()` gives it back; JSON, template strings and inspect do not. */
export class Secret<T extends string | Uint8Array = string> {
  readonly #value: T;
  constructor(value: T) {
    this.#value = value;
  }
  reveal(): T {
    return this.#value;
  }
  toString(): string {
    return '«hidden»';
  }
  toJSON(): string {
    return '«hidden»';
  }
}

// What console.log and util.inspect show; outside the class, since the symbol's name cannot stand in a declaration.
Object.defineProperty(Secret.prototype, Symbol.for('nodejs.util.inspect.custom'), { value: () => '«hidden»' });

/** Compares in constant time, whatever the lengths. */
export function sameSecret(a: string | Uint8Array, b: string | Uint8Array): boolean {
  return timingSafeEqual(digest(a), digest(b));
}

const digest = (value: string | Uint8Array): Buffer => createHash('sha256').update(value).digest();
