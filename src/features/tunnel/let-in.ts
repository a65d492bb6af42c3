// Letting the two sides of a tunnel in: the token, the admission, one use of it; then the side's stay.
import type { Principal, Session } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import type { TunnelConfig } from './config.ts';
import type { TunnelDeps } from './deps.ts';
import { type Knock, Refusal } from './door.ts';
import { type KnownTunnels, type Live, wholeNow } from './known.ts';
import { TunnelMux } from './mux.ts';
import type { SideRecord } from './record.ts';
import { hashOf, type SideName, sideNames, tokenRefusal } from './token.ts';

/** How long a side that the gate itself has sent away may come back: localproxy may notice with its next ping. */
const recall = 2 * 60_000;

export class Sides {
  readonly #config: TunnelConfig;
  readonly #deps: TunnelDeps;
  readonly #known: KnownTunnels;
  #isOpen = true;

  constructor(config: TunnelConfig, deps: TunnelDeps, known: KnownTunnels) {
    this.#config = config;
    this.#deps = deps;
    this.#known = known;
  }

  /** Nobody new. */
  close(): void {
    this.#isOpen = false;
  }

  /** Until the side is gone. @throws Refusal, Fault */
  async admit(knock: Knock, open: () => Promise<MessagePipe>): Promise<void> {
    const { gate, guesses, log } = this.#deps;
    const { side, from, token } = knock;
    if (!this.#isOpen) throw new Refusal(503, 'The gate is shutting down; try again in a moment.');
    const hash = hashOf(token);
    const known = this.#known.byHash(hash);
    if (!known) {
      // Only what is wrong counts: a flood of wrong tokens must not lock out whoever shares the address.
      await guesses?.check(from);
      await guesses?.failed(from);
      this.#refuse(knock, 'tunnel/*', 'an unknown token');
      throw new Refusal(403, 'Invalid access token: It opens no tunnel of this gate.');
    }
    const { live } = known;
    const { id } = live.record;
    const resource = `tunnel/${id}`;
    if (known.side !== side) {
      this.#refuse(knock, resource, 'a token of the other side');
      throw new Refusal(
        403,
        `Invalid access token: It is for the ${known.side} side, and local-proxy-mode says ${side}.`,
      );
    }
    if (live.record.closed !== undefined) {
      this.#refuse(knock, resource, 'the tunnel is closed');
      throw new Refusal(410, 'Invalid access token: The tunnel is closed.');
    }
    const before = live.record.sides[side];
    const host = 'host' in from ? from.host : '';
    const now = wholeNow(this.#deps.clock);
    const client = knock.clientToken === undefined ? undefined : hashOf(knock.clientToken);
    const refusal = tokenRefusal(before, { client, from: host, now, isTaken: this.#isTaken(client, id, side) });
    if (refusal !== undefined) {
      this.#refuse(knock, resource, refusal);
      throw new Refusal(400, refusal);
    }
    // Taken before anything is waited for: of two that come at once with a token for one use, one gets in.
    const taken: SideRecord = {
      ...before,
      ...{ spent: before.spent ?? now, client: before.client ?? client, comeback: undefined, from: host },
    };
    this.#known.setSide(live, side, taken);
    let session: Session | undefined;
    try {
      session = await gate.admit({
        who: tokenPrincipal(id, side, hash),
        ...{ action: 'tunnel.join', resource, from, opened: resource },
      });
      await this.#known.writeSide(live, side);
      const pipe = await open();
      if (side === 'destination') live.unused = undefined;
      session.note('side', side);
      session.note('channel', knock.channel);
      session.note('protocol', knock.protocol.name);
      log.info({ tunnel: id, side, from, protocol: knock.protocol.name }, 'a side of a tunnel is connected');
      await this.#stay(live, knock, pipe, session);
    } catch (error) {
      // It was not let in: its token is as good as before, unless somebody has made another one meanwhile.
      if (live.record.sides[side] === taken) {
        this.#known.setSide(live, side, before);
        void this.#known.writeSide(live, side);
      }
      throw error;
    } finally {
      await session?.[Symbol.asyncDispose]();
    }
  }

  async #stay(live: Live, knock: Knock, pipe: MessagePipe, session: Session): Promise<void> {
    const { side, protocol, isLocalproxy } = knock;
    const { pace, limits } = this.#config;
    const { clock, metrics } = this.#deps;
    const mux = new TunnelMux({
      ...{ pipe, place: 'service', services: live.record.services, log: session.log },
      role: side === 'source' ? 'acceptor' : 'opener',
      ...{ dialect: protocol.dialect, extended: protocol.extended },
      // localproxy's buffer is 128 KiB a connection and ends the process when it overflows.
      ...(isLocalproxy && pace > 0 ? { pace: { rate: pace, burst: 64 * 1024 } } : {}),
      limits: { stream: limits.queue, all: limits.queue * 4, streams: limits.connections },
      onStream: stream => void live.broker.carry(stream, session),
      ...(isLocalproxy && side === 'destination' ? { onDeaf: () => this.#recall(live, side, mux) } : {}),
    });
    let heard = clock.now().getTime();
    pipe.heard(() => {
      heard = clock.now().getTime();
    });
    let cancel: () => void = () => {};
    const look = (): void => {
      const now = clock.now().getTime();
      // Who is not read cannot be heard.
      if (mux.isBlocked) heard = now;
      if (now - heard >= limits.silence) mux.destroy();
      else cancel = clock.after(limits.silence / 4, look);
    };
    cancel = clock.after(limits.silence / 4, look);
    metrics.gauge('tunnel_sides', { side }, 1);
    try {
      await live.broker.attach(side, { mux, pipe, session });
    } finally {
      cancel();
      metrics.gauge('tunnel_sides', { side }, -1);
    }
  }

  /** Without a word, so that it comes back at once and begins anew; its token counts once more, from where it is. */
  #recall(live: Live, side: SideName, mux: TunnelMux): void {
    const before = live.record.sides[side];
    const until = new Date(this.#deps.clock.now().getTime() + recall);
    if (before.client === undefined && before.from !== undefined) {
      this.#known.setSide(live, side, { ...before, comeback: { until, from: before.from } });
    }
    mux.destroy();
  }

  #isTaken(client: string | undefined, id: string, side: SideName): boolean {
    if (client === undefined) return false;
    return this.#known
      .opened()
      .some(({ record }) =>
        sideNames.some(name => record.sides[name].client === client && !(record.id === id && name === side)),
      );
  }

  #refuse({ from }: Knock, resource: string, reason: string): void {
    this.#deps.metrics.count('tunnel_refused_total', { code: 'token' });
    this.#deps.gate.refuse({ who: nobody, action: 'tunnel.join', resource, from }, reason);
  }
}

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** Who shows a token: nobody is known but by it. The end of the hash tells one token of a side from the next. */
function tokenPrincipal(id: string, side: SideName, hash: string): Principal {
  const credential = `tunnel:${id}/${side}/${hash.slice(0, 16)}`;
  return { kind: 'token', id: `${id}/${side}`, groups: [], attributes: new Map(), credential };
}
