// Tables of endpoint/: endpoints with their end, and the addresses that a sign-in unlocked.
export interface EndpointTables {
  endpoint: EndpointTable;
  endpoint_unlock: EndpointUnlockTable;
}

export interface EndpointTable {
  id: string;
  state: 'waiting' | 'open' | 'closed';
  created: string;
  opened: string | null;
  until: string;
  ended: string | null;
  cause: string | null;
  owner_kind: string;
  owner_id: string;
  credential: string;
  /** JSON list; only of the gate's own administrator. */
  owner_groups: string;
  from: string;
  target: string;
  resource: string;
  /** Milliseconds that were asked for. */
  wanted: number;
  reason: string;
  tls: 'none' | 'end' | 'pass';
  /** 0 = asked for and not given yet. */
  port: number | null;
  name: string | null;
  /** JSON. */
  limits: string;
  latched: string | null;
  used: number;
  approval: string | null;
  session: string | null;
  /** JSON: what a Napter-shaped request said. */
  napter: string | null;
}

export interface EndpointUnlockTable {
  endpoint: string;
  /** An IPv4 address, or an IPv6 /64. */
  address: string;
  who: string;
  at: string;
}
