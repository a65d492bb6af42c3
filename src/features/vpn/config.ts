// The `vpn:` slice of the configuration: hubs that stand in the file, further ports, and who may administer by vpncmd.
import { z } from 'zod';
import { cidr, listen, oneOrMany } from '../../wire/config-value.ts';
import { bridgeConfig, filterConfig, forwardConfig, natConfig, policyConfig, routerConfig } from './hub-config.ts';

export const vpnHub = z.strictObject({
  /** Whoever knows the hub's name may join without proof. */
  anonymous: z.boolean().default(false),
  /** The hub's name is told to whoever asks for a list. */
  'anonymous-listing': z.boolean().default(false),
  /** Windows' own VPN client joins by SSTP, on the gate's port; members' passwords are then kept in its form as well. */
  sstp: z.boolean().default(false),
  /** Members at a time. */
  sessions: z.int().min(1).max(100_000).optional(),
  /** Shown by SoftEther's client when it has joined. */
  message: z.string().max(20_000).optional(),
  /** A virtual router with DHCP and NAT, in user space. */
  nat: natConfig.optional(),
  /** Ports of the hub that lead out of it. */
  forward: forwardConfig.optional(),
  /** A TAP device on this machine; needs /dev/net/tun and the right to use it. */
  bridge: bridgeConfig.optional(),
  filter: filterConfig.optional(),
  /** For members without a policy of their own or of their group. */
  policy: policyConfig.optional(),
});

export const vpnConfig = z.strictObject({
  hubs: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, 'a hub is called by letters, digits, dot, dash and underscore'),
      vpnHub,
    )
    .default({}),
  /** Routers between hubs of this file: layer 3, IPv4. */
  routers: z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/), routerConfig).default({}),
  /** Ports besides the gate's own on which SoftEther is spoken: its clients know 992, 1194 and 5555. */
  listen: oneOrMany(
    listen.refine(address => address.kind === 'tls', 'SoftEther is spoken inside TLS; write tls://host:port'),
  ).optional(),
  /** OpenVPN for its ordinary clients, told on the gate's port by its first bytes; not spoken unless this is written. */
  openvpn: z
    .strictObject({
      /** Further ports: tcp:// and udp://; its clients know 1194. */
      listen: oneOrMany(
        listen.refine(
          address => address.kind === 'tcp' || address.kind === 'udp',
          'OpenVPN is spoken over tcp://host:port and udp://host:port',
        ),
      ).optional(),
      /** Whether clients have to have the gate's tls-crypt key, which is in every profile that it writes. */
      'tls-crypt': z.enum(['optional', 'required']).default('optional'),
    })
    .optional(),
  /** vpncmd: off until `sekisho vpn admin passwd`, and then from here only. */
  admin: z
    .strictObject({
      from: oneOrMany(cidr).default(['127.0.0.0/8', '::1/128']),
    })
    .prefault({}),
});

export type VpnConfig = z.output<typeof vpnConfig>;
export { hubChange, securityPolicy } from './settings.ts';
