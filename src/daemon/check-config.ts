// `sekisho check`: a configuration is planned as `up` would, with a CA that lives only as long as the check.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import type { CertificateSource } from '../features/proxy/index.ts';
import { openStore } from '../store/index.ts';
import { type Identity, openAuthority } from '../trust/index.ts';
import { acmeWish } from './certificate-source.ts';
import { type CheckReport, checkReport, failedCheck } from './check.ts';
import { readConfigFile } from './config-file.ts';
import { defaultConfig } from './defaults.ts';
import { namesOf } from './places.ts';
import { planConfig } from './plan.ts';
import { createRead } from './read.ts';

/** Opens nothing, asks nobody, and leaves no file behind. */
export async function checkConfig(path: string | undefined): Promise<CheckReport> {
  const folder = await mkdtemp(join(tmpdir(), 'sekisho-check-'));
  try {
    await using stack = new AsyncDisposableStack();
    const file = path === undefined ? defaultConfig() : await readConfigFile(path);
    const store = stack.use(await openStore({ url: 'sqlite::memory:', log: silent }));
    const authority = stack.use(await openAuthority({ store, dir: folder, log: silent }));
    const read = createRead({ folder: file.folder });
    const issue = async (names: readonly string[]): Promise<Identity[]> => {
      const { cert, chain, key } = await authority.issueServer({ names, key: 'ecdsa' });
      return [{ cert: cert + chain.join(''), key }];
    };
    const certificates: CertificateSource = {
      auto: names => issue([...namesOf(file.config), ...names]),
      async acme(_, options, names) {
        await acmeWish(options, names, read);
        return issue(names); // whether the directory agrees is seen when the gate runs
      },
      onChange: () => () => {},
    };
    const plan = await planConfig(file, { authority, certificates, read, now: systemClock.now() });
    return await checkReport(file, plan);
  } catch (error) {
    return failedCheck(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const silent: Log = { child: () => silent, debug() {}, info() {}, warn() {}, error() {} };
