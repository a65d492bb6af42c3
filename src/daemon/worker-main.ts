// The executable of a worker process. It is started by workers.ts and by nothing else.
import cluster from 'node:cluster';
import type { IpcPeer } from './ipc.ts';
import { runWorker } from './worker.ts';

process.title = `sekisho: worker ${process.env['SEKISHO_WORKER'] ?? ''}`;
// A terminal's Ctrl-C and a service manager's signal reach the whole group; the gate process says what is to be done.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
// cluster ends a process whose parent is gone, unless it was told to leave: its connections would be cut.
if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;

await runWorker(process as IpcPeer);
if (process.connected) process.disconnect();
// Whatever still holds the loop (a stuck lookup, a keep-alive probe) carries nobody's bytes.
setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2000).unref();
