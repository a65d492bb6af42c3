// A worker's side: opens the routes it is given, asks the gate process for every admission, and outlives that process
// only for the connections it carries.
import { flushCompileCache } from 'node:module';
import { createRemoteGate, type RemoteGate } from '../access/worker.ts';
import { systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import {
  formatAccessLine,
  type Identity,
  openRoutes,
  type ProxyService,
  type RoutePlan,
  type RouteState,
} from '../features/proxy/worker.ts';
import { type AppendFile, openAppendFile } from './append-file.ts';
import { answerCalls } from './calls.ts';
import { type IpcPeer, wiresOver } from './ipc.ts';
import { createLiveCertificates, type Lapsed, type LiveCertificates } from './live-certificates.ts';
import { createLog, type LogPlace, type RootLog } from './log.ts';
import { createMetrics } from './metrics.ts';

/** Plain data, over IPC only: it holds private keys. */
export interface WorkerSetup {
  readonly number: number;
  readonly plans: readonly RoutePlan[];
  readonly challenges: readonly (readonly [name: string, identity: Identity])[];
  readonly masterKey: Uint8Array;
  readonly log: WorkerLog;
}

export interface WorkerLog {
  readonly place: LogPlace;
  /** Absolute path of the access log. */
  readonly accessFile?: string | undefined;
}

/** What the gate process asks of a worker. */
export type WorkerVerbs = {
  open(setup: WorkerSetup): Promise<void>;
  reload(to: { readonly plans: readonly RoutePlan[] }): Promise<void>;
  challenge(of: { readonly name: string; readonly identity: Identity | undefined }): void;
  reopen(argument: undefined): Promise<void>;
  log(to: WorkerLog): Promise<void>;
  state(argument: undefined): readonly RouteState[];
  metrics(argument: undefined): Promise<unknown>;
  /** Client certificates of live conns that no longer count. */
  lapsed(argument: undefined): readonly Lapsed[];
  /** Stops accepting; answers when nothing is carried any more. */
  drain(argument: undefined): Promise<void>;
  /** Ends what is still carried. */
  cut(argument: undefined): void;
};

interface Open {
  readonly service: ProxyService;
  readonly log: RootLog;
  readonly access: AppendFile | undefined;
  readonly live: LiveCertificates;
  readonly gate: RemoteGate;
}

/** Serves the gate process at the other end of `peer`; resolves when there is nothing left to do. */
export function runWorker(peer: IpcPeer): Promise<void> {
  const wires = wiresOver(peer);
  const metrics = createMetrics();
  const ending = new AbortController();
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  let open: Open | undefined;
  const opened = (): Open => {
    if (!open) throw new Fault('bug', 'the worker has no routes yet');
    return open;
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= (async () => {
      await open?.service.drain(ending.signal);
      open?.gate.flush();
      await open?.access?.[Symbol.asyncDispose]();
      open?.log.close();
    })();
    return closing;
  };
  answerCalls(wires.calls, {
    async open(setup) {
      const log = createLog({ ...setup.log.place, base: { worker: setup.number } });
      const { accessFile } = setup.log;
      const access = accessFile ? await openAppendFile({ path: accessFile, log }) : undefined;
      const gate = createRemoteGate(wires.gate, { log });
      const live = createLiveCertificates();
      live.learn(setup.plans);
      const service = await openRoutes(setup.plans, {
        gate,
        identify: trust => live.identify(trust),
        masterKey: setup.masterKey,
        ...(access ? { accessLog: line => access.line(formatAccessLine(line)) } : {}),
        clock: systemClock,
        log,
        metrics,
      });
      for (const [name, identity] of setup.challenges) service.challenge(name, identity);
      open = { service, log, access, live, gate };
      flushCompileCache(); // a worker is often killed: there may be no end to do it at
    },
    reload({ plans }) {
      opened().live.learn(plans);
      return opened().service.reload(plans);
    },
    challenge: ({ name, identity }) => opened().service.challenge(name, identity),
    async reopen() {
      opened().log.reopen();
      await opened().access?.reopen();
    },
    async log({ place, accessFile }) {
      opened().log.change(place);
      if (accessFile !== undefined) await opened().access?.reopen(accessFile);
    },
    state: () => opened().service.state(),
    metrics: () => metrics.snapshot(),
    lapsed: () => opened().live.lapsed(),
    drain: close, // then the gate process, which has read every end of a session by then, closes the channel
    cut: () => ending.abort('drain'),
  } satisfies WorkerVerbs);
  // The gate process is gone: nothing new without its decision, but what was admitted goes on to its own end.
  // A gate process that was told twice to end asked us before: then there is no waiting either.
  wires.calls.closed.addEventListener('abort', () => {
    if (closing) ending.abort('drain');
    void close().finally(finish);
  });
  return done;
}
