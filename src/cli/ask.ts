// Asking a person: secrets without echo, or the first line of stdin where nobody sits there. Never from the arguments.
import { createInterface } from 'node:readline/promises';
import { Fault } from '../core/fault.ts';
import type { Io } from './command.ts';
import { harmless } from './width.ts';

const longest = 1024;

/**
 * A secret from the terminal, without echo, or the first line of stdin. `twice` asks a person again, so that a slip of
 * the finger does not lock anybody out. @throws Fault `invalid` when it is empty, too long, or the two differ.
 */
export async function askSecret(io: Io, label: string, twice = false): Promise<string> {
  const isTyped = io.stdin.isTTY === true && io.stdin.setRawMode !== undefined;
  const secret = isTyped ? await typeSecret(io, `${label}: `) : await firstLine(io);
  if (secret === '') throw new Fault('invalid', `no ${label.toLowerCase()} was given; type it, or send it on stdin`);
  if (isTyped && twice && (await typeSecret(io, `${label} again: `)) !== secret) {
    throw new Fault('invalid', 'the two differ; nothing was changed');
  }
  return secret;
}

/** Yes or no; without a terminal the answer is no. */
export async function askYes(io: Io, question: string): Promise<boolean> {
  if (!io.stdin.isTTY) return false;
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  try {
    return /^(y|yes|はい)$/i.test((await lines.question(`${question} [y/N] `, { signal: io.signal })).trim());
  } finally {
    lines.close();
  }
}

/** A line that may be seen. */
export async function askLine(io: Io, label: string): Promise<string> {
  if (!io.stdin.isTTY) return '';
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  try {
    return (await lines.question(`${harmless(label)}: `, { signal: io.signal })).trim();
  } finally {
    lines.close();
  }
}

/** Raw mode, so that nothing is echoed; what is typed ahead of Enter is edited here. */
async function typeSecret(io: Io, label: string): Promise<string> {
  const { stdin, stderr } = io;
  // The label only once the echo is off: who types as soon as it shows must not be seen.
  stdin.setRawMode?.(true);
  stderr.write(harmless(label));
  try {
    return await readKeys(io);
  } finally {
    stdin.setRawMode?.(false);
    stdin.pause();
    stderr.write('\n');
  }
}

function readKeys({ stdin, signal }: Io): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new TextDecoder();
  let typed: string[] = [];
  const stop = (): void => reject(new DOMException('interrupted', 'AbortError'));
  const key = (found: string): void => {
    if (found === '\r' || found === '\n') resolve(typed.join(''));
    else if (found === '\x03') stop();
    else if (found === '\x04') typed.length === 0 ? stop() : resolve(typed.join(''));
    else if (found === '\x7f' || found === '\b') typed.pop();
    else if (found === '\x15') typed = [];
    else if (found >= ' ' && typed.length < longest) typed.push(found);
  };
  const data = (chunk: Buffer): void => [...decoder.decode(chunk, { stream: true })].forEach(key);
  stdin.on('data', data);
  stdin.once('end', stop);
  signal.addEventListener('abort', stop, { once: true });
  stdin.resume();
  return promise.finally(() => {
    stdin.off('data', data).off('end', stop);
    signal.removeEventListener('abort', stop);
  });
}

/** Up to the first line end, or all of it; a CR before the LF is not part of it. */
async function firstLine({ stdin }: Io): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk);
    const end = bytes.indexOf(10);
    chunks.push(end < 0 ? bytes : bytes.subarray(0, end));
    length += bytes.length;
    if (end >= 0) break;
    if (length > longest) break;
  }
  const line = Buffer.concat(chunks).toString('utf8').replace(/\r$/, '');
  if (Buffer.byteLength(line) > longest)
    throw new Fault('invalid', `what came on stdin is longer than ${longest} bytes`);
  return line;
}
