// One terminal from its page's first message to its end: SSH on one side, the page on the other, each held back by the other,
// cut by the session's signal, ended when nobody types.
import type { Clock } from '../../../core/clock.ts';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Dialer, Session } from '../../../core/parts.ts';
import type { MessagePipe } from '../../../net/websocket.ts';
import {
  credit,
  decodeMessage,
  encodeBytes,
  encodeTold,
  type Heard,
  type HostKey,
  type Prompt,
  type Said,
  type Start,
  type Told,
} from '../../../wire/terminal-message.ts';
import type { DeviceConfig } from '../config.ts';
import type { Device } from '../registry.ts';
import type { HostKeys } from './host-keys.ts';
import type { Recording, Recordings } from './recording.ts';
import { openShell, type Shell } from './ssh-shell.ts';

export interface TerminalDeps {
  readonly dialer: Dialer;
  readonly hostKeys: HostKeys;
  readonly recordings: Recordings;
  readonly config: () => DeviceConfig['terminal'];
  readonly clock: Clock;
}

export interface TerminalOptions {
  readonly pipe: MessagePipe;
  readonly session: Session;
  readonly device: Pick<Device, 'id' | 'name'>;
  readonly service: string;
  /** Writes down that somebody accepted a key that was new. */
  readonly trusted: (key: HostKey) => Promise<void>;
  /** Writes down that another key was shown. */
  readonly changed: (known: HostKey, shown: HostKey) => void;
}

/** Milliseconds for the first message, and between two signs of life. */
const firstWord = 10_000;
const beat = 30_000;
const causes: Readonly<Record<string, string>> = {
  expired: 'the time that the rule allows is over',
  revoked: 'what you signed in with is not valid any more',
  closed: 'somebody has cut this session',
  drain: 'the gate is shutting down; connect again in a moment',
};

/** Resolves when it is over. Never throws. */
export async function serveTerminal(options: TerminalOptions, deps: TerminalDeps): Promise<void> {
  const { pipe, session } = options;
  const terminal = new Terminal(options, deps);
  try {
    terminal.end(await terminal.run());
  } catch (error) {
    const fault = toFault(error);
    session.note('fault', fault.code);
    if (fault.code === 'bug') session.log.error({ error }, 'a terminal failed');
    const changed = fault.facts['changed'] as Extract<Told, { kind: 'end' }>['changed'];
    const text = fault.code === 'bug' ? 'something went wrong here; the gate’s log has it' : fault.message;
    terminal.end({ kind: 'end', cause: fault.code, text, ...(changed ? { changed } : {}) });
  }
  await pipe.ended;
  await terminal.over();
}

type End = Extract<Told, { kind: 'end' }>;

class Terminal {
  readonly #options: TerminalOptions;
  readonly #deps: TerminalDeps;
  readonly #ended = Promise.withResolvers<End>();
  /** Whoever waits for a message of this kind. */
  #waits: ((message: Said) => void) | undefined;
  #shell: Shell | undefined;
  #recording: Recording | undefined;
  /** Sent and not drawn yet. */
  #ahead = 0;
  /** Printed and not recorded yet. */
  #unwritten = 0;
  #isOver = false;
  #disarm: (() => void)[] = [];
  #idle = (): void => {};

