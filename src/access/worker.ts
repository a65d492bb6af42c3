// The room's door for worker processes: the gate as it is asked from afar, and nothing that decides or stores.
export { createRemoteGate, type RemoteGate } from './remote-gate.ts';
