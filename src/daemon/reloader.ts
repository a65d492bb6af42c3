// A running gate takes up another plan: all of it or nothing, and live sessions are looked at once more.
import type { LiveGate, Sessions } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { VpnService } from '../features/vpn/index.ts';
import type { SitesService, WebService } from '../features/web/index.ts';
import type { AppendFile } from './append-file.ts';
import type { ConfigFile } from './config-file.ts';
import type { EndpointPlane } from './endpoint-plane.ts';
import type { GateDoor } from './gate-door.ts';
import { gateTls } from './gateway-parts.ts';
import type { LiveCertificates } from './live-certificates.ts';
import type { RootLog } from './log.ts';
import type { OwnListeners } from './own-listeners.ts';
import { accessPlace, logPlace } from './places.ts';
import type { Plan } from './plan.ts';
import type { ProxyPlane } from './proxy-plane.ts';
import { difference, type ReloadReport, restartNeeded } from './reload.ts';

export interface Current {
  readonly file: ConfigFile;
  readonly plan: Plan;
}
export interface ReloaderOptions {
  /** The file that the gate was started with. */
  readonly file: ConfigFile;
  readonly read: () => Promise<ConfigFile>;
  readonly plan: (file: ConfigFile) => Promise<Plan>;
  readonly current: () => Current;
  readonly adopt: (next: Current) => void;
  /** After each reading, whether it was adopted or refused: what only another one has asked for may go. */
  readonly settled: () => void;
  readonly proxies: ProxyPlane;
  readonly door: GateDoor | undefined;
  readonly listeners: OwnListeners;
  readonly web: () => WebService | undefined;
  readonly endpoints: EndpointPlane;
  readonly vpn: VpnService;
  readonly sites: () => SitesService | undefined;
  /** What is shown above the chains of the built-in CA. */
  readonly anchor: () => string;
  readonly live: LiveCertificates;
  readonly sessions: Sessions;
  readonly gate: LiveGate;
  readonly warnings: () => readonly string[];
  /** Ends what sign-ins have open that lack the second factor which is wanted now. */
  readonly cutWeak: () => void;
  readonly clock: Clock;
  readonly log: RootLog;
  /** The access log, where there is one. */
  readonly access: AppendFile | undefined;
}

export interface Reloader {
  /** Reads the file again. @throws Fault saying why nothing was changed */
  reload(): Promise<ReloadReport>;
  /** Plans the same file again, for a certificate that was renewed. */
  refresh(): Promise<ReloadReport>;
  /** Resolves when none is under way. */
  settled(): Promise<unknown>;
}

/** Some conns were on their way in while the plans changed; they are looked at after this long. */
const secondLook = 5000;

export function createReloader(options: ReloaderOptions): Reloader {
  const { proxies, door, live, sessions, gate, clock, log } = options;
  // One at a time: a renewed certificate and a person may ask for the same moment.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(step: () => Promise<T>): Promise<T> => {
    const work = turn.then(step);
    turn = work.catch(() => {});
    return work;
  };

  const adopt = (file: ConfigFile): Promise<ReloadReport> => take(file).finally(options.settled);
  const take = async (file: ConfigFile): Promise<ReloadReport> => {
    const before = options.current();
    const plan = await options.plan(file);
    try {
      await logTo(file);
      return await open(file, plan, before);
    } catch (error) {
      await logTo(before.file);
      throw error;
    }
  };

  let logged = options.file;
  /** @throws Fault when a file cannot be opened */
  const logTo = async (file: ConfigFile): Promise<void> => {
    const access = accessPlace(file);
    if (access !== undefined && access !== accessPlace(logged)) await options.access?.reopen(access);
    logged = file;
    log.change(logPlace(file));
  };

  const open = async (file: ConfigFile, plan: Plan, before: Current): Promise<ReloadReport> => {
    const anchor = options.anchor();
    // A gate that is added or taken away waits for the next start, as its key says.
    const ports = door && file.config.gate ? await options.listeners.change(file.config.gate) : undefined;
    live.learn(plan.routes);
    try {
      if (plan.gate) door?.replace(gateTls(plan, anchor));
      await proxies.reload(plan.routes);
    } catch (error) {
      live.learn(before.plan.routes);
      if (plan.gate) door?.replace(gateTls(before.plan, anchor));
      await ports?.undo();
      throw error;
    }
    ports?.commit();
    options.adopt({ file, plan });
    if (plan.web.forward) options.web()?.replace(plan.web.forward);
    await options.endpoints.replace(file.config);
    await options.vpn.replace(plan.vpn);
    if (plan.sites) options.sites()?.replace(plan.sites.plan);
    await proxies.workers()?.setLog({ place: logPlace(file), accessFile: accessPlace(file) });
    await recheck();
    clock.after(secondLook, () => void recheck());
    const fixed = restartNeeded(options.file.config, file.config);
    const waits = fixed.map(key => `${key} changed: it takes effect at the next start`);
    return { ...difference(before.plan.routes, plan.routes), warnings: [...waits, ...options.warnings()] };
  };

  /** Ends what the configuration of now would not let in. */
  const recheck = async (): Promise<void> => {
    const lapsed = [...live.lapsed(), ...((await proxies.workers()?.lapsed()) ?? [])];
    const gone = new Set(lapsed.map(({ route, credential }) => `proxy/${route} ${credential}`));
    if (gone.size > 0) sessions.cutBy(({ resource, who }) => gone.has(`${resource} ${who.credential}`));
    options.cutWeak();
    gate.recheck();
  };

  return {
    settled: () => turn,
    refresh: () => inTurn(() => adopt(options.current().file)),
    reload: () =>
      inTurn(async () => {
        try {
          const report = await adopt(await options.read());
          log.info({ ...report }, 'configuration read anew');
          return report;
        } catch (error) {
          log.warn({ error }, 'the new configuration was refused; everything stays as it is');
          throw error;
        }
      }),
  };
}
