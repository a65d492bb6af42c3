// The words of a hub: what plugs into it, what it may do there, what its tables tell. Types only; `switch.ts` builds one.
import type { Clock } from '../../core/clock.ts';
import type { Address, Gate, Log, Metrics, Port, Principal } from '../../core/parts.ts';

// --- Ports ----------------------------------------------------------------------------------------------------------

/**
 * A core Port that may take and give frames in batches (what one turn of the event loop brought). A frame is an
 * Ethernet frame without FCS, 14 to 1,600 bytes. Frames are shared, never copied: nobody writes into one after handing
 * it on, whoever must change one makes his own. What a port is given it has for the length of the call: whoever keeps a
 * frame keeps a copy.
 */
export interface HubPort extends Port {
  /** Sends what it can and drops the rest; answers how many were taken. Never waits. */
  sendBatch?(frames: readonly Uint8Array[]): number;
  /** How full the way out of this port is, 0 to 1; when it is half full, senders get like shares of the rest. */
  backlog?(): number;
  /** Where a port has this, the hub uses it instead of `receive`. The array is not kept beyond the call. */
  receiveBatch?(deliver: (frames: readonly Uint8Array[]) => void): void;
}

/** Who sits at a port, and by which rules. */
export interface PortPolicy {
  readonly kind: 'member' | 'nat' | 'bridge' | 'router';
  /** The name of its session: SID-STAFF01-3, SID-SECURENAT-1, SID-LOCALBRIDGE-1. */
  readonly session: string;
  /** The hub's user and groups, for filters; `''` for the hub's own ports. */
  readonly user: string;
  readonly groups: readonly string[];
  /** Whose flows these are, for the NAT; absent for the hub's own ports. */
  readonly who?: Principal;
  readonly from?: Address;
  /** Gets a copy of everything and sends nothing (`monitorPort` allowed it). */
  readonly monitor?: boolean;
  readonly security: SecurityPolicy;
}

/**
 * SoftEther's security policy, in its own words (docs: PolicyList). 0 means no limit, except where said. The fields
 * `access`, `maxConnection`, `timeOut`, `multiLogins`, `autoDisconnect`, `fixPassword`, `noQos`, `noSavePassword` and
 * `monitorPort` are for whoever lets members in; the rest is the switch's.
 */
export interface SecurityPolicy {
  /** May join at all; default true. */
  readonly access: boolean;
  readonly dhcpFilter: boolean;
  readonly dhcpNoServer: boolean;
  readonly dhcpForce: boolean;
  readonly noBridge: boolean;
  readonly noRouting: boolean;
  readonly checkMac: boolean;
  readonly checkIp: boolean;
  readonly arpDhcpOnly: boolean;
  readonly privacyFilter: boolean;
  readonly noServer: boolean;
  readonly noBroadcastLimiter: boolean;
  readonly monitorPort: boolean;
  /** TCP connections of one session, 1 to 32; default 32. */
  readonly maxConnection: number;
  /** Seconds, 5 to 60; default 20. */
  readonly timeOut: number;
  readonly maxMac: number;
  readonly maxIp: number;
  /** Bits per second. */
  readonly maxUpload: number;
  /** Bits per second. */
  readonly maxDownload: number;
  readonly fixPassword: boolean;
  readonly multiLogins: number;
  readonly noQos: boolean;
  readonly rsAndRaFilter: boolean;
  readonly raFilter: boolean;
  readonly dhcpv6Filter: boolean;
  readonly dhcpv6NoServer: boolean;
  readonly noRoutingV6: boolean;
  readonly checkIpv6: boolean;
  readonly noServerV6: boolean;
  readonly maxIpv6: number;
  readonly noSavePassword: boolean;
  /** Seconds. */
  readonly autoDisconnect: number;
  readonly filterIpv4: boolean;
  readonly filterIpv6: boolean;
  readonly filterNonIp: boolean;
  readonly noIpv6DefaultRouterInRa: boolean;
  readonly noIpv6DefaultRouterInRaWhenIpv6: boolean;
  /** 1 to 4095; 0 = untagged. */
  readonly vlanId: number;
}

/** A port that is plugged in; disposing it pulls the plug (and leaves the port to its owner). */
export interface Attached extends AsyncDisposable {
  macs(): readonly string[];
  ips(): readonly string[];
  counts(): PortCounts;
  /** From the next frame on. */
  setPolicy(policy: PortPolicy): void;
}

/** Up: from the port into the hub. Broadcast counts every group address. */
export interface PortCounts {
  readonly up: Traffic;
  readonly down: Traffic;
  /** Frames that a policy, a filter, a limit or a full queue stopped. */
  readonly dropped: number;
}
export interface Traffic {
  readonly unicastBytes: number;
  readonly unicastFrames: number;
  readonly broadcastBytes: number;
  readonly broadcastFrames: number;
}

// --- The hub --------------------------------------------------------------------------------------------------------

/** A virtual switch. */
export interface Hub extends AsyncDisposable {
  readonly name: string;
  /** Plugs a port in; frames flow until it is disposed. */
  attach(port: HubPort, policy: PortPolicy): Attached;
  /** Everything that went through since the hub was made. */
  counts(): PortCounts;
  macTable(): readonly MacEntry[];
  ipTable(): readonly IpEntry[];
  /** @returns whether there was one of that key */
  forgetMac(key: number): boolean;
  forgetIp(key: number): boolean;
  leases(): readonly Lease[];
  natTable(): readonly NatEntry[];
  /** The hub's own ports (SecureNAT, local bridge), as sessions for the tables of an administrator. */
  ownPorts(): readonly OwnPort[];
  /** In order of priority; first match decides, none = pass. From the next frame on, for all ports. */
  setFilter(rules: readonly FilterRule[]): void;
  /** Starts, changes or stops the virtual router; leases of an unchanged network stay. */
  setNat(options: NatOptions | undefined): Promise<void>;
  setForward(rules: readonly ForwardRule[]): Promise<void>;
  /** A TAP of this name, or none. @throws Fault `unreachable` where /dev/net/tun or the right is missing */
  setBridge(device: string | undefined): Promise<void>;
}

