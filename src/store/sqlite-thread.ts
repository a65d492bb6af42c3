// The thread beside a SQLite file: appends rows durably, or copies the database, while the event loop goes on.
import { parentPort, workerData } from 'node:worker_threads';
import { appendRows, openConnection } from './sqlite-connection.ts';
import type { Change } from './writer.ts';

export interface ThreadOptions {
  readonly path: string;
  readonly maxBytes?: number | undefined;
}
/** `write` and `copy` are answered by `done` with the same id. */
export type ThreadRequest =
  | { readonly id: number; readonly write: readonly Change[] }
  | { readonly id: number; readonly copy: string }
  | { readonly id: number; readonly close: true };
export interface ThreadAnswer {
  readonly id: number;
  readonly error?: { readonly message: string; readonly errcode?: number };
}

if (parentPort) run(parentPort, workerData as ThreadOptions);

function run(port: NonNullable<typeof parentPort>, options: ThreadOptions): void {
  const database = openConnection(options);
  const prepared = new Map();
  port.on('message', (request: ThreadRequest) => {
    try {
      if ('write' in request) appendRows(database, request.write, prepared);
      else if ('copy' in request) database.prepare('vacuum into ?').run(request.copy);
      else database.close();
      port.postMessage({ id: request.id } satisfies ThreadAnswer);
      if ('close' in request) port.close();
    } catch (error) {
      const { message, errcode } = error as Error & { errcode?: number };
      port.postMessage({ id: request.id, error: { message, ...(errcode === undefined ? {} : { errcode }) } });
    }
  });
}
