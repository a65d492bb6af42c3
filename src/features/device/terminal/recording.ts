// A terminal's recording: asciicast v2 (docs.asciinema.org/manual/asciicast/v2), one file a session in the gate's folder,
// for its owner alone. What the screen shows is kept; what is typed is not, since passwords are typed.
import type { FileHandle } from 'node:fs/promises';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';

export interface RecordingFacts {
  /** The session's id. */
  readonly id: string;
  readonly device: string;
  readonly service: string;
  readonly user: string;
  readonly login: string;
}
export interface RecordingView extends RecordingFacts {
  readonly begun: Date;
  readonly bytes: number;
}

export interface Recording {
  /** @throws Fault `limit` when it is full, `unreachable` when the disk does not take it: the terminal ends then */
  output(bytes: Buffer): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
  close(): Promise<void>;
}

export interface Recordings {
  begin(facts: RecordingFacts, columns: number, rows: number, most: number): Promise<Recording>;
  /** Newest first. */
  list(): Promise<readonly RecordingView[]>;
  /** @throws Fault `missing` */
  open(id: string): Promise<AsyncIterable<Uint8Array>>;
  /** Removes what is older. Answers how many went. */
  prune(before: Date): Promise<number>;
}

const suffix = '.cast';
/** A header is one line; ours is far shorter. */
const longestHeader = 8192;

export function openRecordings(folder: string, clock: Clock): Recordings {
  const pathOf = (id: string): string => {
    if (!/^[A-Za-z0-9-]{1,64}$/.test(id)) throw missing(id);
    return join(folder, id + suffix);
  };
  const names = async (): Promise<string[]> =>
    (await readdir(folder).catch(() => [])).filter(name => name.endsWith(suffix));
  return {
    async begin(facts, columns, rows, most) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const file = await open(pathOf(facts.id), 'wx', 0o600).catch(unwritable);
      const begun = clock.now();
      const header = {
        ...{ version: 2, width: columns, height: rows, timestamp: Math.floor(begun.getTime() / 1000) },
        title: `${facts.login}@${facts.device}/${facts.service}`,
        env: { TERM: 'xterm-256color' },
        sekisho: facts,
      };
      const writer = new Cast(file, begun, most, () => clock.now());
      await writer.line(header);
      return writer;
    },
    async list() {
      const views = await Promise.all((await names()).map(name => viewOf(join(folder, name))));
      return views.filter(view => view !== undefined).sort((a, b) => b.begun.getTime() - a.begun.getTime());
    },
    async open(id) {
      const file = await open(pathOf(id), 'r').catch(() => {
        throw missing(id);
      });
      return file.createReadStream();
    },
    async prune(before) {
      let removed = 0;
      for (const name of await names()) {
        const path = join(folder, name);
        const { mtime } = await stat(path).catch(() => ({ mtime: before }));
        if (mtime >= before) continue;
        await rm(path, { force: true });
        removed++;
      }
      return removed;
    },
  };
}

class Cast implements Recording {
  readonly #file: FileHandle;
  readonly #begun: Date;
  readonly #most: number;
  readonly #now: () => Date;
  /** Characters are not cut where chunks are. */
  readonly #decoder = new StringDecoder('utf8');
  #bytes = 0;
  /** Lines are written in their order, and closing waits for the last. */
  #turn: Promise<void> = Promise.resolve();

  constructor(file: FileHandle, begun: Date, most: number, now: () => Date) {
    this.#file = file;
    this.#begun = begun;
    this.#most = most;
    this.#now = now;
  }

  output(bytes: Buffer): Promise<void> {
    const text = this.#decoder.write(bytes);
    return text === '' ? this.#turn : this.line([this.#at(), 'o', text]);
  }
  resize(columns: number, rows: number): Promise<void> {
    return this.line([this.#at(), 'r', `${columns}x${rows}`]);
  }
  line(value: unknown): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(value)}\n`);
    this.#bytes += line.length;
    if (this.#bytes > this.#most)
      return Promise.reject(new Fault('limit', 'the recording is full, and what is not recorded is not allowed'));
    const write = this.#turn.then(async () => {
      await this.#file.write(line).catch(unwritable);
    });
    this.#turn = write.catch(() => {});
    return write;
  }
  async close(): Promise<void> {
    await this.#turn;
    await this.#file.close().catch(() => {});
  }
  #at(): number {
    return Math.max(0, this.#now().getTime() - this.#begun.getTime()) / 1000;
  }
}

const unwritable = (cause: unknown): never => {
  throw new Fault('unreachable', 'the recording cannot be written, and what is not recorded is not allowed', { cause });
};
const missing = (id: string): Fault => new Fault('missing', `there is no recording ${id}; audit recordings lists them`);

/** Of a file whose header is ours; anything else in the folder is not shown. */
async function viewOf(path: string): Promise<RecordingView | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(longestHeader), 0, longestHeader, 0);
      const [line = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1);
      const { timestamp, sekisho } = JSON.parse(line) as { timestamp: number; sekisho: RecordingFacts };
      const { size } = await file.stat();
      return { ...sekisho, begun: new Date(timestamp * 1000), bytes: size };
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}
