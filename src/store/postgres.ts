// A store in PostgreSQL, held by one gate at a time.
import { Fault } from '../core/fault.ts';
import type { Opened, StoreOptions } from './index.ts';

export async function openPostgres(_url: string, _options: StoreOptions): Promise<Opened> {
  throw new Fault('invalid', 'PostgreSQL is not supported yet; use sqlite:path');
}
