// core's Log without a library: the agent is one small file. A line each, for people or as JSON, to stderr.
import type { Log } from '../core/parts.ts';

const ranks = { debug: 0, info: 1, warn: 2, error: 3 } as const;
export type AgentLevel = keyof typeof ranks;

export function createAgentLog(options: {
  readonly level: AgentLevel;
  readonly json: boolean;
  readonly write?: (line: string) => void;
}): Log {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const make = (base: object): Log => {
    const at = (level: AgentLevel) => (facts: object, msg: string) => {
      if (ranks[level] < ranks[options.level]) return;
      const all = { ...base, ...facts };
      const time = new Date().toISOString();
      write(
        options.json
          ? `${JSON.stringify({ time, level, ...all, msg }, plain)}\n`
          : `${time.slice(11, 19)} ${level === 'info' ? '' : `${level}: `}${harmless(msg)}${factsOf(all)}\n`,
      );
    };
    return {
      child: facts => make({ ...base, ...facts }),
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
    };
  };
  return make({});
}

const plain = (_key: string, value: unknown): unknown => (value instanceof Error ? value.stack : value);

function factsOf(facts: object): string {
  const shown = Object.entries(facts).map(([key, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value, plain);
    return `${key}=${harmless(text ?? '')}`;
  });
  return shown.length === 0 ? '' : `  (${shown.join(', ')})`;
}

/** A peer's bytes must not steer the terminal. */
const harmless = (text: string): string =>
  text.replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g,
    char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
