// Front door of timed endpoints: an address with an end, for who may reach it, leading to a device or a TCP service.
export { type EndpointConfig, endpointConfig, type PortRange } from './config.ts';
export type { ApprovalFacts, EndpointDeps, EndpointService, OpenRequest, RecordedEvent } from './deps.ts';
export type { Endpoint, EndpointLimits, EndpointTls, NapterFacts, Owner } from './endpoint.ts';
export { type EvidenceRow, evidenceDocument } from './evidence.ts';
export { type Door, napterDoor } from './napter-door.ts';
export type { Notice } from './notice.ts';
export { openEndpoints } from './service.ts';
export { signInDoor } from './sign-in-door.ts';
export { type EndpointStore, endpointStore } from './store.ts';
export type { DeviceFacts } from './target.ts';
export type { Identity } from './tls.ts';
