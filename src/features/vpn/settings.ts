// What a hub is set to, whether the configuration file says so or an administrator did at run time.
import { z } from 'zod';
import { Fault } from '../../core/fault.ts';
import type { FilterRule, ForwardRule, NatOptions, SecurityPolicy } from './hub.ts';

export interface HubSettings {
  readonly online: boolean;
  /** Whoever knows the name may join without proof. */
  readonly anonymous: boolean;
  /** Its name is told to whoever asks for a list of hubs. */
  readonly listing: boolean;
  /** Windows' own VPN client may join, by SSTP. */
  readonly sstp: boolean;
  /** Members at a time; 0 = no limit. */
  readonly maxSessions: number;
  /** Shown by SoftEther's client when it has joined. */
  readonly message: string;
  /** For members without a policy of their own or of their group. */
  readonly policy?: Partial<SecurityPolicy>;
  /** `options` are kept while it is off, as vpncmd expects. */
  readonly secureNat: { readonly enabled: boolean; readonly options: NatOptions };
  readonly forward: readonly ForwardRule[];
  readonly filter: readonly FilterRule[];
  /** A TAP's name. */
  readonly bridge?: string;
}

/** SoftEther's virtual router, but for its default gateway: joining must not take anybody's way to the Internet. */
export const defaultNat: NatOptions = {
  address: '192.168.30.1/24',
  nat: true,
  mtu: 1500,
  tcpTimeout: 1800,
  udpTimeout: 60,
  dhcp: { range: ['192.168.30.10', '192.168.30.200'], mask: '255.255.255.0', lease: 7200, dns: [], routes: [] },
};

export const defaultSettings: HubSettings = {
  online: true,
  anonymous: false,
  listing: false,
  sstp: false,
  maxSessions: 0,
  message: '',
  secureNat: { enabled: false, options: defaultNat },
  forward: [],
  filter: [],
};

const ipv4 = z.ipv4();
const mac = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/, 'write a MAC address, like 5e:c2:5a:c7:0f:61');
const seconds = z.int().min(1).max(100_000_000);
const ports = z.tuple([z.int().min(0).max(65_535), z.int().min(0).max(65_535)]);
const macMask = z.strictObject({ mac, mask: mac });
const flag = z.boolean();
const count = z.int().min(0).max(0xffffffff);

/** SecureNAT as the API says it. */
export const natOptions = z.strictObject({
  address: z.cidrv4(),
  mac: mac.optional(),
  nat: flag.optional(),
  mtu: z.int().min(576).max(1500).optional(),
  tcpTimeout: seconds.min(60).optional(),
  udpTimeout: seconds.min(10).optional(),
  dhcp: z
    .strictObject({
      range: z.tuple([ipv4, ipv4]),
      mask: ipv4.optional(),
      lease: seconds.min(15).optional(),
      gateway: ipv4.optional(),
      dns: z.array(ipv4).max(2).optional(),
      domain: z.string().max(253).optional(),
      routes: z
        .array(z.strictObject({ network: z.cidrv4(), gateway: ipv4.optional() }))
        .max(64)
        .optional(),
      reservations: z
        .array(z.strictObject({ mac, address: ipv4 }))
        .max(4096)
        .optional(),
    })
    .optional(),
});

export const filterRule = z.strictObject({
  priority: count,
  action: z.enum(['pass', 'discard']),
  note: z.string().max(255).optional(),
  active: flag.optional(),
  from: z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()]).optional(),
  to: z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()]).optional(),
  protocol: z.union([z.int().min(0).max(255), z.enum(['tcp', 'udp', 'icmp', 'icmpv6'])]).optional(),
  fromPort: ports.optional(),
  toPort: ports.optional(),
  fromUser: z.string().min(1).max(255).optional(),
  toUser: z.string().min(1).max(255).optional(),
  fromMac: macMask.optional(),
  toMac: macMask.optional(),
  established: flag.optional(),
  delay: z.int().min(0).max(10_000).optional(),
  jitter: z.int().min(0).max(100).optional(),
  loss: z.int().min(0).max(100).optional(),
});

export const forwardRule = z.strictObject({
  listen: z.string().regex(/^\d{1,3}(\.\d{1,3}){3}:\d{1,5}$/, 'write an address of the hub, like 192.168.30.1:80'),
  to: z.string().regex(/^(tcp|udp):\/\/[^/]+:\d{1,5}$/, 'write tcp://host:port or udp://host:port'),
});

/** A policy's items; what is not said is as the hub or SoftEther has it. */
export const securityPolicy = z
  .strictObject({
    ...{ access: flag, dhcpFilter: flag, dhcpNoServer: flag, dhcpForce: flag, noBridge: flag, noRouting: flag },
    ...{ checkMac: flag, checkIp: flag, arpDhcpOnly: flag, privacyFilter: flag, noServer: flag },
    ...{ noBroadcastLimiter: flag, monitorPort: flag, maxConnection: z.int().min(1).max(32) },
    ...{ timeOut: z.int().min(5).max(60), maxMac: count, maxIp: count, maxUpload: count, maxDownload: count },
    ...{ fixPassword: flag, multiLogins: count, noQos: flag, rsAndRaFilter: flag, raFilter: flag },
    ...{ dhcpv6Filter: flag, dhcpv6NoServer: flag, noRoutingV6: flag, checkIpv6: flag, noServerV6: flag },
    ...{ maxIpv6: count, noSavePassword: flag, autoDisconnect: count, filterIpv4: flag, filterIpv6: flag },
    ...{ filterNonIp: flag, noIpv6DefaultRouterInRa: flag, noIpv6DefaultRouterInRaWhenIpv6: flag },
    vlanId: z.int().min(0).max(4095),
  })
  .partial();

export const bridgeDevice = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,15}$/, 'write the name of a TAP device, 15 characters at most, like tap_00');

/** Everything that may be changed at run time. */
export const hubChange = z
  .strictObject({
    online: flag,
    anonymous: flag,
    listing: flag,
    sstp: flag,
    maxSessions: z.int().min(0).max(100_000),
    message: z.string().max(20_000),
    policy: securityPolicy,
    secureNat: z.strictObject({ enabled: flag, options: natOptions }),
    forward: z.array(forwardRule).max(256),
    filter: z.array(filterRule).max(32_768),
    /** `''` takes the bridge away. */
    bridge: z.union([z.literal(''), bridgeDevice]),
  })
  .partial();

/** Names are one label, so that they stand in URLs and rules; case does not tell two hubs apart. @throws Fault `invalid` */
export function checkedHubName(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(text))
    throw new Fault(
      'invalid',
      `"${text}" cannot be a hub's name: it starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most`,
    );
  return text;
}