export interface HubOptions {
  readonly nat?: NatOptions;
  readonly forward?: readonly ForwardRule[];
  readonly filter?: readonly FilterRule[];
  readonly bridge?: string;
}

export interface HubDeps {
  readonly gate: Gate;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Whether this address is a listener of this gate: the NAT refuses it. */
  readonly isOwn: (host: string, port: number) => boolean;
}

/** A bridge that cannot be made is logged and tried again by `setBridge`; it does not keep the hub from opening. */
export type CreateHub = (name: string, options: HubOptions, deps: HubDeps) => Promise<Hub>;

// --- Tables ---------------------------------------------------------------------------------------------------------
// Addresses are printed (5e:c2:5a:c7:0f:61, 192.168.30.10, fe80::1), times are Dates.

export interface MacEntry {
  readonly key: number;
  readonly session: string;
  readonly mac: string;
  readonly vlan: number;
  readonly created: Date;
  readonly updated: Date;
}
export interface IpEntry {
  readonly key: number;
  readonly session: string;
  readonly address: string;
  /** Handed out by a DHCP server that was seen doing it. */
  readonly dhcp: boolean;
  readonly created: Date;
  readonly updated: Date;
}
export interface Lease {
  readonly id: number;
  readonly mac: string;
  readonly address: string;
  readonly mask: string;
  readonly hostname: string;
  readonly leased: Date;
  readonly expires: Date;
}
export interface NatEntry {
  readonly id: number;
  readonly protocol: 'tcp' | 'udp' | 'dns' | 'icmp';
  readonly from: { readonly host: string; readonly port: number };
  readonly to: { readonly host: string; readonly port: number };
  readonly created: Date;
  readonly used: Date;
  readonly sent: number;
  readonly received: number;
  readonly state?: 'connecting' | 'requested' | 'connected' | 'established' | 'closing';
}
export interface OwnPort {
  readonly kind: 'nat' | 'bridge' | 'router';
  readonly session: string;
  /** The TAP of a bridge. */
  readonly device?: string;
  /** False: wanted, but could not be made; see the log. */
  readonly active: boolean;
  readonly created: Date;
  readonly counts: PortCounts;
}

// --- Options --------------------------------------------------------------------------------------------------------

/** One line of an access list. What is absent matches everything. */
export interface FilterRule {
  /** Lower first. */
  readonly priority: number;
  readonly action: 'pass' | 'discard';
  readonly note?: string;
  readonly active?: boolean;
  /** CIDR, IPv4 or IPv6. */
  readonly from?: string;
  readonly to?: string;
  /** An IP protocol number, or its name. */
  readonly protocol?: number | 'tcp' | 'udp' | 'icmp' | 'icmpv6';
  /** First and last. */
  readonly fromPort?: readonly [number, number];
  readonly toPort?: readonly [number, number];
  /** A user or group of the hub. */
  readonly fromUser?: string;
  readonly toUser?: string;
  readonly fromMac?: { readonly mac: string; readonly mask: string };
  readonly toMac?: { readonly mac: string; readonly mask: string };
  /** `true`: only TCP that is not an opening SYN; `false`: only the opening. */
  readonly established?: boolean;
  /** Simulates a bad line: milliseconds, per cent of it, per cent lost. */
  readonly delay?: number;
  readonly jitter?: number;
  readonly loss?: number;
}

/** SecureNAT: a virtual router with DHCP, ARP, echo, DNS and NAT in user space. IPv4 only. */
export interface NatOptions {
  /** The router's own address and network, 192.168.30.1/24. */
  readonly address: string;
  /** 5e-…; made up once when absent. */
  readonly mac?: string;
  /** Whether flows are carried outwards; default true. They reach the pushed `routes` and nothing else. */
  readonly nat?: boolean;
  /** 576 to 1500; default 1500. */
  readonly mtu?: number;
  /** Seconds; default 1800, at least 60. */
  readonly tcpTimeout?: number;
  /** Seconds; default 60, at least 10. */
  readonly udpTimeout?: number;
  readonly dhcp?: DhcpOptions;
}
export interface DhcpOptions {
  /** First and last address. */
  readonly range: readonly [string, string];
  /** Default: the router's. */
  readonly mask?: string;
  /** Seconds; default 7200, at least 15. */
  readonly lease?: number;
  /** What option 3 says; absent = no default gateway is handed out. */
  readonly gateway?: string;
  /** Default: the router itself; empty = none. */
  readonly dns?: readonly string[];
  readonly domain?: string;
  /** RFC 3442: networks, each through the router unless `gateway` says otherwise. */
  readonly routes?: readonly { readonly network: string; readonly gateway?: string }[];
  readonly reservations?: readonly { readonly mac: string; readonly address: string }[];
}

/** A port on the hub that leads out of it. */
export interface ForwardRule {
  /** An address inside the hub's network, 192.168.30.1:80. */
  readonly listen: string;
  /** tcp://10.0.1.26:80 or udp://… */
  readonly to: string;
}
