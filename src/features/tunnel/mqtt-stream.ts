// A conn as the embedded broker gets it: packets that are too long end it before they are gathered.
import { Duplex } from 'node:stream';
import { PacketMeter } from '../../wire/mqtt.ts';

/** AWS IoT's limit. */
export const longestPacket = 128 * 1024;

export function meteredStream(inner: Duplex): Duplex {
  const meter = new PacketMeter(longestPacket);
  const outer = new Duplex({
    allowHalfOpen: true,
    read: () => void inner.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      inner.write(chunk, error => done(error));
    },
    final: done => {
      inner.end(() => done());
    },
    destroy: (error, done) => {
      inner.destroy();
      done(error);
    },
  });
  outer.on('error', () => {});
  inner.on('error', () => {});
  inner.on('data', (chunk: Buffer) => {
    try {
      meter.take(chunk);
      if (!outer.push(chunk)) inner.pause();
    } catch (error) {
      outer.destroy(error as Error);
    }
  });
  inner.once('end', () => outer.push(null));
  inner.once('close', () => outer.destroy());
  return outer;
}