  constructor(options: TerminalOptions, deps: TerminalDeps) {
    this.#options = options;
    this.#deps = deps;
    const { pipe, session } = options;
    const aborted = (): void => {
      const cause = String(session.signal.reason);
      this.#ended.resolve({ kind: 'end', cause, text: causes[cause] ?? 'this session is over' });
    };
    session.signal.addEventListener('abort', aborted);
    this.#disarm.push(() => session.signal.removeEventListener('abort', aborted));
    if (session.signal.aborted) aborted();
    void pipe.ended.then(() => this.#ended.resolve({ kind: 'end', cause: 'gone', text: 'the page has gone' }));
    this.#keepAlive();
  }

  async run(): Promise<End> {
    const { pipe, session } = this.#options;
    const first = this.#next('start', firstWord);
    pipe.receive(message => this.#receive(message));
    const work = first.then(start => this.#open(start));
    work.catch(() => {});
    const end = await Promise.race([this.#ended.promise, work.then(() => this.#ended.promise)]);
    session.note('cause', end.cause);
    return end;
  }

  /** Says it to the page and lets go of the device. */
  end(end: End): void {
    const { pipe } = this.#options;
    this.#ended.resolve(end); // whoever waits for the person
    this.#shell?.channel.destroy();
    this.#shell?.end();
    pipe.send(encodeTold(end));
    pipe.close(1000, end.cause);
  }
  async over(): Promise<void> {
    this.#isOver = true;
    this.#idle();
    for (const disarm of this.#disarm) disarm();
    await this.#recording?.close();
  }

  async #open(start: Start): Promise<void> {
    const { pipe, session, device, service } = this.#options;
    const { dialer, hostKeys, recordings, config, clock } = this.#deps;
    session.note('login', start.user);
    const known = await hostKeys.find(device.id, service);
    const conn = await dialer.dial({ kind: 'device', device: device.name, service }, session);
    const isOver = this.#ended.promise.then(() => conn.stream.destroy());
    const shell = await openShell({
      ...{ stream: conn.stream, start, clock, known: known?.algorithm },
      verify: key => this.#verify(key, known),
      ask: (title, text, prompts) => this.#ask(title, text, prompts),
    });
    void isOver.then(() => shell.end());
    this.#shell = shell;
    const { idle, recording } = config();
    const isKept = isRecorded(config(), device.name);
    if (isKept && !this.#isOver) {
      const facts = { id: session.id, device: device.name, service, user: session.request.who.id, login: start.user };
      this.#recording = await recordings.begin(facts, start.columns, start.rows, recording.size);
      session.note('recording', session.id);
    }
    this.#tell({ kind: 'open', recorded: isKept, idle });
    this.#armIdle();
    const { channel } = shell;
    channel.on('data', (bytes: Buffer) => this.#print(bytes));
    channel.stderr.on('data', (bytes: Buffer) => this.#print(bytes));
    channel.on('drain', () => pipe.resume());
    channel.on('finish', () => pipe.resume());
    channel.on('close', () => {
      const status = shell.status();
      this.#ended.resolve({
        ...{ kind: 'end', cause: 'exit' },
        text: typeof status === 'string' ? `the shell was ended by ${status}` : 'the shell has ended',
        ...(typeof status === 'number' ? { status } : {}),
      });
    });
  }

  async #verify(key: HostKey, known: HostKey | undefined): Promise<boolean> {
    const { device, service, session, trusted, changed } = this.#options;
    session.note('host-key', key.fingerprint);
    const shown = { algorithm: key.algorithm, fingerprint: key.fingerprint };
    if (known?.fingerprint === key.fingerprint) {
      this.#tell({ kind: 'host-key', state: 'known', ...shown });
      return true;
    }
    if (known) {
      const was = { algorithm: known.algorithm, fingerprint: known.fingerprint };
      changed(was, shown);
      throw new Fault(
        'conflict',
        'the device shows another SSH host key than before; nothing was sent to it. If the change is known, an administrator forgets the old key',
        { facts: { changed: { known: was, shown } } },
      );
    }
    const answer = this.#next('trust');
    this.#tell({ kind: 'host-key', state: 'new', ...shown });
    if (!(await answer).yes) return false;
    await trusted(shown);
    await this.#deps.hostKeys.pin(device.id, service, shown, session.request.who.id || session.request.who.credential);
    return true;
  }

  async #ask(title: string, text: string, prompts: readonly Prompt[]): Promise<readonly string[]> {
    const answer = this.#next('answers');
    this.#tell({ kind: 'ask', title, text, prompts });
    return (await answer).answers;
  }

  /** The next message of this kind; others in between are out of turn. @throws Fault `timeout`; never resolves after the end */
  #next<K extends Said['kind']>(kind: K, within?: number): Promise<Extract<Said, { kind: K }>> {
    return new Promise((resolve, reject) => {
      const disarm =
        within === undefined
          ? () => {}
          : this.#deps.clock.after(within, () => reject(new Fault('timeout', 'the page does not say what it wants')));
      this.#waits = message => {
        if (message.kind !== kind) return;
        disarm();
        this.#waits = undefined;
        resolve(message as Extract<Said, { kind: K }>);
      };
    });
  }

  #receive(message: Buffer): void {
    let heard: Heard;
    try {
      heard = decodeMessage(message);
    } catch (error) {
      const { code, message: text } = toFault(error);
      this.#ended.resolve({ kind: 'end', cause: code, text });
      return;
    }
    if (heard.kind === 'typed') this.#type(heard.bytes);
    else if (heard.kind === 'size') this.#resize(heard);
    else if (heard.kind === 'taken') this.#taken(heard.bytes);
    else this.#waits?.(heard);
  }

