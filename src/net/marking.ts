// How V8 collects garbage in a process that carries the bytes of one device or one tunnel. Every read makes a buffer outside V8's
// heap, and after each 64 MB of them V8 marks the whole heap. Done bit by bit beside the work, that marking costs more than all
// the rest of a transfer: each new buffer pushes it on by a step, and what comes meanwhile is kept until the next round. Done at
// once it is a few milliseconds for a heap of 10 MB. Figures in bench/RESULTS.md, "Devices, tunnels and endpoints".
import { setFlagsFromString } from 'node:v8';

/** For the small heap of an agent. Not for a gate: at 80 MB it stops everybody for 60 ms, after each 64 MB that somebody moves. */
export function markAtOnce(): void {
  setFlagsFromString('--no-incremental-marking');
}
