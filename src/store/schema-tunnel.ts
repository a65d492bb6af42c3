// Tables of features/tunnel: tunnels, and the two sides of each with the hashes of their tokens.
export interface TunnelTables {
  tunnel: TunnelTable;
  tunnel_side: TunnelSideTable;
}

export interface TunnelTable {
  id: string;
  /** The thing, or null. */
  thing: string | null;
  /** JSON list. */
  services: string;
  description: string | null;
  /** JSON list of {key, value}. */
  tags: string;
  /** Milliseconds. */
  lifetime: number;
  /** Who opened it: kind and id of a principal. */
  opener_kind: string;
  opener_id: string;
  created: string;
  updated: string;
  expires: string;
  closed: string | null;
}

export interface TunnelSideTable {
  tunnel: string;
  side: 'source' | 'destination';
  /** SHA-256 of the access token, hex. The token itself is nowhere. */
  hash: string;
  /** When it was used first. */
  spent: string | null;
  /** SHA-256 of the client token that it was used with. */
  client: string | null;
  state: 'connected' | 'disconnected';
  changed: string | null;
  /** The address that is, or was, connected. */
  from: string | null;
}