  #type(bytes: Buffer): void {
    if (!this.#shell) return; // nobody is there yet to read it
    this.#options.session.count('up', bytes.length);
    this.#armIdle();
    const { channel } = this.#shell;
    // A shell that has ended takes nothing and never drains; what it printed last still waits for the page's `taken`.
    if (channel.writable && !channel.write(bytes)) this.#options.pipe.pause();
  }
  #print(bytes: Buffer): void {
    const { pipe, session } = this.#options;
    session.count('down', bytes.length);
    this.#ahead += bytes.length;
    pipe.send(encodeBytes(bytes));
    if (this.#recording) {
      this.#unwritten += bytes.length;
      const written = (): void => {
        this.#unwritten -= bytes.length;
        this.#flow();
      };
      this.#recording.output(bytes).then(written, error => this.#fail(error));
    }
    this.#flow();
  }
  #taken(bytes: number): void {
    this.#ahead = Math.max(0, this.#ahead - bytes);
    this.#flow();
  }
  /** The page and the disk each hold the device back. */
  #flow(): void {
    const { channel } = this.#shell ?? {};
    const step = Math.max(this.#ahead, this.#unwritten) >= credit / 2 ? 'pause' : 'resume';
    channel?.[step]();
    channel?.stderr[step]();
  }
  #resize({ columns, rows }: Extract<Said, { kind: 'size' }>): void {
    if (!this.#shell) return;
    this.#shell.resize(columns, rows);
    this.#recording?.resize(columns, rows).catch(error => this.#fail(error));
  }
  #fail(error: unknown): void {
    const { code, message } = toFault(error);
    this.#ended.resolve({ kind: 'end', cause: code, text: message });
  }
  #tell(message: Told): void {
    this.#options.pipe.send(encodeTold(message));
  }

  /** Only typing counts: what a device prints by itself keeps nobody's seat. */
  #armIdle(): void {
    this.#idle();
    const { idle } = this.#deps.config();
    this.#idle = this.#deps.clock.after(idle, () =>
      this.#ended.resolve({ kind: 'end', cause: 'idle', text: 'nothing was typed for a long time' }),
    );
  }
  /** A page whose machine sleeps or has lost its network says nothing, and TCP takes hours to notice. */
  #keepAlive(): void {
    const { pipe } = this.#options;
    let isHeard = true;
    let stop = (): void => {};
    pipe.heard(() => {
      isHeard = true;
    });
    const look = (): void => {
      if (!isHeard) pipe.destroy();
      isHeard = false;
      pipe.ping();
      stop = this.#deps.clock.after(beat, look);
    };
    look();
    this.#disarm.push(() => stop());
  }
}

/** Whether what happens on this device is recorded: `pump-*`, where a star stands for any run. */
const isRecorded = ({ recording }: DeviceConfig['terminal'], device: string): boolean =>
  recording.devices.some(pattern => {
    const parts = pattern.split('*').map(part => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
    return new RegExp(`^${parts.join('.*')}$`, 'u').test(device);
  });
