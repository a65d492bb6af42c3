// The front door of our own client: a place on a hub, and the two ways to use it. It needs nothing of a gate.
export type { HubLease } from './dhcp-client.ts';
export { openLocalDoor } from './local-door.ts';
export { joinHub, type MemberState, type Membership, type MembershipOptions, type Proof } from './membership.ts';
export { openTapHost, type TapHost } from './tap-host.ts';
export { UserHost } from './user-host.ts';
