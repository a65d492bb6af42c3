// The gate process's side of its workers: starts them, gives all of them the same routes or none, replaces the dead.
import cluster, { type Worker } from 'node:cluster';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type LiveGate, serveGate } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Identity, RoutePlan, RouteState } from '../features/proxy/index.ts';
import { type Caller, createCaller } from './calls.ts';
import { wiresOver } from './ipc.ts';
import type { Lapsed } from './live-certificates.ts';
import type { WorkerLog, WorkerSetup, WorkerVerbs } from './worker.ts';

export interface WorkersOptions {
  readonly count: number;
  readonly gate: LiveGate;
  /** What every worker is told besides its routes. */
  readonly setup: Omit<WorkerSetup, 'plans' | 'number' | 'challenges'>;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a worker may take to answer, ms; default 30,000. */
  readonly patience?: number;
}

export interface Workers extends AsyncDisposable {
  /** All workers, or none: a plan that one of them cannot open leaves every one as it was. @throws Fault */
  reload(plans: readonly RoutePlan[]): Promise<void>;
  challenge(name: string, identity: Identity | undefined): Promise<void>;
  /** Log files anew (SIGUSR1). */
  reopen(): Promise<void>;
  setLog(to: WorkerLog): Promise<void>;
  states(): Promise<readonly (readonly RouteState[])[]>;
  metrics(): Promise<readonly unknown[]>;
  lapsed(): Promise<readonly Lapsed[]>;
  /** Stops accepting, and waits for what is carried until the deadline. */
  drain(deadline: AbortSignal): Promise<void>;
  /** Process ids, for `status` and tests. */
  pids(): readonly number[];
}

interface Hand {
  readonly number: number;
  readonly worker: Worker;
  readonly call: Caller<WorkerVerbs>;
  /** `open`: carries the routes. Only such ones are asked for anything. */
  state: 'starting' | 'open' | 'leaving';
}

/** `auto`: a process a core; one core needs no second process. */
export function workerCount(wanted: number | 'auto', cores: number = availableParallelism()): number {
  if (wanted !== 'auto') return wanted;
  return cores === 1 ? 0 : cores;
}

const firstDelay = 100;
const longestDelay = 10_000;
/** A worker that lived this long did not die of its start. */
const settled = 30_000;

/** Starts the workers with these routes. @throws Fault when one of them cannot open them; then no worker is left. */
export async function startWorkers(plans: readonly RoutePlan[], options: WorkersOptions): Promise<Workers> {
  const pool = new Pool(plans, options);
  try {
    await pool.start();
    return pool;
  } catch (error) {
    await pool[Symbol.asyncDispose]();
    throw error;
  }
}

