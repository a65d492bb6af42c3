// What `sekisho agent` loads of this room: the agent without the gate, so that an idle device stays small.
export { runAgent, systemdUnit } from './agent.ts';
export { createAgentLog } from './agent-log.ts';
export { version } from './places.ts';
