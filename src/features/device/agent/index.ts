// The device's side, as the agent's composition uses it.
export { type GateAddress, parseGate, type Way } from './contact.ts';
export { makeRequest, newDeviceKey } from './csr.ts';
export { type EnrolOptions, enrol } from './enrol.ts';
export { type AgentFolder, openAgentFolder } from './folder.ts';
export { type AgentRun, runLinks } from './run.ts';
export { openServices, parseServiceOption } from './services.ts';
