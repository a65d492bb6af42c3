// Reads what a process tree costs from /proc: CPU seconds, resident memory, and what machine this is.
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';

const ticks = 100; // USER_HZ: what /proc counts in, on every Linux that Node runs on

/** The process and its descendants. */
export function tree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    if (fields) parents.set(Number(name), Number(fields[1]));
  }
  const found = [root];
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.push(child);
  return found;
}

/** User and system seconds of the tree so far, ended children included. */
export function cpuSeconds(root: number): number {
  let sum = 0;
  for (const pid of tree(root)) {
    const fields = statOf(pid);
    // utime, stime, cutime, cstime: proc(5), fields 14 to 17
    if (fields) for (const field of fields.slice(11, 15)) sum += Number(field);
  }
  return sum / ticks;
}

/** Proportional set size of the tree, bytes: pages shared by several processes are counted once. */
export function memory(root: number): number {
  let sum = 0;
  for (const pid of tree(root)) {
    const text = readText(`/proc/${pid}/smaps_rollup`);
    sum += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024;
  }
  return sum;
}

export function describeMachine(): string {
  const kernel = readText('/proc/sys/kernel/osrelease').trim();
  return `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Linux ${kernel}`;
}

/** The fields after the command's name, which may hold spaces: [0] state, [1] parent, … */
function statOf(pid: number): string[] | undefined {
  const text = readText(`/proc/${pid}/stat`);
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended between the listing and the reading
  }
}
