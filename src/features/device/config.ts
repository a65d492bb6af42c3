// The `device:` slice of the configuration: how many devices and streams, how soon a dead link is noticed.
import { z } from 'zod';
import { duration, size } from '../../wire/config-value.ts';
import { mostStreams, times } from './protocol.ts';

export const deviceConfig = z.strictObject({
  /** How often a silent link is asked whether it lives; half of it later it is given up. */
  ping: duration
    .refine(
      ms => ms >= 1000 && ms <= 600_000,
      'write between 1s and 10m; NAT forgets a silent connection after minutes',
    )
    .default(times.ping),
  limits: z
    .strictObject({
      /** Devices linked at once. */
      links: z.int().min(1).max(1_000_000).default(10_000),
      /** Streams at once towards one device. */
      streams: z.int().min(1).max(mostStreams).default(1024),
    })
    .prefault({}),
  /** A shell on a device from the console, SSH ended in the gate; for whom `device.terminal` is allowed. */
  terminal: z
    .strictObject({
      on: z.boolean().default(true),
      /** Without a keystroke for so long it ends. */
      idle: duration.default(900_000),
      recording: z
        .strictObject({
          /** On which devices what the screen shows is kept: names, where `*` stands for any run. */
          devices: z.array(z.string().min(1).max(128)).max(1000).default([]),
          /** Of one session; a terminal ends when its recording is full. */
          size: size.default(64 * 1024 * 1024),
          keep: duration.default(90 * 86_400_000),
        })
        .prefault({}),
    })
    .prefault({}),
});

export type DeviceConfig = z.output<typeof deviceConfig>;
