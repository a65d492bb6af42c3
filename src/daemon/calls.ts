// Questions and answers over a message channel: a call gets what the other side returns, or the Fault that it threw.
import { Fault, type FaultCode, toFault } from '../core/fault.ts';

/** One end of a channel that keeps order. */
export interface Wire {
  send(message: unknown): void;
  receive(deliver: (message: unknown) => void): void;
  readonly closed: AbortSignal;
}

/** What the far side can be asked. Arguments and answers are plain data. */
export type Verbs = Readonly<Record<string, (argument: never) => unknown>>;

export type Caller<V extends Verbs> = <Name extends keyof V & string>(
  verb: Name,
  argument: Parameters<V[Name]>[0],
  signal?: AbortSignal,
) => Promise<Awaited<ReturnType<V[Name]>>>;

type Message =
  | { readonly id: number; readonly verb: string; readonly argument: unknown }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly fault: { code: FaultCode; text: string; facts: Record<string, unknown> } };

/** Answers the far side's calls until the channel closes. */
export function answerCalls<V extends Verbs>(wire: Wire, verbs: V): void {
  wire.receive(async raw => {
    const message = raw as Message;
    if (!('verb' in message)) return;
    try {
      const verb = Object.hasOwn(verbs, message.verb) ? verbs[message.verb] : undefined;
      if (!verb) throw new Fault('bug', `no verb ${message.verb}`);
      const value = await verb(message.argument as never);
      wire.send({ id: message.id, value } satisfies Message);
    } catch (error) {
      const fault = toFault(error);
      const cause = fault.code === 'bug' ? { cause: String((error as Error).stack ?? error) } : {};
      const facts = JSON.parse(JSON.stringify({ ...fault.facts, ...cause })) as Record<string, unknown>;
      wire.send({ id: message.id, fault: { code: fault.code, text: fault.message, facts } } satisfies Message);
    }
  });
}

/** Asks the far side. A call that outlives the channel fails as `gone`, one whose signal aborts as `timeout`. */
export function createCaller<V extends Verbs>(wire: Wire): Caller<V> {
  const open = new Map<number, (message: Message | Fault) => void>();
  let last = 0;
  wire.receive(raw => open.get((raw as Message).id)?.(raw as Message));
  wire.closed.addEventListener('abort', () => {
    for (const settle of open.values()) settle(new Fault('gone', 'the process at the other end is gone'));
  });
  return (verb, argument, signal) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const giveUp = (): void => settle(new Fault('timeout', `no answer to ${verb} in time`));
      const settle = (message: Message | Fault): void => {
        open.delete(id);
        signal?.removeEventListener('abort', giveUp);
        if (message instanceof Fault) reject(message);
        else if ('fault' in message) {
          reject(new Fault(message.fault.code, message.fault.text, { facts: message.fault.facts }));
        } else if ('value' in message) resolve(message.value as never);
      };
      if (wire.closed.aborted) return settle(new Fault('gone', 'the process at the other end is gone'));
      open.set(id, settle);
      if (signal?.aborted) return giveUp();
      signal?.addEventListener('abort', giveUp, { once: true });
      wire.send({ id, verb, argument } satisfies Message);
    });
}
