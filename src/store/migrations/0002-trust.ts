// Tables of trust/: its owner writes them here.
import type { Build } from './migrate.ts';

export async function trust(_build: Build): Promise<void> {
  // --- trust: tables go here ---
}
