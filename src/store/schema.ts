// All tables of the database. A room declares its own in schema-<room>.ts and is named here once.
// Types are what SQLite and PostgreSQL share: times are TEXT (RFC 3339, UTC, milliseconds), JSON is TEXT, booleans are
// 0 and 1, ids are TEXT, bytes are Uint8Array.
import type { AccessTables } from './schema-access.ts';
import type { DeviceTables } from './schema-device.ts';
import type { EndpointTables } from './schema-endpoint.ts';
import type { TrustTables } from './schema-trust.ts';
import type { TunnelTables } from './schema-tunnel.ts';
import type { WebTables } from './schema-web.ts';

export type Schema = AccessTables & TrustTables & DeviceTables & TunnelTables & EndpointTables & VpnTables & WebTables;

import type { VpnTables } from './schema-vpn.ts';
