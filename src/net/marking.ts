// How V8 collects garbage in a process that carries bytes. Every read makes a buffer outside V8's heap, and after each 64 MB of
// them V8 marks the whole heap. Done bit by bit beside the work, that marking costs more than all the rest of a transfer: each
// new buffer pushes it on by a step, and what comes meanwhile is kept until the next round. Done at once it is some tens of
// milliseconds for a gate and a few for an agent. Figures in bench/RESULTS.md, "Devices, tunnels and endpoints".
import { setFlagsFromString } from 'node:v8';

/** For the process that calls it; not for workers, whose heaps are small. */
export function markAtOnce(): void {
  setFlagsFromString('--no-incremental-marking');
}
