// The time between connect() and the connection: until it stands, fails, takes too long, or is not wanted any more.
import type { Socket } from 'node:net';
import type { Fault } from '../core/fault.ts';

export interface ConnectingOptions<Made> {
  readonly signal: AbortSignal;
  /** Milliseconds; 0 = as long as the system tries. */
  readonly timeout: number;
  /** What to say of the system's error, and of the time that has passed. */
  readonly fault: (error: Error) => Fault;
  readonly late: () => Fault;
  /** Takes the socket over within `connect` itself: an error may follow before any promise has resolved. */
  readonly made: () => Made;
}

/** @throws what `fault` and `late` say, or the signal's own reason; the socket is destroyed then */
export function connecting<Made>(socket: Socket, options: ConnectingOptions<Made>): Promise<Made> {
  const { signal, timeout, fault, late, made } = options;
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.off('error', failed).off('connect', connected);
    };
    const fail = (reason: unknown): void => {
      settle();
      socket.on('error', () => {});
      socket.destroy();
      reject(reason);
    };
    const failed = (error: Error): void => fail(fault(error));
    const abort = (): void => fail(signal.reason);
    const connected = (): void => {
      settle();
      resolve(made());
    };
    const timer = timeout > 0 ? setTimeout(() => fail(late()), timeout) : undefined;
    signal.addEventListener('abort', abort);
    socket.once('error', failed).once('connect', connected);
  });
}
