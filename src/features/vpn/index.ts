// The front door of the VPN: hubs, who may join them, SoftEther's protocol, and what the file says of them.
export { type VpnConfig, vpnConfig } from './config.ts';
export { createHub } from './create-hub.ts';
export type { People, VpnDeps } from './deps.ts';
export type * from './hub.ts';
export type { HubEntry, Hubs } from './hubs.ts';
export type { LiveMember } from './live-member.ts';
export type { Group, Member, MemberChange, Members, NewProof } from './members.ts';
export type { OpenVpn } from './openvpn/service.ts';
export { noVpn, planVpn } from './plan.ts';
export { openVpn, type VpnPlan, type VpnService } from './service.ts';
export { type HubSettings, hubChange, securityPolicy } from './settings.ts';
export { completeSecurity } from './softether/policy.ts';