class Pool implements Workers {
  readonly #options: WorkersOptions;
  readonly #patience: number;
  readonly #hands = new Map<number, Hand>();
  readonly #challenges = new Map<string, Identity>();
  #plans: readonly RoutePlan[];
  #log: WorkerLog;
  #state: 'open' | 'draining' | 'closed' = 'open';
  #delays = new Map<number, number>();
  #timers = new Set<() => void>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(plans: readonly RoutePlan[], options: WorkersOptions) {
    this.#plans = plans;
    this.#options = options;
    this.#log = options.setup.log;
    this.#patience = options.patience ?? 30_000;
    // The kernel deals the connections: a gate process that accepted them all would be the bottleneck (and HOUSE §13's
    // two workers would cost more than one).
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({
      exec: workerFile,
      args: [],
      execArgv: [
        ...process.execArgv.filter(flag => !/^(--test|--inspect|--watch|--input-type|-e)/.test(flag)),
        '--disable-sigusr1',
      ],
      serialization: 'advanced',
    });
  }

  async start(): Promise<void> {
    process.on('exit', this.#atExit);
    const { count } = this.#options;
    // The first alone: a mistake is then told once, and the listening sockets are made once.
    if (count > 0) await this.#hire(1);
    await Promise.all(Array.from({ length: count - 1 }, (_, at) => this.#hire(at + 2)));
  }

  /** Ended by a second signal (128 and above): that means now, for workers too. After a crash they carry on. */
  readonly #atExit = (status: number): void => {
    if (status < 128) return;
    for (const { worker } of this.#hands.values()) worker.process.kill('SIGKILL');
  };

  async #hire(number: number): Promise<void> {
    const { gate, log, setup, clock } = this.#options;
    const worker = cluster.fork({ SEKISHO_WORKER: String(number) });
    const wires = wiresOver(worker as Parameters<typeof wiresOver>[0]);
    const hand: Hand = { number, worker, call: createCaller<WorkerVerbs>(wires.calls), state: 'starting' };
    this.#hands.set(number, hand);
    const started = clock.now().getTime();
    worker.on('error', error => log.warn({ worker: number, error }, 'worker process error'));
    worker.once('exit', (code, signal) => this.#gone(hand, { code, signal }, clock.now().getTime() - started));
    void serveGate(wires.gate, gate, { log: log.child({ worker: number }), worker: number });
    const challenges = [...this.#challenges];
    await hand.call(
      'open',
      { ...setup, log: this.#log, number, plans: this.#plans, challenges },
      AbortSignal.timeout(this.#patience),
    );
    hand.state = 'open';
    log.debug({ worker: number, pid: worker.process.pid }, 'worker carries the routes');
  }

  #gone(hand: Hand, how: { code: number | null; signal: string | null }, lived: number): void {
    const { number } = hand;
    const { log, clock } = this.#options;
    const wasOpen = hand.state === 'open';
    if (this.#hands.get(number) === hand) this.#hands.delete(number);
    if (this.#state !== 'open' || hand.state === 'leaving' || !wasOpen) return;
    if (lived > settled) this.#delays.delete(number);
    const delay = this.#delays.get(number) ?? 0;
    log.error({ worker: number, ...how, delay }, 'a worker died; its connections are lost, and it is replaced');
    this.#replace(number, delay, clock);
  }

  #replace(number: number, delay: number, clock: Clock): void {
    // Half of it by chance, so that workers that die together do not come back together.
    const wait = delay / 2 + Math.random() * (delay / 2);
    this.#delays.set(number, Math.min(Math.max(delay * 2, firstDelay), longestDelay));
    const cancel = clock.after(wait, () => {
      this.#timers.delete(cancel);
      // In the queue of reloads: a newcomer must not start with the plans of before.
      this.#queue(() => this.#hire(number)).catch(error => {
        this.#options.log.error({ worker: number, error }, 'a worker cannot be replaced; trying again');
        const failed = this.#hands.get(number);
        failed?.worker.kill('SIGKILL');
        this.#hands.delete(number);
        if (this.#state === 'open') this.#replace(number, this.#delays.get(number) ?? firstDelay, clock);
      });
    });
    this.#timers.add(cancel);
  }

  #queue<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  reload(plans: readonly RoutePlan[]): Promise<void> {
    return this.#queue(async () => {
      const before = this.#plans;
      const done: Hand[] = [];
      try {
        // One first: what it cannot open, the others need not try. Then all of them; going back is by difference as
        // well, so that nobody's connections notice.
        const [first, ...rest] = this.#open();
        if (first) {
          done.push(first);
          await this.#ask(first, 'reload', { plans });
        }
        done.push(...rest);
        await allOrFirstFault(rest.map(hand => this.#ask(hand, 'reload', { plans })));
        this.#plans = plans;
      } catch (error) {
        await Promise.allSettled(done.map(hand => this.#ask(hand, 'reload', { plans: before })));
        throw error;
      }
    });
  }

  async challenge(name: string, identity: Identity | undefined): Promise<void> {
    if (identity) this.#challenges.set(name, identity);
    else this.#challenges.delete(name);
    await Promise.all(this.#open().map(hand => this.#ask(hand, 'challenge', { name, identity })));
  }

  async reopen(): Promise<void> {
    await Promise.allSettled(this.#open().map(hand => this.#ask(hand, 'reopen', undefined)));
  }

  async setLog(to: WorkerLog): Promise<void> {
    this.#log = to; // for those who come later
    await Promise.allSettled(this.#open().map(hand => this.#ask(hand, 'log', to)));
  }

  async states(): Promise<readonly (readonly RouteState[])[]> {
    return this.#gather('state');
  }

  async metrics(): Promise<readonly unknown[]> {
    return this.#gather('metrics');
  }

  async lapsed(): Promise<readonly Lapsed[]> {
    return (await this.#gather('lapsed')).flat();
  }

  /** A worker that dies or hangs while it is asked must not take the answer of the others with it. */
  async #gather<Name extends 'state' | 'metrics' | 'lapsed'>(
    verb: Name,
  ): Promise<Awaited<ReturnType<WorkerVerbs[Name]>>[]> {
    const soon = AbortSignal.timeout(Math.min(2000, this.#patience));
    const answers = await Promise.allSettled(this.#open().map(hand => hand.call(verb, undefined as never, soon)));
    return answers.flatMap(answer => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    for (const cancel of this.#timers) cancel();
    await this.#turn;
    await Promise.all(
      [...this.#hands.values()].map(async hand => {
        hand.state = 'leaving';
        const gone = exited(hand.worker);
        const now = (): void => void hand.call('cut', undefined).catch(() => {});
        if (deadline.aborted) now();
        deadline.addEventListener('abort', now, { once: true });
        await hand.call('drain', undefined).catch(() => {});
        deadline.removeEventListener('abort', now);
        hand.worker.disconnect();
        const kill = this.#options.clock.after(2000, () => hand.worker.kill('SIGKILL'));
        await gone;
        kill();
      }),
    );
    this.#state = 'closed';
    process.off('exit', this.#atExit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'closed';
    process.off('exit', this.#atExit);
    for (const cancel of this.#timers) cancel();
    const hands = [...this.#hands.values()];
    for (const hand of hands) {
      hand.state = 'leaving';
      hand.worker.process.kill('SIGKILL');
    }
    await Promise.all(hands.map(hand => exited(hand.worker)));
  }

  pids(): readonly number[] {
    return this.#open().map(hand => hand.worker.process.pid ?? 0);
  }

  #open(): Hand[] {
    return [...this.#hands.values()].filter(({ state }) => state === 'open');
  }

  async #ask<Name extends keyof WorkerVerbs & string>(
    hand: Hand,
    verb: Name,
    argument: Parameters<WorkerVerbs[Name]>[0],
  ): Promise<void> {
    try {
      await hand.call(verb, argument, AbortSignal.timeout(this.#patience));
    } catch (error) {
      // It died meanwhile: its replacement starts with what is decided now.
      if (!(error instanceof Fault && error.code === 'gone')) throw error;
    }
  }
}

const exited = (worker: Worker): Promise<unknown> =>
  worker.isDead() ? Promise.resolve() : new Promise(resolve => worker.once('exit', resolve));

/** Waits for all, then throws the first failure: nobody may still be changing while the others go back. */
async function allOrFirstFault(work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(result => result.status === 'rejected');
  if (failed) throw failed.reason;
}

/** Sources run as .ts, a build as .js; the worker stands beside this file either way. */
const workerFile = fileURLToPath(import.meta.url).replace(/workers(\.\w+)$/, 'worker-main$1');
