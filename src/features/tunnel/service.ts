// The verbs of tunnels: opening, listing, rotating, closing, tagging them, telling their device, one connection by the API.
import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import type { Principal, Session } from '../../core/parts.ts';
import type { TunnelConfig } from './config.ts';
import type {
  NewTunnel,
  Notice,
  OpenedTunnel,
  RotatedTokens,
  TunnelDeps,
  TunnelFilter,
  TunnelService,
} from './deps.ts';
import { type Door, openDoor } from './door.ts';
import { freshSide, type KnownTunnels, knowTunnels, type Live, wholeNow } from './known.ts';
import { Sides } from './let-in.ts';
import { idOfArn, type Tag, type TunnelRecord, type TunnelView } from './record.ts';
import { newToken, type SideName } from './token.ts';

export async function openTunnels(config: TunnelConfig, deps: TunnelDeps): Promise<TunnelService> {
  return new Tunnels(config, deps, await knowTunnels(config, deps));
}

class Tunnels implements TunnelService {
  readonly name = 'tunnel';
  readonly door: Door;
  readonly #config: TunnelConfig;
  readonly #deps: TunnelDeps;
  readonly #known: KnownTunnels;
  readonly #sides: Sides;

  constructor(config: TunnelConfig, deps: TunnelDeps, known: KnownTunnels) {
    this.#config = config;
    this.#deps = deps;
    this.#known = known;
    this.#sides = new Sides(config, deps, known);
    this.door = openDoor({ admit: (knock, open) => this.#sides.admit(knock, open), log: deps.log });
  }

  health(): 'ok' {
    return 'ok';
  }

  async open(wanted: NewTunnel, by: Principal): Promise<OpenedTunnel> {
    const { limits } = this.#config;
    this.#checkServices(wanted.services);
    if (this.#known.opened().length >= limits.tunnels) {
      throw new Fault('limit', `${limits.tunnels} tunnels are open already (tunnel.limits.tunnels); close some`);
    }
    const now = wholeNow(this.#deps.clock);
    const lifetime = wanted.lifetime ?? this.#config.lifetime;
    const [sourceToken, destinationToken] = [newToken('source'), newToken('destination')];
    const record: TunnelRecord = {
      ...{ id: randomUUID(), thing: wanted.thing, services: [...wanted.services], description: wanted.description },
      ...{ tags: [...(wanted.tags ?? [])], lifetime, opener: { kind: by.kind, id: by.id || by.credential } },
      ...{ created: now, updated: now, expires: new Date(now.getTime() + lifetime), closed: undefined },
      sides: { source: freshSide(sourceToken), destination: freshSide(destinationToken) },
    };
    const live = await this.#known.add(record);
    live.unused = destinationToken;
    this.#deps.metrics.count('tunnel_opened_total');
    await this.#tell(live, destinationToken);
    return { tunnel: this.#known.view(live), sourceToken, destinationToken };
  }

  list({ thing, state }: TunnelFilter = {}): TunnelView[] {
    const views: TunnelView[] = [];
    for (const live of this.#known.all()) {
      const { record } = live;
      if (thing !== undefined && record.thing !== thing) continue;
      if (state !== undefined && (record.closed === undefined ? 'open' : 'closed') !== state) continue;
      views.push(this.#known.view(live));
    }
    return views.reverse();
  }
  get(id: string): TunnelView {
    return this.#known.view(this.#known.find(id));
  }
  byArn(arn: string): TunnelView {
    const id = idOfArn(arn);
    if (id === undefined) throw new Fault('missing', `${arn} is no tunnel of this gate`);
    return this.get(id);
  }

  async rotate(
    id: string,
    sides: readonly SideName[],
    destination?: { readonly thing?: string | undefined; readonly services: readonly string[] },
  ): Promise<RotatedTokens> {
    const live = this.#known.findOpen(id);
    if (destination) {
      this.#checkServices(destination.services);
      const { thing, services } = destination;
      live.record = { ...live.record, services: [...services], ...(thing === undefined ? {} : { thing }) };
    }
    const tokens: { source?: string; destination?: string } = {};
    for (const side of sides) tokens[side] = await this.#known.renew(live, side);
    await this.#known.change(live);
    if (tokens.destination !== undefined) {
      live.unused = tokens.destination;
      await this.#tell(live, tokens.destination);
    }
    return {
      tunnel: this.#known.view(live),
      ...(tokens.source === undefined ? {} : { sourceToken: tokens.source }),
      ...(tokens.destination === undefined ? {} : { destinationToken: tokens.destination }),
    };
  }

  async close(id: string, { erase = false }: { readonly erase?: boolean } = {}): Promise<void> {
    const live = this.#known.find(id);
    await this.#known.end(live, 'the tunnel was closed');
    if (erase) await this.#known.forget(live);
  }

  async tag(id: string, tags: readonly Tag[]): Promise<void> {
    const live = this.#known.find(id);
    const all = new Map([...live.record.tags, ...tags].map(({ key, value }) => [key, value]));
    if (all.size > 200) throw new Fault('limit', 'a tunnel has at most 200 tags');
    await this.#known.change(live, { tags: [...all].map(([key, value]) => ({ key, value })) });
  }
  async untag(id: string, keys: readonly string[]): Promise<void> {
    const live = this.#known.find(id);
    await this.#known.change(live, { tags: live.record.tags.filter(({ key }) => !keys.includes(key)) });
  }

  async notify(id: string, topic?: string): Promise<{ readonly topic: string; readonly rotated: boolean }> {
    const live = this.#known.findOpen(id);
    const { thing } = live.record;
    if (thing === undefined) throw new Fault('invalid', 'this tunnel was opened without a device; nobody can be told');
    const own = `$aws/things/${thing}/`;
    const to = topic ?? `${own}tunnels/notify`;
    if (!to.startsWith(own) || /[+#\0]/.test(to) || Buffer.byteLength(to) > 512) {
      throw new Fault('invalid', `notices go to topics of the device: ${own}…, without + and #`);
    }
    // A token that was used is worth nothing, and one from before a restart is not known here: then a new one is made.
    let rotated = false;
    if (live.unused === undefined) {
      live.unused = await this.#known.renew(live, 'destination');
      rotated = true;
    }
    await this.#publish(live, live.unused, to);
    return { topic: to, rotated };
  }

  async connect(id: string, service: string | undefined, session: Session): Promise<Duplex> {
    const live = this.#known.findOpen(id);
    const { services } = live.record;
    const wanted = service ?? (services.length <= 1 ? (services[0] ?? '') : undefined);
    if (wanted === undefined || (services.length > 0 ? !services.includes(wanted) : wanted !== '')) {
      const has = services.length === 0 ? 'none, so say none' : services.join(', ');
      throw new Fault('invalid', `say which service of the tunnel is meant; it has: ${has}`);
    }
    return live.broker.reach(wanted, session);
  }

  standing(who: Principal): Principal {
    const [, id = '', side = '', hash = ''] =
      /^tunnel:([^/]+)\/(source|destination)\/(\w+)$/.exec(who.credential) ?? [];
    const live = this.#known.peek(id);
    const current = live?.record.sides[side as SideName];
    if (!live || live.record.closed !== undefined || !current || !current.hash.startsWith(hash)) {
      throw new Fault('unknown-caller', 'this token does not count any more', {
        facts: { credential: who.credential },
      });
    }
    return who;
  }

  /** Best effort: a tunnel whose device cannot be told is open all the same, and `notify` tells it again. */
  async #tell(live: Live, token: string): Promise<void> {
    const { thing, id } = live.record;
    if (thing === undefined) return;
    try {
      await this.#publish(live, token, `$aws/things/${thing}/tunnels/notify`);
    } catch (error) {
      this.#deps.log.warn({ tunnel: id, cause: error }, 'the device could not be told of its tunnel');
    }
  }

  async #publish({ record }: Live, token: string, topic: string): Promise<void> {
    const notifier = this.#deps.notifier?.();
    if (!notifier) throw new Fault('unreachable', 'this gate tells devices nothing (tunnel.mqtt: off)');
    const notice: Notice = {
      ...{ clientAccessToken: token, clientMode: 'destination' },
      ...{ region: this.#config.region, services: record.services },
    };
    await notifier.publish(topic, JSON.stringify(notice));
    this.#deps.metrics.count('tunnel_notices_total');
  }

  #checkServices(services: readonly string[]): void {
    const { limits } = this.#config;
    if (services.length > limits.services) {
      throw new Fault('limit', `a tunnel has at most ${limits.services} services (tunnel.limits.services)`);
    }
    if (new Set(services).size !== services.length) throw new Fault('invalid', 'a service is named twice');
  }

  async drain(deadline: AbortSignal): Promise<void> {
    this.#sides.close();
    await Promise.all(this.#known.all().map(({ broker }) => broker.drain(deadline)));
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#sides.close();
    await this.#known[Symbol.asyncDispose]();
  }
}
