// What `sekisho agent` loads of this room: the agent without the gate, so that an idle device stays small; and what else
// makes a key on this machine.

export { makeRequest, newDeviceKey } from '../features/device/agent/index.ts';
export { runAgent, systemdUnit } from './agent.ts';
export { createAgentLog } from './agent-log.ts';
export { version } from './places.ts';
