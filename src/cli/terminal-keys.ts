// The keys of this terminal on their way to a shell elsewhere.
import type { JoinedTerminal } from '../daemon/terminal-join.ts';
import type { Io } from './command.ts';

const leaveKey = 0x1d; // Ctrl-], as telnet's
const endOfInput = Buffer.of(4); // Ctrl-D
const mostWaiting = 256 * 1024;

/** Sends what is typed as it is, Ctrl-C too, and what size the window has. Returns how to stop. */
export function sendKeys(joined: JoinedTerminal, { stdin, stdout }: Io, leave: () => void): () => void {
  const isTyped = stdin.isTTY === true;
  let timer: NodeJS.Timeout | undefined;
  const key = (chunk: Buffer | string): void => {
    const bytes = Buffer.from(chunk);
    if (isTyped && bytes.length === 1 && bytes[0] === leaveKey) {
      leave();
      return;
    }
    joined.type(bytes);
    if (joined.waiting < mostWaiting) return;
    stdin.pause();
    timer = setTimeout(() => stdin.resume(), 100);
  };
  // A pipe that has ended is Ctrl-D, or the shell would wait for ever; a shell that is just coming up loses the first one.
  let ending: NodeJS.Timeout | undefined;
  const end = (): void => {
    joined.type(endOfInput);
    ending ??= setInterval(() => joined.type(endOfInput), 500);
  };
  const size = (): void => joined.say({ kind: 'size', columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 });
  if (isTyped) stdin.setRawMode?.(true);
  stdin.on('data', key).once('end', end);
  if (stdout.isTTY) stdout.on('resize', size);
  stdin.resume();
  return () => {
    clearTimeout(timer);
    clearInterval(ending);
    stdin.off('data', key).off('end', end);
    stdout.off('resize', size);
    if (isTyped) stdin.setRawMode?.(false);
    stdin.pause();
  };
}
