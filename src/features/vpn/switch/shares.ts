// Who has had how much of a port that cannot keep up: fair shares by approximation. While a port is under pressure, whoever
// has had more of it than the others lately has to stand back; nobody does while there is room.

/** Milliseconds after which what was had counts half. */
const halfLife = 64;
/** Bytes below which a share is forgotten. */
const least = 512;
/** From this part of its room on, a port is under pressure. */
const pressed = 0.5;

interface Share {
  bytes: number;
}

export class Shares {
  readonly #shares = new Map<number, Share>();
  #total = 0;
  #halved = 0;
  /** Frames come in runs from one sender. */
  #last: Share = { bytes: 0 };
  #lastId = -1;

  /**
   * A frame of this sender for a port that is full to `pressure` (0 to 1).
   * @returns false when it is dropped, so that others have their share
   */
  take(sender: number, bytes: number, pressure: number, now: number): boolean {
    if (now - this.#halved >= halfLife) this.#halve(now);
    const share = this.#of(sender);
    if (pressure >= pressed && share.bytes * this.#shares.size > this.#total) return false;
    share.bytes += bytes;
    this.#total += bytes;
    return true;
  }
  /** Senders that have had something lately. */
  get size(): number {
    return this.#shares.size;
  }

  #of(sender: number): Share {
    if (sender === this.#lastId) return this.#last;
    let share = this.#shares.get(sender);
    if (share === undefined) {
      share = { bytes: 0 };
      this.#shares.set(sender, share);
    }
    this.#lastId = sender;
    this.#last = share;
    return share;
  }
  #halve(now: number): void {
    const factor = 0.5 ** Math.min(30, Math.floor((now - this.#halved) / halfLife));
    this.#halved = now;
    this.#total = 0;
    this.#lastId = -1;
    for (const [sender, share] of this.#shares) {
      share.bytes *= factor;
      if (share.bytes < least) this.#shares.delete(sender);
      else this.#total += share.bytes;
    }
  }
}
