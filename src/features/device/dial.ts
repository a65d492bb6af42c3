// Reaching a device: an open link of it, one stream on that, and the session that the stream is.
import type { Clock } from '../../core/clock.ts';
import { Fault, toFault } from '../../core/fault.ts';
import type { Conn, Dialer, Gate, Metrics, Session, Target } from '../../core/parts.ts';
import { Reset } from '../../net/reset.ts';
import type { DeviceLink } from './link.ts';
import { servicePattern } from './protocol.ts';
import type { Device, DeviceRegistry } from './registry.ts';

/** What reaching devices takes. */
export interface Reach {
  readonly registry: DeviceRegistry;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** By the device's id: the link that carries what is new. */
  readonly linkOf: (id: string) => DeviceLink | undefined;
  /** Streams at once of one device. */
  readonly streams: () => number;
}

/** For `device://NAME/SERVICE`. */
export const createDeviceDialer = (reach: Reach): Dialer => ({
  dial: (target, session) => dial(reach, target, session),
});

async function dial(reach: Reach, target: Target, session: Session): Promise<Conn> {
  if (target.kind !== 'device') throw new Fault('bug', `a device dialler was asked for ${target.kind}://`);
  const { registry, gate, clock } = reach;
  const { service } = target;
  const device = registry.find(target.device);
  if (!device) throw new Fault('missing', `there is no device "${target.device}"; device list shows them`);
  if (device.revoked) throw new Fault('unreachable', `the device ${device.name} is revoked`);
  if (!servicePattern.test(service)) throw new Fault('invalid', `"${service}" cannot be a device's service`);
  const link = reach.linkOf(device.id);
  if (!link?.isOpen) throw offline(device, clock.now());
  session.note('device', device.name);
  session.note('service', service);
  // What was admitted is the rule; this stream is a session of its own, so that it is seen, counted and cut by device.
  const { who, from, resource, action } = session.request;
  if (action === 'device.stream') return open(reach, link, device, service, session.signal);
  // Who asks stands written down already; the stream's own record is committed while the device dials. What the gate
  // refuses (a limit, a drain) it refuses at once, long before the device has answered.
  let refused: unknown;
  const own = gate.admit({
    ...{ who, from, action: 'device.stream', resource: `device/${device.name}`, opened: resource },
    limits: { connections: reach.streams() },
  });
  own.catch((error: unknown) => {
    refused = error;
  });
  const facts = (admitted: Session): void => {
    admitted.note('service', service);
    admitted.note('for', session.id);
  };
  try {
    const conn = await open(reach, link, device, service, session.signal);
    hold(conn, own, facts);
    if (refused !== undefined) throw refused;
    return conn;
  } catch (error) {
    void own.then(
      async admitted => {
        facts(admitted);
        admitted.note('cause', toFault(error).code);
        await admitted[Symbol.asyncDispose]();
      },
      () => {},
    );
    throw refused ?? error;
  }
}

async function open(
  { metrics }: Reach,
  link: DeviceLink,
  device: Device,
  service: string,
  signal: AbortSignal,
): Promise<Conn> {
  metrics.count('device_streams_total');
  try {
    return await link.open(service, signal);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault(error.code, `device://${device.name}/${service}: ${error.message}`, { cause: error });
  }
}

/** The stream's session ends with it, and cuts it. Bytes are counted where they pass node:http2 anyway. */
function hold({ stream }: Conn, admitted: Promise<Session>, facts: (session: Session) => void): void {
  let [up, down] = [0, 0];
  const { push, _write: write, _writev: writev } = stream;
  stream.push = function counted(chunk: Buffer | null, encoding?: BufferEncoding) {
    if (chunk !== null) down += chunk.length;
    return push.call(this, chunk, encoding);
  };
  stream._write = function counted(chunk: Buffer, encoding, done) {
    up += chunk.length;
    write.call(this, chunk, encoding, done);
  };
  if (writev) {
    stream._writev = function counted(chunks, done) {
      for (const { chunk } of chunks) up += (chunk as Buffer).length;
      writev.call(this, chunks, done);
    };
  }
  const cut = (): void => void stream.destroy(new Reset());
  admitted.then(
    session => {
      facts(session);
      const end = (): void => {
        session.signal.removeEventListener('abort', cut);
        session.count('up', up);
        session.count('down', down);
        void session[Symbol.asyncDispose]();
      };
      session.signal.addEventListener('abort', cut);
      if (session.signal.aborted) cut();
      if (stream.closed) end();
      else stream.once('close', end);
    },
    cut, // a record that cannot be written: nothing passes
  );
}

function offline(device: Device, now: Date): Fault {
  if (!device.enrolled) {
    return new Fault(
      'unreachable',
      `the device ${device.name} has not been enrolled yet; run the line that device enroll printed on it`,
    );
  }
  const ago = device.lastSeen ? Math.round((now.getTime() - device.lastSeen.getTime()) / 1000) : undefined;
  return new Fault(
    'unreachable',
    `the device ${device.name} is offline${ago === undefined ? '; it has never linked' : `; last seen ${ago} s ago`}`,
  );
}
