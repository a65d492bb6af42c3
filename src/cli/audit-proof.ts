// What openssl alone needs to check an export: the text that was signed, and the signature, each in a file of its own.
import { z } from 'zod';
import { Fault } from '../core/fault.ts';

/** The last line of an export, whichever its format. */
const end = z.object({
  scope: z.string(),
  rows: z.number(),
  digest: z.string(),
  head: z.object({ seq: z.number(), hash: z.string() }),
  signature: z.string(),
});

export interface Proof {
  /** Its fourth line is the SHA-256 of all that stands before the last line. */
  readonly text: string;
  readonly signature: Uint8Array;
}

/** @throws Fault `protocol` */
export function proofOf(lastLine: string): Proof {
  const json = lastLine.startsWith('{') ? lastLine : csvFacts(lastLine);
  const parsed = end.safeParse(parse(json));
  if (!parsed.success) throw new Fault('protocol', 'the export has no signed end; it was cut');
  const { scope, rows, digest, head, signature } = parsed.data;
  return {
    text: `sekisho audit export\n${scope}\n${rows}\n${digest}\n${head.seq}\n${head.hash}\n`,
    signature: Buffer.from(signature, 'base64'),
  };
}

/** The one cell in quotes. */
const csvFacts = (line: string): string => (/,"(\{.*\})",/.exec(line)?.[1] ?? '').replaceAll('""', '"');

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
