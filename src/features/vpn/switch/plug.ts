// One port that is plugged into a switch: its policy compiled, what it sent and got, the frames that wait for it.
import type { FrameView } from '../../../wire/frame-view.ts';
import type { HubPort, PortCounts, PortPolicy, Traffic } from '../hub.ts';
import type { SourceFilter } from './filter.ts';
import { Bucket, StormLimiter } from './limits.ts';
import { type CompiledPolicy, compilePolicy } from './policy.ts';
import { Shares } from './shares.ts';

/**
 * A port of the hub's own that takes each frame as it comes, with who sent it, instead of a queue; `turn` is called when
 * the event loop's turn ends. What it sends in answer, it sends in `turn` or later, never in `take`: the view is shared.
 */
export interface ServicePort extends HubPort {
  take(view: FrameView, from: Plug): void;
  turn(): void;
}
export const isService = (port: HubPort): port is ServicePort => 'take' in port;

/** Frames that wait for a port within one turn; further ones are dropped. */
const queueLimit = 2048;
/** Group frames, and frames to unknown targets, that one port may have flooded: in a second, and at once. */
const floods = { group: [1024, 256], unknown: [8192, 512] } as const;

export class Plug {
  readonly id: number;
  readonly port: HubPort;
  readonly service: ServicePort | undefined;
  readonly created: number;
  policy!: PortPolicy;
  rules!: CompiledPolicy;
  filter: SourceFilter | undefined;
  state: 'in' | 'out' = 'in';
  /** Addresses in the tables. */
  macs = 0;
  ips = 0;
  ips6 = 0;
  /** The last sender that was learned here: a port hardly ever has a second one. */
  macHigh = -1;
  macLow = -1;
  macVlan = -1;
  macSlot = -1;
  macGeneration = -1;
  ip = -1;
  ipSlot = -1;
  ipGeneration = -1;
  queue: Uint8Array[] = [];
  #spare: Uint8Array[] = [];
  readonly #shares = new Shares();
  isWaiting = false;
  upload: Bucket | undefined;
  download: Bucket | undefined;
  storm: StormLimiter | undefined;
  groups: Bucket | undefined;
  unknown: Bucket | undefined;
  readonly up: Counter = new Counter();
  readonly down: Counter = new Counter();
  dropped = 0;

  constructor(id: number, port: HubPort, policy: PortPolicy, now: number) {
    this.id = id;
    this.port = port;
    this.service = isService(port) ? port : undefined;
    this.created = now;
    this.setPolicy(policy, now);
  }

  setPolicy(policy: PortPolicy, now: number): void {
    const { maxUpload, maxDownload, noBroadcastLimiter } = policy.security;
    this.policy = policy;
    this.rules = compilePolicy(policy);
    this.upload = rate(maxUpload, now);
    this.download = rate(maxDownload, now);
    const limited = policy.kind === 'member' && !noBroadcastLimiter;
    this.storm = limited || policy.kind === 'bridge' ? (this.storm ?? new StormLimiter()) : undefined;
    this.groups = limited ? new Bucket(...floods.group, now) : undefined;
    this.unknown = limited ? new Bucket(...floods.unknown, now) : undefined;
    if (noBroadcastLimiter) this.storm = undefined;
    this.macGeneration = this.ipGeneration = -1;
  }

  /** @returns false when its queue is full, or when the sender has had more of it than others */
  push(frame: Uint8Array, sender: number, now: number): boolean {
    const waiting = this.queue.length;
    if (waiting >= queueLimit) return false;
    const pressure = waiting / queueLimit + (this.port.backlog?.() ?? 0);
    if (!this.#shares.take(sender, frame.length, pressure, now)) return false;
    this.queue.push(frame);
    return true;
  }
  /** Hands the waiting frames to the port, which may drop some. */
  flush(): void {
    const frames = this.queue;
    this.isWaiting = false;
    if (frames.length === 0) return;
    this.queue = this.#spare;
    if (this.port.sendBatch) this.dropped += frames.length - this.port.sendBatch(frames);
    else for (const frame of frames) if (!this.port.send(frame)) this.dropped++;
    frames.length = 0;
    this.#spare = frames;
  }
  counts(): PortCounts {
    return { up: this.up.read(), down: this.down.read(), dropped: this.dropped };
  }
}

export class Counter {
  unicastBytes = 0;
  unicastFrames = 0;
  broadcastBytes = 0;
  broadcastFrames = 0;

  add(isGroup: boolean, bytes: number): void {
    if (isGroup) {
      this.broadcastFrames++;
      this.broadcastBytes += bytes;
    } else {
      this.unicastFrames++;
      this.unicastBytes += bytes;
    }
  }
  read(): Traffic {
    const { unicastBytes, unicastFrames, broadcastBytes, broadcastFrames } = this;
    return { unicastBytes, unicastFrames, broadcastBytes, broadcastFrames };
  }
}

/** Bits per second with a fifth of a second of burst, but at least room for some frames. */
const rate = (bits: number, now: number): Bucket | undefined =>
  bits === 0 ? undefined : new Bucket(bits / 8, Math.max(16_384, bits / 40), now);
