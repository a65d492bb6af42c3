// What the file says of one hub: SecureNAT, forwards, filter, bridge and policy, as people write them.
import { z } from 'zod';
import { duration, oneOrMany } from '../../wire/config-value.ts';
import type { SecurityPolicy } from './hub.ts';
import { bridgeDevice, forwardRule } from './settings.ts';

const ipv4 = z.ipv4('write an IPv4 address, like 192.168.30.1');
const network4 = z.cidrv4('write an IPv4 network, like 10.0.1.0/24');
const mac = z
  .string()
  .toLowerCase()
  .regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/, 'write a MAC address, like 5e:c2:5a:c7:0f:61');

const range = z
  .string()
  .regex(/^\d{1,3}(\.\d{1,3}){3}-\d{1,3}(\.\d{1,3}){3}$/, 'write first-last, like 192.168.30.10-192.168.30.200');

export const natConfig = z.strictObject({
  /** The virtual router's own address, and the hub's network. */
  address: network4,
  /** Default: made up at the start. */
  mac: mac.optional(),
  /** False: DHCP and the router's own services, but nothing is carried out of the hub. */
  outward: z.boolean().default(true),
  mtu: z.int().min(576).max(1500).default(1500),
  /** Idle flows are forgotten after this. */
  'tcp-idle': duration.default(1_800_000),
  'udp-idle': duration.default(60_000),
  dhcp: z
    .strictObject({
      range,
      lease: duration.default(7_200_000),
      /** Networks behind the router that members are told of (RFC 3442); the NAT reaches these and no other. */
      routes: z
        .array(z.union([network4, z.strictObject({ to: network4, via: ipv4 })]))
        .max(64)
        .default([]),
      /** True: the router itself. False: members keep their own way to the Internet. */
      'default-gateway': z.union([z.boolean(), ipv4]).default(false),
      /** `router` answers with this machine's resolver. */
      dns: oneOrMany(z.union([z.literal('router'), ipv4])).optional(),
      domain: z.string().min(1).max(253).optional(),
      /** MAC address: address. */
      reservations: z.record(mac, ipv4).default({}),
    })
    .optional(),
});

export const forwardConfig = z.array(forwardRule).max(256);

const portRange = z.union([
  z.int().min(1).max(65_535),
  z.string().regex(/^\d{1,5}(-\d{1,5})?$/, 'write a port or first-last, like 8000-8099'),
]);
const network = z.union([network4, z.cidrv6(), ipv4, z.ipv6()], 'write an address or a network, like 10.0.1.0/24');

/** In order, the first that fits decides; none fits = pass. */
export const filterConfig = z
  .array(
    z.strictObject({
      action: z.enum(['pass', 'discard']),
      from: network.optional(),
      to: network.optional(),
      protocol: z.union([z.enum(['tcp', 'udp', 'icmp', 'icmpv6']), z.int().min(0).max(255)]).optional(),
      'from-port': portRange.optional(),
      'to-port': portRange.optional(),
      /** A member or a group of the hub. */
      'from-user': z.string().min(1).max(63).optional(),
      'to-user': z.string().min(1).max(63).optional(),
      'from-mac': mac.optional(),
      'to-mac': mac.optional(),
      /** TCP only: true = all but the opening segment, false = the opening one. */
      established: z.boolean().optional(),
      note: z.string().max(255).optional(),
    }),
  )
  .max(32_768);

/** A router between hubs: its address on each, and the networks behind its neighbours. */
export const routerConfig = z.strictObject({
  /** Hub: the router's address and the network there. */
  interfaces: z
    .record(z.string(), network4)
    .refine(all => Object.keys(all).length > 1, 'a router stands on two hubs or more'),
  routes: z
    .array(z.strictObject({ to: network4, via: ipv4 }))
    .max(1024)
    .default([]),
});

export const bridgeConfig = bridgeDevice;

const flag = z.boolean().optional();
const count = z.int().min(0).max(0xffffffff).optional();

/** SoftEther's security policy, by its own names; what is not written is as SoftEther has it. */
export const policyConfig = z.strictObject({
  ...{ access: flag, 'dhcp-filter': flag, 'dhcp-no-server': flag, 'dhcp-force': flag, 'no-bridge': flag },
  ...{ 'no-routing': flag, 'check-mac': flag, 'check-ip': flag, 'arp-dhcp-only': flag, 'privacy-filter': flag },
  ...{ 'no-server': flag, 'no-broadcast-limiter': flag, 'monitor-port': flag },
  ...{ 'max-connection': z.int().min(1).max(32).optional(), 'time-out': z.int().min(5).max(60).optional() },
  ...{ 'max-mac': count, 'max-ip': count, 'max-upload': count, 'max-download': count, 'fix-password': flag },
  ...{ 'multi-logins': count, 'no-qos': flag, 'rs-and-ra-filter': flag, 'ra-filter': flag },
  ...{ 'dhcpv6-filter': flag, 'dhcpv6-no-server': flag, 'no-routing-v6': flag, 'check-ipv6': flag },
  ...{ 'no-server-v6': flag, 'max-ipv6': count, 'no-save-password': flag, 'auto-disconnect': count },
  ...{ 'filter-ipv4': flag, 'filter-ipv6': flag, 'filter-non-ip': flag },
  ...{ 'no-ipv6-default-router-in-ra': flag, 'no-ipv6-default-router-in-ra-when-ipv6': flag },
  'vlan-id': z.int().min(0).max(4095).optional(),
});

/** `multi-logins: 1` → `multiLogins: 1`. */
export const policyOf = (written: z.output<typeof policyConfig>): Partial<SecurityPolicy> =>
  Object.fromEntries(
    Object.entries(written)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()), value]),
  );

export type NatConfig = z.output<typeof natConfig>;
export type FilterConfig = z.output<typeof filterConfig>;
