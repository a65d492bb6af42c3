// What checking a configuration finds: every mistake and every weakness, each with the path of its key.
import { Fault } from '../../core/fault.ts';

export type KeyPath = readonly (string | number)[];

export interface Finding {
  readonly path: KeyPath;
  /** Starts with the path as people write it: `proxy.db.certificate.key: …`. */
  readonly text: string;
}

/** Collects mistakes and warnings below one key; `at` looks deeper. */
export interface Findings {
  at(...keys: KeyPath): Findings;
  mistake(text: string): void;
  warn(text: string): void;
  /** Runs a step; a Fault `invalid` becomes a mistake here, and the step gives undefined. */
  attempt<T>(step: () => T | Promise<T>): Promise<T | undefined>;
  readonly mistakes: readonly Finding[];
  readonly warnings: readonly Finding[];
}

export function createFindings(path: KeyPath): Findings {
  return below(path, [], []);
}

function below(path: KeyPath, mistakes: Finding[], warnings: Finding[]): Findings {
  const finding = (text: string): Finding => ({ path, text: `${formatPath(path)}: ${text}` });
  return {
    mistakes,
    warnings,
    at: (...keys) => below([...path, ...keys], mistakes, warnings),
    mistake: text => void mistakes.push(finding(text)),
    warn: text => void warnings.push(finding(text)),
    async attempt(step) {
      try {
        return await step();
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== 'invalid') throw error;
        mistakes.push(finding(error.message));
        return undefined;
      }
    },
  };
}

/** One Fault for all mistakes: a line each, and `facts.mistakes` with the paths for whoever knows the file. */
export function faultOf(mistakes: readonly Finding[]): Fault {
  return new Fault('invalid', mistakes.map(({ text }) => text).join('\n'), { facts: { mistakes } });
}

/** `['proxy', 'db', 'to', 1]` → `proxy.db.to[1]`. */
function formatPath(path: KeyPath): string {
  return path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index > 0 ? '.' : ''}${key}`)).join('');
}
