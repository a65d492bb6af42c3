// Tables of trust/. Its owner writes them here; every type is one that SQLite and PostgreSQL share.

// biome-ignore lint/suspicious/noEmptyInterface: a seat; trust/ fills it
export interface TrustTables {
  // --- trust: tables go here ---
}
