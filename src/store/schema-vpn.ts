// Tables of features/vpn: hubs made at run time, the members and groups of every hub, and the password of administrators.

export interface VpnTables {
  vpn_hub: VpnHubTable;
  vpn_member: VpnMemberTable;
  vpn_group: VpnGroupTable;
  vpn_admin: VpnAdminTable;
}

/** A hub that is not in the configuration file. */
export interface VpnHubTable {
  name: string;
  /** JSON: everything that the file could say of it. */
  settings: string;
  created: string;
}

/** The membership of a user of the gate in a hub, whether the hub is in the file or made at run time. */
export interface VpnMemberTable {
  hub: string;
  user: string;
  /** New with every change of how it is proven; live sessions are cut by it. */
  id: string;
  proof: 'password' | 'plain' | 'gate' | 'certificate';
  /**
   * The SHA-0 form, and the NT hash where the hub speaks SSTP, encrypted with the key outside the database; each opens
   * the hub like the password itself.
   */
  secret: string | null;
  /** argon2id, for `plain`. */
  hash: string | null;
  /** The one certificate that counts besides those of the gate's CA: DER, base64. */
  certificate: string | null;
  /** What a certificate of the gate's CA must say; '' = nothing. */
  common_name: string;
  serial: string;
  realname: string;
  note: string;
  /** `''` = none. */
  group: string;
  /** JSON; null = the group's or the hub's. */
  policy: string | null;
  expires: string | null;
  created: string;
  updated: string;
  logins: number;
  last_login: string | null;
}

export interface VpnGroupTable {
  hub: string;
  name: string;
  realname: string;
  note: string;
  /** JSON; null = the hub's. */
  policy: string | null;
}

/** One row, or none: then nobody administers by vpncmd. */
export interface VpnAdminTable {
  name: string;
  id: string;
  /** SHA-0 of the password, encrypted with the key outside the database. */
  secret: string;
  created: string;
}
