// The reference of the HTTP API, from the table of verbs that serves it.
import { z } from 'zod';
import { verbs } from '../../src/api/contract/routes.ts';
import type { Verb } from '../../src/api/contract/verb.ts';

interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly $ref?: string;
}

const intro = `# HTTP API

Every command that asks a running gate is a call of this API, and the console is its client too. The gate serves the same as an OpenAPI document at \`/v1/openapi.json\`. Callers prove themselves with \`Authorization: Bearer TOKEN\` (\`sekisho token create\`), or on the gate's own machine through the unix socket in its data folder; a client certificate alone never authorises a call. A refused call answers \`{ "code", "message" }\`; the code says what to do.

| code | HTTP | meaning |
|---|---|---|
| \`invalid\` | 400 | mend the request |
| \`unknown-caller\` | 401 | prove who you are |
| \`denied\` | 403 | you may not |
| \`missing\` | 404 | there is no such thing |
| \`conflict\` | 409 | it is taken, or not in a state for this |
| \`gone\` | 410 | it has ended |
| \`limit\` | 429 | too many or too often |
| \`unreachable\`, \`timeout\` | 502, 504 | the far side; try again |
| \`bug\` | 500 | ours |`;

/** One Markdown section a word, one part a verb. */
export function apiReference(): string {
  const words = Map.groupBy(Object.entries(verbs) as [string, Verb][], ([name]) => name.split('.')[0] ?? '');
  const sections = [...words].map(([word, rows]) => `## ${word}\n\n${rows.map(partOf).join('\n\n')}`);
  return [intro, ...sections].join('\n\n');
}

function partOf([name, verb]: [string, Verb]): string {
  const path = verb.path.replace(/:(\w+)/g, '{$1}');
  const facts = [
    `needs \`${verb.action}\``,
    ...(verb.changes ? ['audited'] : []),
    ...(verb.self ? ['people may do this to themselves'] : []),
    ...(verb.cli ? [`\`sekisho ${verb.cli}\``] : []),
    ...(verb.noCli ? [`no command: ${verb.noCli}`] : []),
    ...(verb.stream ? [streams[verb.stream]] : []),
  ];
  return [
    `### ${verb.method} ${path}`,
    `${verb.summary}. (\`${name}\`; ${facts.join('; ')})`,
    ...tableOf('path', verb.params),
    ...tableOf('query', verb.query),
    ...tableOf('body', verb.body),
    ...tableOf('answer', verb.answer, 'output'),
  ].join('\n\n');
}

const streams = {
  lines: 'answers JSON lines',
  events: 'answers server-sent events',
  bytes: 'answers bytes',
} as const;

function tableOf(title: string, schema: z.ZodType | undefined, io: 'input' | 'output' = 'input'): string[] {
  if (!schema) return [];
  const root = z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' }) as Schema;
  const rows = [...rowsOf(root, '')];
  if (rows.length === 0) return [];
  return [
    `| ${title} | type | |\n|---|---|---|\n${rows.map(([key, type, text]) => `| \`${key}\` | ${type} | ${text} |`).join('\n')}`,
  ];
}

/** `a.b[]` and so on, with type and description; a choice of objects shows the keys of all of them. */
function* rowsOf(schema: Schema, at: string): Iterable<[key: string, type: string, text: string]> {
  if (schema.anyOf) for (const one of schema.anyOf) yield* rowsOf(one, at);
  if (schema.items) yield* rowsOf(schema.items, `${at}[]`);
  for (const [key, inner] of Object.entries(schema.properties ?? {})) {
    const path = at === '' ? key : `${at}.${key}`;
    const optional = schema.required?.includes(key) ? '' : '?';
    const fallback = inner.default === undefined ? '' : ` Default ${code(inner.default)}.`;
    yield [`${path}${optional}`, typeOf(inner), cell(`${inner.description ?? ''}${fallback}`)];
    yield* rowsOf(inner, path);
  }
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;

function typeOf(schema: Schema): string {
  if (schema.enum) return cell(schema.enum.map(code).join(', '));
  if (schema.const !== undefined) return code(schema.const);
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].join(' or ');
  if (schema.items) return `list of ${typeOf(schema.items)}`;
  const { type = 'any' } = schema;
  return typeof type === 'string' ? type : type.join(' or ');
}
