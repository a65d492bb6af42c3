// What works without a gate: checking an export and restoring a backup. Loaded only when one of them is asked for.
import type { z } from 'zod';
import type { signedHead, VerifyAnswer } from '../api/contract/audit.ts';

/** The daemon's front door knows the audit's verifier and the layout of a data folder. */
export interface Offline {
  verifyExport(
    lines: AsyncIterable<string>,
    publicKeyPem: string,
    head?: z.output<typeof signedHead>,
  ): Promise<VerifyAnswer>;
  /** @throws Fault `conflict` for a folder that is not empty (unless forced), `invalid` for a wrong passphrase or a damaged file */
  restoreBackup(options: {
    readonly from: AsyncIterable<Uint8Array>;
    readonly passphrase: string;
    readonly data: string;
    readonly force: boolean;
  }): Promise<{ readonly files: readonly string[]; readonly movedTo?: string }>;
}

export const offline = (path = '../daemon/index.ts'): Promise<Offline> => import(path) as Promise<Offline>;
