// A message pipe as a Duplex of bytes: each chunk one binary message. A WebSocket has no half-close: an end is the end.
import { Duplex } from 'node:stream';
import type { MessagePipe } from './websocket.ts';

/** @param chunk the longest message that is sent, bytes */
export function streamOf(pipe: MessagePipe, chunk = 64 * 1024): Duplex {
  let release: (() => void) | undefined;
  const stream = new Duplex({
    allowHalfOpen: true,
    read: () => pipe.resume(),
    write(bytes: Buffer, _encoding, done) {
      let open = true;
      for (let at = 0; at < bytes.length; at += chunk) open = pipe.send(bytes.subarray(at, at + chunk));
      if (open) done();
      else release = done;
    },
    final(done) {
      pipe.close(1000, 'the far side has ended');
      done();
    },
    destroy(error, done) {
      if (error) pipe.destroy();
      else pipe.close(1000, '');
      release?.();
      done(error);
    },
  });
  stream.on('error', () => {});
  pipe.drained(() => {
    const go = release;
    release = undefined;
    go?.();
  });
  pipe.receive(message => {
    if (!stream.push(message)) pipe.pause();
  });
  void pipe.ended.then(({ code }) => {
    if (code === 1006) stream.destroy(Object.assign(new Error('the WebSocket broke off'), { code: 'ECONNRESET' }));
    else stream.push(null);
  });
  return stream;
}
