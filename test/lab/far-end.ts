// A program for a namespace of its own: an echo server, or a client that sends, half-closes and compares what comes back.
import type { Socket } from 'node:net';
import { backend, dialPlain, dialTls, echo, expectPattern, send } from './streams.ts';

interface Task {
  readonly serve?: string;
  readonly connect?: { readonly host: string; readonly port: number; readonly ca?: string };
  readonly bytes?: number;
  readonly times?: number;
}
const task = JSON.parse(process.argv[2] ?? '{}') as Task;
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (task.serve !== undefined) {
  const { port } = await backend(echo, { host: task.serve });
  say({ port });
}
if (task.connect) {
  const { host, port, ca } = task.connect;
  const { bytes = 1000, times = 1 } = task;
  const one = async (index: number): Promise<number> => {
    const socket: Socket = await (ca === undefined ? dialPlain(port, host) : dialTls(port, { ca }, host))();
    const heard = expectPattern(socket, index * 1000);
    await Promise.race([send(socket, bytes, index * 1000).then(() => socket.end()), heard.whole]);
    return heard.whole.finally(() => socket.destroy());
  };
  try {
    say({ counts: await Promise.all(Array.from({ length: times }, (_, index) => one(index))) });
  } catch (error) {
    say({ error: (error as Error).message });
  }
}
