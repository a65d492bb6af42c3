// A virtual switch: the way of a frame from one plug to others. Per frame it allocates nothing; frames are shared, and
// handed to each port in one batch when the event loop's turn ends.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Log, Metrics } from '../../../core/parts.ts';
import { u32 } from '../../../wire/bytes.ts';
import { etherTypes } from '../../../wire/ethernet.ts';
import { FrameView } from '../../../wire/frame-view.ts';
import { tcpFlags } from '../../../wire/tcp.ts';
import type { FilterRule, HubPort, PortCounts, PortPolicy } from '../hub.ts';
import { BadLine } from './bad-line.ts';
import { bindFilter, compileFilter, type FilterLine, firstMatch } from './filter.ts';
import { Counter, Plug } from './plug.ts';
import { withoutDefaultRouter } from './policy.ts';
import { Tables } from './tables.ts';
import { retag, untag } from './vlan.ts';

export interface SwitchDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Plugs of one switch; their numbers fit 16 bits. */
const mostPlugs = 65_000;
/** Rounds of "services act, ports are flushed" in one turn: an answer to an answer goes out in the same turn. */
const rounds = 4;

export class Switch {
  readonly name: string;
  readonly tables: Tables;
  readonly #deps: SwitchDeps;
  readonly #plugs = new Map<number, Plug>();
  /** The same as an array, which is quicker to walk. */
  #list: readonly Plug[] = [];
  #monitors: readonly Plug[] = [];
  #services: readonly Plug[] = [];
  #waiting: Plug[] = [];
  #lastId = 0;
  #lines: readonly FilterLine[] = [];
  readonly #badLine: BadLine;
  readonly #view = new FrameView();
  /** The line of the access list that let the present frame in. */
  #line: FilterLine | undefined;
  /** Milliseconds; looked up once a turn. */
  #now: number;
  #turn: 'idle' | 'asked' | 'running' = 'idle';
  readonly #up = new Counter();
  readonly #down = new Counter();
  #dropped = 0;

