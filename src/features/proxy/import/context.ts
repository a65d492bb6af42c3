// What the servers of one stream block share while they are converted.
import type { Server } from './addresses.ts';
import type { Variables } from './cases.ts';
import type { FilePath } from './files.ts';
import type { Zones } from './rules.ts';
import type { Group } from './upstream.ts';

/** What to do where the importer has no better advice. */
export const byHand = 'write the route by hand';

/** What the servers of one stream block share. */
export interface StreamContext {
  readonly variables: Omit<Variables, 'sets' | 'close' | 'prereads'>;
  readonly groups: ReadonlyMap<string, Group>;
  readonly zones: Zones;
  readonly shared: ReadonlyMap<string, readonly Server[]>;
  readonly file: FilePath;
  readonly names: Set<string>;
}
