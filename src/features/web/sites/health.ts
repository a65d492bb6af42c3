// Asks services now and then whether they are there; what it finds is shown, and requests are tried all the same.
import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Conn, Gate, Log, Metrics, Principal, Session } from '../../../core/parts.ts';
import { AnswerParser } from '../llhttp.ts';
import type { Site, SitePlan, Sites } from './map.ts';

export type HealthState = 'unknown' | 'up' | 'down';

export interface SiteHealthDeps {
  readonly gate: Gate;
  readonly reach: (site: Site, session: Session, signal: AbortSignal) => Promise<Conn>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The gate itself, when it looks after a site. */
const prober: Principal = { kind: 'node', id: '', groups: [], attributes: new Map(), credential: '' };
/** Milliseconds for one question. */
const patience = 5000;
/** Bytes of an answer's head, at most. */
const mostHead = 65_536;

export class SiteHealth {
  readonly #deps: SiteHealthDeps;
  readonly #states = new Map<string, HealthState>();
  #end = new AbortController();

  constructor(deps: SiteHealthDeps) {
    this.#deps = deps;
  }

  state(key: string): HealthState {
    return this.#states.get(key) ?? 'unknown';
  }

  /** Looks after these sites from now on, and no others. A name with a hole in it is many services and none of them. */
  watch(sites: Sites): void {
    this.stop();
    this.#end = new AbortController();
    for (const plan of sites.plans) {
      const site = plan.health && /[*{]/.test(plan.name.text) === false ? sites.find(plan.name.text) : undefined;
      if (site) void this.#look(site, plan, this.#end.signal);
      else this.#states.delete(plan.key);
    }
  }

  stop(): void {
    this.#end.abort();
  }

  /** All questions to a site are one session of the gate's own: the audit has one record, an operator can cut it. */
  async #look(site: Site, { key, health }: SitePlan, signal: AbortSignal): Promise<void> {
    const { gate, clock, log } = this.#deps;
    if (!health) return;
    try {
      await using session = await gate.admit({
        ...{ who: prober, action: 'web.check', resource: site.resource, opened: site.resource },
        from: { path: 'gate' },
      });
      const end = AbortSignal.any([signal, session.signal]);
      while (!end.aborted) {
        const error = await this.#ask(
          site,
          health.path,
          session,
          AbortSignal.any([end, AbortSignal.timeout(patience)]),
        );
        if (end.aborted) return;
        this.#note(key, error);
        await wait(health.interval * (0.9 + randomInt(200) / 1000), clock, end);
      }
    } catch (error) {
      log.warn({ error, site: site.name }, 'a site is no longer looked after');
    }
  }

  #note(key: string, error: unknown): void {
    const now: HealthState = error === undefined ? 'up' : 'down';
    if (this.#states.get(key) === now) return;
    this.#states.set(key, now);
    this.#deps.metrics.count('web_site_health_total', { site: key, state: now });
    const facts = { site: key, ...(error === undefined ? {} : { error }) };
    if (now === 'up') this.#deps.log.info(facts, 'the service of a site answers');
    else this.#deps.log.warn(facts, 'the service of a site does not answer');
  }

  /** Undefined when it answered with anything below 500. */
  async #ask(site: Site, path: string, session: Session, signal: AbortSignal): Promise<unknown> {
    let conn: Conn | undefined;
    try {
      conn = await this.#deps.reach(site, session, signal);
      if (site.plan.protocol === 'h2') return undefined; // it is there, and that is all that can be asked of any of them
      const status = await statusFrom(conn, path, site, signal);
      return status < 500 ? undefined : new Fault('unreachable', `it answers ${status}`);
    } catch (error) {
      return error;
    } finally {
      conn?.stream.destroy();
    }
  }
}

function statusFrom(conn: Conn, path: string, site: Site, signal: AbortSignal): Promise<number> {
  const socket = conn.stream as Socket;
  return new Promise((resolve, reject) => {
    const parser = new AnswerParser(mostHead, {
      head({ status }) {
        if (status < 200) return 'no-body';
        resolve(status);
        return 'stop';
      },
      body() {},
      end() {},
    });
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    socket.on('data', (chunk: Buffer) => {
      const read = parser.read(chunk);
      if (typeof read !== 'number') reject(read);
    });
    socket.once('close', () => {
      parser.close();
      reject(new Fault('unreachable', 'it broke the connection off'));
    });
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${site.authority ?? site.name}\r\nUser-Agent: sekisho\r\nConnection: close\r\n\r\n`,
    );
  });
}

function wait(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve();
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    const stop = (): void => {
      cancel();
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
  });
}