  constructor(name: string, deps: SwitchDeps) {
    this.name = name;
    this.#deps = deps;
    this.#now = deps.clock.now().getTime();
    this.tables = new Tables(id => this.#plugs.get(id));
    this.#badLine = new BadLine(deps.clock);
  }

  plug(port: HubPort, policy: PortPolicy): Plug {
    this.#now = this.#deps.clock.now().getTime();
    const plug = new Plug(this.#freeId(), port, policy, this.#now);
    plug.filter = bindFilter(this.#lines, policy);
    this.#plugs.set(plug.id, plug);
    this.#relist();
    if (port.receiveBatch) {
      port.receiveBatch(frames => {
        for (const frame of frames) this.enter(plug, frame);
      });
    } else port.receive(frame => this.enter(plug, frame));
    return plug;
  }
  unplug(plug: Plug): void {
    if (plug.state === 'out') return;
    plug.state = 'out';
    plug.queue.length = 0;
    this.#plugs.delete(plug.id);
    this.tables.forgetPlug(plug);
    this.#relist();
  }
  setPolicy(plug: Plug, policy: PortPolicy): void {
    plug.setPolicy(policy, this.#deps.clock.now().getTime());
    plug.filter = bindFilter(this.#lines, policy);
    this.#relist();
  }
  setFilter(rules: readonly FilterRule[]): void {
    this.#lines = compileFilter(rules);
    for (const plug of this.#list) plug.filter = bindFilter(this.#lines, plug.policy);
  }
  plugs(): readonly Plug[] {
    return this.#list;
  }
  counts(): PortCounts {
    return { up: this.#up.read(), down: this.#down.read(), dropped: this.#dropped };
  }
  /** Forgets what has not been seen for its time. */
  sweep(): void {
    this.tables.sweep(this.#deps.clock.now().getTime());
  }

  /** A frame that `from` sent. */
  enter(from: Plug, given: Uint8Array): void {
    if (this.#turn === 'idle') this.#ask();
    const view = this.#view;
    const { vlanId } = from.policy.security;
    const frame = vlanId === 0 ? given : retag(given, vlanId);
    if (from.state !== 'in' || from.policy.monitor || frame === undefined || !view.read(frame)) {
      this.#drop(from);
      return;
    }
    if (!this.#mayEnter(from, view)) {
      this.#drop(from);
      return;
    }
    from.up.add(view.isGroup, frame.length);
    this.#up.add(view.isGroup, frame.length);
    for (const monitor of this.#monitors) if (monitor !== from) this.#queue(monitor, from, frame);
    this.#forward(from, view, frame);
  }

  /** The order is SoftEther's: rate, policy, access list, learning and its limits, storm. */
  #mayEnter(from: Plug, view: FrameView): boolean {
    const { rules, filter, upload } = from;
    const now = this.#now;
    this.#line = undefined;
    if (upload !== undefined && !isExempt(view) && !upload.take(view.frame.length, now)) return false;
    if (rules.stopsUp?.(view)) return false;
    if (filter !== undefined) {
      if (filter.needsUpper && hidesUpper(view)) return false;
      if (filter.needsIp && view.carried === 'broken') return false;
      this.#line = firstMatch(filter.head, view, undefined);
      if (this.#line !== undefined && !this.#passes(this.#line)) return false;
    }
    if (from.service !== undefined) return true;
    if (!this.tables.learn(from, view, now)) return false;
    if (!view.isGroup) return true;
    const { storm, groups } = from;
    if (storm !== undefined && !storm.pass(u32(view.frame, 8), view.source4, view.target4, now)) return false;
    return groups === undefined || groups.take(1, now);
  }

  #forward(from: Plug, view: FrameView, frame: Uint8Array): void {
    const line = this.#line;
    const tail = line === undefined ? from.filter?.tail : undefined;
    if (line !== undefined && line.delay > 0) {
      // The frame comes back later as if it had just passed.
      const kept = Uint8Array.from(frame);
      this.#badLine.hold(line, () => {
        if (from.state !== 'in' || !view.read(kept)) return;
        if (this.#turn === 'idle') this.#ask();
        this.#deliver(from, view, kept, undefined);
      });
      return;
    }
    this.#deliver(from, view, frame, tail);
  }

  #deliver(from: Plug, view: FrameView, frame: Uint8Array, tail: readonly FilterLine[] | undefined): void {
    if (!view.isGroup) {
      const owner = this.tables.ownerOfMac(view, this.#now);
      if (owner !== undefined) {
        // Both ends are on the same port: it has seen the frame already.
        if (owner !== from) this.#give(owner, from, view, frame, tail);
        return;
      }
      if (from.unknown !== undefined && !from.unknown.take(1, this.#now)) {
        this.#drop(from);
        return;
      }
    }
    for (const plug of this.#list) if (plug !== from) this.#give(plug, from, view, frame, tail);
  }

  /** One receiver: its policy, the privacy of both, the lines about receivers, its rate, its queue. */
  #give(to: Plug, from: Plug, view: FrameView, frame: Uint8Array, tail: readonly FilterLine[] | undefined): void {
    if (to.policy.monitor) return;
    const { rules, policy, download } = to;
    if (rules.stopsDown?.(view) || (policy.security.privacyFilter && from.policy.security.privacyFilter)) {
      this.#drop(to);
      return;
    }
    let out: Uint8Array | undefined = rules.clearsRouterLifetime ? withoutDefaultRouter(view) : frame;
    if (tail !== undefined) {
      const line = firstMatch(tail, view, policy);
      if (line !== undefined && !this.#passes(line)) {
        this.#drop(to);
        return;
      }
      if (line !== undefined && line.delay > 0) {
        const late = Uint8Array.from(out);
        this.#badLine.hold(line, () => this.#queue(to, from, late));
        return;
      }
    }
    if (download !== undefined && !isExempt(view) && !download.take(frame.length, this.#now)) {
      this.#drop(to);
      return;
    }
    if (policy.security.vlanId !== 0 || view.vlan !== 0) {
      out = untag(out, view.vlan, policy.security.vlanId);
      if (out === undefined) return;
    }
    to.down.add(view.isGroup, frame.length);
    this.#down.add(view.isGroup, frame.length);
    if (to.service !== undefined) to.service.take(view, from);
    else this.#queue(to, from, out);
  }

  #passes(line: FilterLine): boolean {
    return !line.discards && (line.loss === 0 || !this.#badLine.loses(line));
  }
  #queue(plug: Plug, from: Plug, frame: Uint8Array): void {
    if (plug.state !== 'in' || !plug.push(frame, from.id, this.#now)) {
      this.#drop(plug);
      return;
    }
    if (!plug.isWaiting) {
      plug.isWaiting = true;
      this.#waiting.push(plug);
    }
    if (this.#turn === 'idle') this.#ask();
  }
  #drop(plug: Plug): void {
    plug.dropped++;
    this.#dropped++;
  }

  /** A service asks for this when something outside the hub gave it something to send. */
  askTurn(): void {
    if (this.#turn === 'idle') this.#ask();
  }
  #ask(): void {
    this.#turn = 'asked';
    this.#now = this.#deps.clock.now().getTime();
    setImmediate(() => this.#run());
  }
  #run(): void {
    this.#turn = 'running';
    for (let round = 0; round < rounds; round++) {
      for (const { service } of this.#services) this.#guard(() => service?.turn());
      const waiting = this.#waiting;
      if (waiting.length === 0) break;
      this.#waiting = [];
      for (const plug of waiting) this.#guard(() => plug.flush());
    }
    this.#turn = 'idle';
    if (this.#waiting.length > 0) this.#ask();
  }

  /** An edge: what fails at one port is logged, and the others get their frames. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#deps.log.error({ hub: this.name, error }, 'a port of the hub failed');
    }
  }

  #relist(): void {
    this.#list = [...this.#plugs.values()];
    this.#monitors = this.#list.filter(({ policy }) => policy.monitor);
    this.#services = this.#list.filter(({ service }) => service !== undefined);
  }
  #freeId(): number {
    if (this.#plugs.size >= mostPlugs) throw new Fault('limit', `the hub ${this.name} has no free port`);
    do this.#lastId = (this.#lastId % mostPlugs) + 1;
    while (this.#plugs.has(this.#lastId));
    return this.#lastId;
  }
}

/** Of ICMP: a ping is smaller, and who fills echoes with data is no better than others. */
const smallIcmp = 256;
/** What a rate never stops, since it keeps the line alive: ARP, ICMP, DHCP, the beginning and the end of TCP. */
const isExempt = (view: FrameView): boolean =>
  view.type === etherTypes.arp ||
  ((view.protocol === 1 || view.protocol === 58) && view.frame.length < smallIcmp) ||
  (view.protocol === 6 &&
    (view.tcpFlags & (tcpFlags.syn | tcpFlags.fin | tcpFlags.rst)) !== 0 &&
    view.frame.length < 128) ||
  (view.protocol === 17 && (view.targetPort === 67 || view.targetPort === 68) && view.frame.length < 1024);

const hidesUpper = (view: FrameView): boolean =>
  view.carried === 'broken' ||
  (view.upper === 0 && (view.protocol === 6 || view.protocol === 17) && !isLaterFragment(view));
const isLaterFragment = ({ carried, frame, network }: FrameView): boolean =>
  carried === 'ipv4' && (((frame[network + 6]! & 0x1f) << 8) | frame[network + 7]!) > 1;
