// What gate and agent agree on: ALPN names, the few requests besides CONNECT, windows and limits. No imports: both ends have it.
//
//   device ── TLS 1.3, ALPN sekisho-device, client certificate ──▶ gate's port
//   device ◀── HTTP/2, the gate being the client ── gate
//     CONNECT  :authority ssh          one stream of a service (RFC 9113 §8.5); 200 = it stands
//     POST     /hello      {gate, time, roots}            → {version, node, services, roots}
//     POST     /renew                                     → a signing request, PEM
//     PUT      /identity   {cert, chain}                  → 204

/** The device link. */
export const linkAlpn = 'sekisho-device';
/** HTTP/1.1 to the API under a certificate of the gate's own CA, whatever certificate the gate shows to people. */
export const enrolAlpn = 'sekisho-enrol';

/** What a one-time code is for. */
export const enrolPurpose = 'device-enrol';

/** Bytes that may be on their way on one stream: 8 MiB fill 100 ms at 640 Mbit/s. */
export const streamWindow = 8 * 1024 * 1024;
export const linkWindow = 16 * 1024 * 1024;
/** Fewer, larger frames: each costs a header, a callback and a TLS record's worth of bookkeeping. */
export const frameSize = 65_536;
/** Streams at once on one link; the gate's own limit (`device.limits.streams`) is at most this. */
export const mostStreams = 4096;
/** Bytes of one control message, either way. */
export const longestMessage = 65_536;
/** Bytes of a header block. */
export const headerSize = 8192;

/** What a service may be called: AWS's pattern without the colon, which host and port already use. */
export const servicePattern = /^[A-Za-z0-9_.-]{1,128}$/;

/** Milliseconds. */
export const times = {
  /** Between two pings of the gate. */
  ping: 30_000,
  /** A peer that has not answered by then is gone. */
  pong: 15_000,
  /** For the device to say whether a stream stands; its own connect limit is shorter. */
  open: 15_000,
  connect: 10_000,
  message: 10_000,
} as const;

/** Control frames that a peer may send within ten seconds; who sends more is cut off. */
export const flood = { settings: 20, pings: 60, resets: 2000, informational: 100 } as const;

/** Debug data of the gate's GOAWAY: why it will not have this link (RFC 9113 §6.8). */
export type Farewell = 'replaced' | 'refused' | 'drain' | 'flood';

export interface Hello {
  readonly gate: string;
  /** RFC 3339. */
  readonly time: string;
  /** PEM; every root that this gate's certificates may come from now or soon. */
  readonly roots: readonly string[];
}
export interface HelloAnswer {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  /** SHA-256 of the roots that it has, the gate's newest among them where it took them; hexadecimal. */
  readonly roots?: readonly string[];
  /** What the device's own list allows: name → address. */
  readonly services: Readonly<Record<string, string>>;
}
