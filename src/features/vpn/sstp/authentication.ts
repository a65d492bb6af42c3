// Who the peer of a PPP link is: MS-CHAPv2 (RFC 2759, RFC 1994) or, inside TLS, PAP (RFC 1334). One try, one verdict.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import { decodeChapResponse } from '../../../wire/mschap.ts';
import { type PppPacket, pppProtocols } from '../../../wire/ppp.ts';

export type AuthMethod = 'mschapv2' | 'pap';

/** What the peer showed. Names are kept as they came: MS-CHAPv2 hashes their bytes. */
export type Shown =
  | {
      readonly method: 'mschapv2';
      readonly name: Buffer;
      readonly challenge: Buffer;
      readonly peerChallenge: Buffer;
      readonly ntResponse: Buffer;
    }
  | { readonly method: 'pap'; readonly name: Buffer; readonly password: Buffer };

/** `key` is what SSTP binds with (32 bytes); `shown` proves to the peer that we know the password too. */
export type Verdict =
  | { readonly ok: true; readonly key: Buffer; readonly shown?: string }
  /** Windows' numbers: 691 the name or the password is wrong, 649 no permission. */
  | { readonly ok: false; readonly code: 691 | 649 };

export interface AuthenticationOptions {
  readonly clock: Clock;
  readonly send: (protocol: number, packet: PppPacket) => void;
  readonly prove: (shown: Shown) => Promise<Verdict>;
  readonly done: (verdict: Verdict) => void;
  readonly failed: (why: string) => void;
}

const chap = { challenge: 1, response: 2, success: 3, failure: 4 } as const;
const pap = { request: 1, ack: 2, nak: 3 } as const;
/** Milliseconds between challenges, and how many (RFC 1994 §4.1). */
const restart = { every: 3000, most: 10 } as const;
const challengeId = 1;

export class Authentication {
  readonly #options: AuthenticationOptions;
  readonly #method: AuthMethod;
  readonly #challenge: Buffer = randomBytes(16);
  /** What was answered: a peer that has missed it asks with the same words again (RFC 1994 §4.2). */
  #answer: (() => void) | undefined;
  #state: 'waiting' | 'proving' | 'done' = 'waiting';
  #tries = 0;
  #stopTimer: () => void = () => {};

  constructor(method: AuthMethod, options: AuthenticationOptions) {
    this.#method = method;
    this.#options = options;
  }
  start(): void {
    if (this.#method === 'mschapv2') return void this.#ask();
    this.#stopTimer = this.#options.clock.after(restart.every * restart.most, () => this.#tired());
  }
  stop(): void {
    this.#stopTimer();
    if (this.#state !== 'done') this.#state = 'done';
  }

  /** @throws Fault `protocol` */
  input(protocol: number, { code, id, data }: PppPacket): void {
    const isOurs = protocol === (this.#method === 'pap' ? pppProtocols.pap : pppProtocols.chap);
    const isAnswer = this.#method === 'pap' ? code === pap.request : code === chap.response && id === challengeId;
    if (!isOurs || !isAnswer || this.#state === 'proving') return;
    if (this.#state === 'done') return void this.#answer?.();
    const shown = this.#method === 'pap' ? readPap(data) : this.#readChap(data);
    this.#state = 'proving';
    this.#stopTimer();
    void this.#options.prove(shown).then(
      verdict => this.#settle(verdict, id),
      () => this.#settle({ ok: false, code: 691 }, id), // told to the log where it was thrown
    );
  }

  #settle(verdict: Verdict, id: number): void {
    if (this.#state !== 'proving') return;
    this.#state = 'done';
    const { send } = this.#options;
    const packet = this.#method === 'pap' ? papAnswer(verdict, id) : chapAnswer(verdict, id);
    this.#answer = () => send(this.#method === 'pap' ? pppProtocols.pap : pppProtocols.chap, packet);
    this.#answer();
    this.#options.done(verdict);
  }
  #readChap(data: Uint8Array): Shown {
    const { name, peerChallenge, ntResponse } = decodeChapResponse(data);
    if (name.length === 0 || name.length > 256) throw new Fault('protocol', 'a CHAP name has 1 to 256 bytes');
    return {
      ...{ method: 'mschapv2', challenge: this.#challenge, name: Buffer.from(name) },
      ...{ peerChallenge: Buffer.from(peerChallenge), ntResponse: Buffer.from(ntResponse) },
    };
  }
  #ask(): void {
    if (this.#tries++ >= restart.most) return void this.#tired();
    const data = Buffer.concat([Uint8Array.of(16), this.#challenge, Buffer.from('sekisho')]);
    this.#options.send(pppProtocols.chap, { code: chap.challenge, id: challengeId, data });
    this.#stopTimer = this.#options.clock.after(restart.every, () => this.#ask());
  }
  #tired(): void {
    this.stop();
    this.#options.failed('it does not say who it is');
  }
}

/** RFC 2759 §5 and §6. R=0: a second try is a new connection, and counts as one. */
function chapAnswer(verdict: Verdict, id: number): PppPacket {
  if (verdict.ok) return { code: chap.success, id, data: Buffer.from(`S=${verdict.shown} M=Welcome`) };
  const text = verdict.code === 691 ? 'The user name or password is wrong' : 'This user may not connect';
  const challenge = randomBytes(16).toString('hex').toUpperCase();
  return { code: chap.failure, id, data: Buffer.from(`E=${verdict.code} R=0 C=${challenge} V=3 M=${text}`) };
}

function papAnswer(verdict: Verdict, id: number): PppPacket {
  const text = verdict.ok ? '' : verdict.code === 691 ? 'user name or password is wrong' : 'this user may not connect';
  const data = Buffer.concat([Uint8Array.of(text.length), Buffer.from(text)]);
  return { code: verdict.ok ? pap.ack : pap.nak, id, data };
}

/** | length | name | length | password |. @throws Fault `protocol` */
function readPap(data: Uint8Array): Shown {
  const nameEnd = 1 + (data[0] ?? 0);
  const end = nameEnd + 1 + (data[nameEnd] ?? 0);
  if (nameEnd >= data.length || end > data.length || nameEnd === 1)
    throw new Fault('protocol', 'the PAP request has wrong lengths');
  return {
    method: 'pap',
    name: Buffer.from(data.subarray(1, nameEnd)),
    password: Buffer.from(data.subarray(nameEnd + 1, end)),
  };
}
