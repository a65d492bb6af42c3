// The WebSocket of a terminal: messages as src/wire/terminal-message.ts draws them. Passwords and keys go in here once
// and are kept nowhere.
import type { Said, Told } from '../../src/wire/terminal-message.ts';
import { keyProtocol } from './api.ts';

export type { Told } from '../../src/wire/terminal-message.ts';

export interface Link {
  say(message: Said): void;
  /** What was typed or pasted; in pieces, as fast as the socket takes it. */
  type(bytes: Uint8Array): void;
  close(): void;
}

/** The gate takes messages of 64 KiB. */
const piece = 32 * 1024;
const mostUnsent = 256 * 1024;
/** Drawn bytes are told to the gate so many at a time. */
export const step = 32 * 1024;

export function openLink(
  { device, service }: { readonly device: string; readonly service: string },
  { told, printed, over }: { told: (message: Told) => void; printed: (bytes: Uint8Array) => void; over: () => void },
): Promise<Link> {
  const query = new URLSearchParams({ device, service });
  const socket = new WebSocket(`wss://${location.host}/v1/devices/terminal?${query}`, [
    'sekisho.terminal-1',
    ...keyProtocol(),
  ]);
  socket.binaryType = 'arraybuffer';
  const send = (kind: 0 | 1, bytes: Uint8Array): void => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = kind;
    message.set(bytes, 1);
    socket.send(message);
  };
  let waiting: Uint8Array[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pump = (): void => {
    timer = undefined;
    while (waiting.length > 0 && socket.bufferedAmount < mostUnsent) send(0, waiting.shift() ?? new Uint8Array());
    // A browser tells nobody when it has sent.
    if (waiting.length > 0 && socket.readyState === WebSocket.OPEN) timer = setTimeout(pump, 50);
  };
  socket.onmessage = ({ data }) => {
    const bytes = new Uint8Array(data as ArrayBuffer);
    if (bytes[0] === 0) printed(bytes.subarray(1));
    else told(JSON.parse(new TextDecoder().decode(bytes.subarray(1))) as Told);
  };
  return new Promise((resolve, reject) => {
    socket.onclose = () => reject(new Error('closed'));
    socket.onopen = () => {
      socket.onclose = () => {
        clearTimeout(timer);
        waiting = [];
        over();
      };
      resolve({
        say: message => send(1, new TextEncoder().encode(JSON.stringify(message))),
        type(bytes) {
          for (let at = 0; at < bytes.length; at += piece) waiting.push(bytes.subarray(at, at + piece));
          if (timer === undefined) pump();
        },
        close: () => socket.close(1000),
      });
    };
  });
}
