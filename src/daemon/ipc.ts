// One IPC channel between two processes → several wires, told apart by a word; order is kept within each.
import type { Wire } from './calls.ts';

/** What `process` and cluster's Worker have in common. */
export interface IpcPeer {
  send?(message: unknown, callback?: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
  isConnected?(): boolean;
  readonly connected?: boolean;
}

/** `gate`: admissions and ends of sessions (access/remote.ts). `calls`: the pool's questions to the worker. */
export type WireName = 'gate' | 'calls';
interface Envelope {
  readonly wire: WireName;
  readonly body: unknown;
}

export function wiresOver(peer: IpcPeer): Record<WireName, Wire> {
  const closing = new AbortController();
  peer.once('disconnect', () => closing.abort('closed'));
  const receivers: Record<WireName, ((message: unknown) => void)[]> = { gate: [], calls: [] };
  peer.on('message', raw => {
    const { wire, body } = raw as Envelope; // cluster keeps its own messages to itself
    for (const deliver of receivers[wire] ?? []) deliver(body);
  });
  const wireNamed = (wire: WireName): Wire => ({
    send(body) {
      if (closing.signal.aborted) return;
      // The callback keeps a send into a channel that just broke from becoming an 'error' event of the process.
      peer.send?.({ wire, body } satisfies Envelope, () => {});
    },
    receive: deliver => void receivers[wire].push(deliver),
    closed: closing.signal,
  });
  return { gate: wireNamed('gate'), calls: wireNamed('calls') };
}
