// Tables of features/device: what is known of each device, and the other names it goes by.
export interface DeviceTables {
  device: DeviceTable;
  device_alias: DeviceAliasTable;
  device_host_key: DeviceHostKeyTable;
}

export interface DeviceTable {
  id: string;
  name: string;
  created: string;
  /** When it got its first certificate; null while its code waits. */
  enrolled: string | null;
  revoked: string | null;
  last_seen: string | null;
  /** Where it last linked from. */
  address: string | null;
  /** What it said of itself: `{version, node, platform}`. JSON. */
  agent: string | null;
  /** Name → address on the device, as it last said (or, before that, as enrolment proposed). JSON. */
  services: string;
  /** JSON object of texts. */
  tags: string;
}

/** Another name: an imsi or simId (for APIs that call devices so), one of the user's own, or the one before a renaming. */
export interface DeviceAliasTable {
  alias: string;
  device: string;
  kind: 'imsi' | 'simId' | 'alias' | 'former';
}

/** The SSH host key that a device's service is known by. */
export interface DeviceHostKeyTable {
  device: string;
  service: string;
  algorithm: string;
  /** `SHA256:…` */
  fingerprint: string;
  pinned: string;
  /** Who accepted it. */
  by: string;
}
