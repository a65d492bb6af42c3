// A place on a hub, as a port: logs in, carries frames, and comes back by itself when the line or the gate was away.
import { createHash, createPrivateKey, randomBytes, randomInt, sign, X509Certificate } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../../../core/clock.ts';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Log } from '../../../core/parts.ts';
import { type Pack, type PackFields, packBool, packData, packInt, packText } from '../../../wire/softether-pack.ts';
import type { HubPort } from '../hub.ts';
import { answerChallenge, hashPassword } from '../softether/sha0.ts';
import { Carrier, ways } from './carrier.ts';
import { errorOf, type Greeted, greet, say, type Target } from './connect.ts';
import { mayHelp, numberOf, refusalOf } from './refusals.ts';

export type Proof =
  /** SoftEther's form: a hash that is bound to the server's challenge. */
  | { readonly kind: 'password'; readonly password: string }
  /** As it is, inside TLS: where the server checks it elsewhere. */
  | { readonly kind: 'plain'; readonly password: string }
  /** PEM. */
  | { readonly kind: 'certificate'; readonly cert: string; readonly key: string }
  | { readonly kind: 'anonymous' };

export interface MembershipOptions {
  readonly target: Target;
  readonly hub: string;
  readonly user: string;
  readonly proof: Proof;
  /** TCP connections, 1 to 32; the server may allow fewer. */
  readonly connections: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly onState?: (state: MemberState) => void;
}
export type MemberState =
  | { readonly state: 'joined'; readonly session: string; readonly product: string; readonly message: string }
  /** `retry`: milliseconds until the next try. */
  | { readonly state: 'away'; readonly reason: string; readonly retry: number };

interface Welcome {
  readonly session: string;
  readonly key: Buffer;
  /** Milliseconds. */
  readonly timeout: number;
  readonly connections: number;
  readonly message: string;
}

/** Milliseconds: between two tries, at first and at most; between further connections; a session that counts as stable. */
const pace = { first: 500, most: 30_000, further: 1000, stable: 30_000 } as const;

/** The first login. @throws Fault for a refusal, with what to do; `unreachable`, `timeout` */
export async function joinHub(options: MembershipOptions): Promise<Membership> {
  const membership = new Membership(options);
  await membership.open();
  return membership;
}

