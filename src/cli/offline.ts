// What works without a gate: checking an export and restoring a backup. Loaded only when one of them is asked for.

type Daemon = typeof import('../daemon/index.ts');

/** The daemon's front door: the audit's verifier, and what knows the layout of a data folder. */
export const offline = (): Promise<Pick<Daemon, 'verifyExport' | 'restoreBackup'>> => import('../daemon/index.ts');
