// Values as people write them in the configuration ⇄ values as the code wants them. Pure; shared by every room's config.ts.
import { z } from 'zod';
import { type ListenAddress, parseListen, parseTarget } from '../core/address.ts';
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { Target } from '../core/parts.ts';

/** Turns a parser that throws Faults into a schema whose input is a string. */
function parsed<T>(parse: (text: string) => T, format: string, description: string): z.ZodType<T, string> {
  return z
    .string()
    .meta({ format, description })
    .transform((text, context): T => {
      try {
        return parse(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: error instanceof Fault ? error.message : String(error) });
        return z.NEVER;
      }
    }) as unknown as z.ZodType<T, string>;
}

/** `30s`, `10m`, `1h30m` → milliseconds. */
export const duration: z.ZodType<number, string> = parsed(parseDuration, 'duration', 'for example 30s, 10m, 8h');

/** `512k`, `10m`, `1g` (powers of 1024, as nginx counts) or a plain number → bytes. */
export const size: z.ZodType<number, string | number> = z.union([
  z.int().nonnegative(),
  parsed(parseSize, 'size', 'for example 512k, 10m, 1g'),
]);

export const target: z.ZodType<Target, string> = parsed(
  parseTarget,
  'sekisho-target',
  'tcp://host:port, tls://host:port, udp://host:port, unix:/path or device://name/service',
);

export const listen: z.ZodType<ListenAddress, string> = parsed(
  parseListen,
  'sekisho-listen',
  'tls://0.0.0.0:443, tcp://127.0.0.1:3000, udp://:53, unix:/run/app.sock, or gate',
);

/**
 * Where a secret or a file's content comes from: `file:path` (relative to the configuration's folder) or `env:NAME`.
 * The rooms are handed a `Read` that resolves it.
 */
export const reference: z.ZodType<string, string> = z
  .string()
  .regex(/^(file|env):.+$/, 'write file:path or env:NAME')
  .meta({ description: 'file:path (relative to this file) or env:NAME' });

/** Reads what a reference names. @throws Fault `invalid` with the path and what to do. */
export type Read = (reference: string) => Promise<Buffer>;

/** An IPv4 or IPv6 network, or one address; checked by its user with wire/cidr.ts. */
export const cidr: z.ZodType<string, string> = z
  .string()
  .regex(
    /^(\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(\/\d{1,3})?)$/,
    'write an address or a network like 203.0.113.0/24 or 2001:db8::/32',
  )
  .meta({ description: 'an address or network, IPv4 or IPv6' });

/** Names that can stand in URLs, file names and audit records alike. */
export const name: z.ZodType<string, string> = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'a name starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most',
  );

/** One value or a list of them, always a list afterwards. */
export function oneOrMany<T>(schema: z.ZodType<T, unknown>): z.ZodType<readonly T[], unknown> {
  return z
    .union([schema, z.array(schema).min(1)])
    .transform(value => (Array.isArray(value) ? value : [value])) as never;
}

function parseSize(text: string): number {
  const parts = /^(\d+)([kmg]?)$/i.exec(text);
  if (!parts) throw new Fault('invalid', `"${text}" is not a size; write for example 512k, 10m or 1g`);
  return Number(parts[1]) * 1024 ** ['', 'k', 'm', 'g'].indexOf((parts[2] ?? '').toLowerCase());
}