export class Membership implements HubPort {
  readonly name: string;
  readonly #options: MembershipOptions;
  readonly #life = new AbortController();
  readonly #signal: AbortSignal;
  readonly #ended = Promise.withResolvers<Fault | undefined>();
  #carrier: Carrier | undefined;
  #welcome: Welcome | undefined;
  #deliver: (frames: readonly Uint8Array[]) => void = () => {};
  #onSession: () => void = () => {};
  #running: Promise<void> = Promise.resolve();

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.name = `${options.hub}/${options.user}`;
    this.#signal = AbortSignal.any([options.signal, this.#life.signal]);
  }
  /** Resolves when it is over: with the fault that ended it, or nothing when it was asked to end. */
  get ended(): Promise<Fault | undefined> {
    return this.#ended.promise;
  }
  get connections(): number {
    return this.#carrier?.size ?? 0;
  }
  /** Told when a new session has begun: what the hub knew of us before may be forgotten. */
  onSession(call: () => void): void {
    this.#onSession = call;
  }

  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = frames => {
      for (const frame of frames) deliver(frame);
    };
  }
  receiveBatch(deliver: (frames: readonly Uint8Array[]) => void): void {
    this.#deliver = deliver;
  }
  send(frame: Uint8Array): boolean {
    return this.sendBatch([frame]) === 1;
  }
  sendBatch(frames: readonly Uint8Array[]): number {
    return this.#carrier?.send(frames) ?? 0;
  }

  async open(): Promise<void> {
    await this.#login();
    this.#running = this.#live().then(
      () => this.#ended.resolve(undefined),
      error => this.#ended.resolve(this.#signal.aborted ? undefined : toFault(error)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#life.abort(new Fault('gone', 'the membership was ended'));
    await this.#carrier?.close();
    await this.#running;
  }

  /** Until it is ended, or refused in a way that trying again does not help. */
  async #live(): Promise<void> {
    let tries = 0;
    for (;;) {
      const since = this.#now();
      await untilAborted(this.#carrier?.emptied ?? Promise.resolve(), this.#signal);
      if (this.#signal.aborted) return void (await this.#carrier?.close());
      if (this.#now() - since >= pace.stable) tries = 0;
      await this.#comeBack(() => tries++);
    }
  }

  /** First with the session's own key, which the server keeps for a while; then with a new login. */
  async #comeBack(next: () => number): Promise<void> {
    const since = this.#now();
    let reason = 'the connection to the hub broke';
    for (;;) {
      const tries = next();
      const most = Math.min(pace.most, pace.first * 2 ** Math.min(tries, 10));
      const retry = randomInt(Math.ceil(most / 2), most + 1);
      this.#options.onState?.({ state: 'away', reason, retry });
      await wait(retry, undefined, { signal: this.#signal });
      if (this.#welcome && this.#now() - since > this.#welcome.timeout) this.#welcome = undefined;
      try {
        return await (this.#welcome ? this.#resume(this.#welcome) : this.#login());
      } catch (error) {
        this.#signal.throwIfAborted();
        if (numberOf(error) === 13) this.#welcome = undefined;
        else if (!mayHelp(error)) throw error;
        reason = toFault(error).message;
        this.#options.log.debug({ error }, 'not on the hub yet');
      }
    }
  }

  async #login(): Promise<void> {
    const { target, hub, user, connections } = this.#options;
    const greeted = await greet(target, this.#signal);
    const { conn, product } = greeted;
    try {
      const pack = await say(greeted, target.host, this.#request(greeted, connections), this.#signal);
      const number = errorOf(pack);
      if (number !== 0) throw refusalOf(number, `${user || 'anonymous'} cannot join the hub ${hub} on ${target.host}`);
      const welcome = welcomeOf(pack, connections);
      this.#welcome = welcome;
      this.#carry(welcome).add(conn, 'both');
      const { session, message } = welcome;
      this.#options.onState?.({ state: 'joined', session, product, message });
      this.#onSession();
    } catch (error) {
      conn.stream.destroy();
      throw error;
    }
  }

  /** The session goes on, at the hub as well: the same port, the same addresses. */
  async #resume(welcome: Welcome): Promise<void> {
    const greeted = await greet(this.#options.target, this.#signal);
    const way = await this.#further(greeted, welcome);
    this.#carry(welcome).add(greeted.conn, way);
    const { session, message } = welcome;
    this.#options.onState?.({ state: 'joined', session, product: greeted.product, message });
  }

  /** @throws Fault, number 13 when the session is over */
  async #further(greeted: Greeted, { key }: Welcome): Promise<(typeof ways)[number]> {
    const { target } = this.#options;
    try {
      const fields = { method: 'additional_connect', session_key: key, ...client };
      const pack = await say(greeted, target.host, fields, this.#signal);
      if (errorOf(pack) !== 0) throw refusalOf(errorOf(pack), 'a further connection');
      return ways[packInt(pack, 'direction')] ?? 'both';
    } catch (error) {
      await greeted.conn.close(AbortSignal.timeout(1000));
      throw error;
    }
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
  #carry(welcome: Welcome): Carrier {
    const { clock } = this.#options;
    const carrier = new Carrier({ timeout: welcome.timeout, clock, deliver: frames => this.#deliver(frames) });
    this.#carrier = carrier;
    if (welcome.connections > 1) void this.#fill(carrier, welcome).catch(() => {});
    return carrier;
  }
  /** Opens further connections one by one, for as long as this carrier lives. */
  async #fill(carrier: Carrier, welcome: Welcome): Promise<void> {
    const over = carrier.emptied.then(() => 'over' as const);
    for (;;) {
      const pause = wait(pace.further, 'go' as const, { signal: this.#signal, ref: false });
      if ((await Promise.race([pause, over])) === 'over') return;
      if (carrier.size >= welcome.connections) continue;
      try {
        const greeted = await greet(this.#options.target, this.#signal);
        const way = await this.#further(greeted, welcome);
        if (this.#carrier !== carrier || carrier.size === 0) return greeted.conn.close(AbortSignal.timeout(1000));
        carrier.add(greeted.conn, way);
      } catch (error) {
        this.#options.log.debug({ error }, 'a further connection was not made');
        if (numberOf(error) !== 0) return;
      }
    }
  }

  #request(greeted: Greeted, connections: number): PackFields {
    const { hub, user, proof } = this.#options;
    return {
      ...{ method: 'login', hubname: hub, username: user, ...proofOf(proof, user, greeted.random) },
      ...{ hello: client.client_str, version: client.client_ver, build: client.client_build, ...client },
      ...{ protocol: 0, max_connection: connections, use_encrypt: 1, use_compress: 0, half_connection: 0, qos: 0 },
      ...{ require_bridge_routing_mode: 0, require_monitor_mode: 0 },
      unique_id: createHash('sha1').update(`sekisho ${hostname()}`).digest(),
      UniqueId: randomBytes(16),
      ...{ ClientHostname: hostname().slice(0, 200), ClientOsName: process.platform },
    };
  }
}

/** A product whose name says "server" or "bridge" would be taken for a cascade. */
const client = { client_str: 'Sekisho VPN Client', client_ver: 501, client_build: 9674 } as const;

function proofOf(proof: Proof, user: string, random: Buffer): PackFields {
  switch (proof.kind) {
    case 'password':
      return { authtype: 1, secure_password: answerChallenge(hashPassword(user, proof.password), random) };
    case 'plain':
      return { authtype: 2, plain_password: proof.password };
    case 'certificate':
      return {
        authtype: 3,
        cert: new X509Certificate(proof.cert).raw,
        sign: sign('sha1', random, createPrivateKey(proof.key)), // PKCS #1 v1.5 over SHA-1 is the protocol's
      };
    case 'anonymous':
      return { authtype: 0 };
  }
}

/** @throws Fault `protocol` for one that we cannot go on from */
function welcomeOf(pack: Pack, wished: number): Welcome {
  const key = packData(pack, 'session_key');
  const timeout = packInt(pack, 'timeout');
  if (packBool(pack, 'Redirect')) throw new Fault('protocol', 'the server is a cluster, which this client cannot join');
  if (key?.length !== 20 || timeout < 1000 || timeout > 600_000)
    throw new Fault('protocol', 'the server’s welcome lacks what a session needs');
  if (!packBool(pack, 'use_encrypt')) throw new Fault('protocol', 'the server wants to go on without encryption');
  if (packBool(pack, 'use_compress')) throw new Fault('protocol', 'the server wants to compress, unasked');
  return {
    session: packText(pack, 'session_name'),
    key: Buffer.from(key),
    timeout,
    connections: Math.max(1, Math.min(wished, packInt(pack, 'max_connection') || 1)),
    message: (packData(pack, 'Msg') ?? Buffer.alloc(0)).toString('utf8').slice(0, 4000),
  };
}

/** Resolves with the first of the two. */
function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  signal.addEventListener('abort', stop, { once: true });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', stop));
}
