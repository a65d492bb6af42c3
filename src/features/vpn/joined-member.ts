// What every member on a hub has in common, whatever protocol carries him: a plug, a policy, a count, and an end.
import type { EndReason } from '../../core/parts.ts';
import type { Attached, HubPort, PortPolicy } from './hub.ts';
import type { LiveMember, MemberEnd, MemberProtocol } from './live-member.ts';

/** Milliseconds. */
const tick = 1000;

export abstract class JoinedMember<Options extends LiveMember['options']> implements LiveMember {
  abstract readonly protocol: MemberProtocol;
  abstract readonly established: number;
  abstract readonly connections: LiveMember['connections'];
  readonly name: string;
  readonly options: Options;
  readonly since: Date;
  lastFrame: Date;
  readonly bytes: { up: number; down: number; dropped: number } = { up: 0, down: 0, dropped: 0 };
  readonly #ended = Promise.withResolvers<MemberEnd>();
  #counted = { up: 0, down: 0 };
  #state: 'open' | 'closed' = 'open';
  #policy: PortPolicy;
  #attached: Attached | undefined;
  #stopTick: () => void = () => {};
  #stopEnd: () => void = () => {};

  constructor(options: Options) {
    this.options = options;
    this.name = options.name;
    this.#policy = options.policy;
    this.since = options.clock.now();
    this.lastFrame = this.since;
  }

  get ended(): Promise<MemberEnd> {
    return this.#ended.promise;
  }
  get isOpen(): boolean {
    return this.#state === 'open';
  }
  get policy(): PortPolicy {
    return this.#policy;
  }
  get attached(): Attached | undefined {
    return this.#attached;
  }
  setPolicy(policy: PortPolicy): void {
    this.#policy = policy;
    if (!policy.security.access) void this.end('revoked');
    else this.#attached?.setPolicy(policy);
  }

  async end(why: MemberEnd): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopTick();
    this.#stopEnd();
    this.#count();
    await this.leave(why);
    const attached = this.#attached;
    this.#attached = undefined;
    await attached?.[Symbol.asyncDispose]();
    this.left();
    this.#ended.resolve(why);
  }
  abstract closed(): Promise<void>;
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('closed');
  }

  /** On the hub from here on: to be called once, when everything that frames need is there. */
  protected plugIn(port: HubPort): void {
    const { hub, policy, clock, session } = this.options;
    this.#attached = hub.attach(port, policy);
    this.#beat();
    const { autoDisconnect } = policy.security;
    if (autoDisconnect > 0)
      this.#stopEnd = clock.after(autoDisconnect * 1000, () => void this.end('auto-disconnected'));
    const { signal } = session;
    const cut = (): void => void this.end(signal.reason as EndReason);
    if (signal.aborted) cut();
    else signal.addEventListener('abort', cut, { once: true });
  }
  protected now(): number {
    return this.options.clock.now().getTime();
  }
  /** Each second. */
  protected abstract look(now: number): void;
  /** Says goodbye, while it is still plugged in. */
  protected abstract leave(why: MemberEnd): Promise<void>;
  /** Gives back what it had. */
  protected left(): void {}

  #beat(): void {
    this.#stopTick = this.options.clock.after(tick, () => {
      this.#count();
      this.look(this.now());
      if (this.isOpen) this.#beat();
    });
  }
  /** The session's bytes, added up now and then. */
  #count(): void {
    const { up, down } = this.bytes;
    this.options.session.count('up', up - this.#counted.up);
    this.options.session.count('down', down - this.#counted.down);
    this.#counted = { up, down };
  }
}
