// Echo (ping) beyond the hub. Node has no ICMP, so the system's `ping`, which may, asks in our place; without it, or
// without an answer, there is none.
import { spawn } from 'node:child_process';

/** Echoes under way: of all, and of one asker. */
const most = { all: 32, ofAsker: 4 } as const;

export class Echo {
  readonly #askers = new Map<unknown, number>();
  #count = 0;
  #state: 'works' | 'absent' = 'works';

  /** Whether the host answers to an echo with so many bytes of data, within two seconds. */
  async ask(host: string, size: number, asker: unknown): Promise<boolean> {
    const own = this.#askers.get(asker) ?? 0;
    if (this.#state === 'absent' || this.#count >= most.all || own >= most.ofAsker) return false;
    this.#count++;
    this.#askers.set(asker, own + 1);
    try {
      return await this.#ping(host, size);
    } finally {
      this.#count--;
      if (own > 0) this.#askers.set(asker, (this.#askers.get(asker) ?? 1) - 1);
      else this.#askers.delete(asker);
    }
  }
  #ping(host: string, size: number): Promise<boolean> {
    return new Promise(resolve => {
      const args = ['-n', '-q', '-c', '1', '-W', '2', '-s', String(Math.min(size, 8192)), host];
      const child = spawn('ping', args, { stdio: 'ignore' });
      child.once('error', () => {
        this.#state = 'absent';
        resolve(false);
      });
      child.once('exit', code => resolve(code === 0));
    });
  }
}
